"""What a worker is made of. Built in the child that scores, never in the parent that forks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Final

from sqlalchemy import Engine

from calcium_scoring.dicom.deidentify import DeidentificationOptions
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.upload.archive import ArchiveLimits
from service.adapters.database.crosswalk import SqlCrosswalk
from service.adapters.database.engine import open_engine
from service.adapters.database.operations_record import SqlOperationsRecord
from service.adapters.database.push_outbox import SqlPushOutbox
from service.adapters.database.schema import require_current_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.destinations.places import Destinations, read_destinations
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.adapters.signing.ed25519 import Ed25519Signer
from service.adapters.storage.open_store import open_artefact_store
from service.adapters.tracing.open_tracing import open_tracing
from service.application.crosswalk import key_bytes
from service.application.deidentification import Deidentifier
from service.application.errors import RecordSchemaUnknown, RecordUnavailable
from service.application.jobs import LeaseTerms
from service.application.operations import OperationsRecord
from service.application.ports import ArtefactStore, Segmenter, StudyStore
from service.application.provenance import Signer
from service.application.pushes import PushOutbox
from service.application.telemetry import Tracing
from service.settings import Settings

SERVICE_NAME: Final = "cacscore-worker"
"""Name of the worker in traces."""

SCHEMA_PATIENCE_S: Final = 60.0
"""A gateway that starts beside the worker has upgraded the record by then; our choice."""

_SCHEMA_POLL_S: Final = 0.5


@dataclass(frozen=True)
class WorkerParts:
    """The dependencies of an attempt."""

    store: StudyStore
    operations: OperationsRecord
    artefacts: ArtefactStore
    load_segmenter: Callable[[], Segmenter]
    protocol: ScoringProtocol
    mass_calibration_factor: float | None
    terms: LeaseTerms
    limits: ArchiveLimits
    signer: Signer
    outbox: PushOutbox
    destinations: Destinations
    deidentifier: Deidentifier | None = None


def provider_of(segmenter: Segmenter) -> str:
    """Return the execution provider that the session got, the preferred one of several."""
    return segmenter.providers[0] if isinstance(segmenter, OnnxSegmenter) else "none"


def wait_for_schema(settings: Settings, *, patience_s: float = SCHEMA_PATIENCE_S) -> None:
    """Wait until a gateway has brought the record to the schema of this code.

    Leaves no connection behind: the process may fork afterwards.

    Raises
    ------
    RecordSchemaUnknown, RecordUnavailable
        The schema is still another one, or the database away, when the patience is over.
    """
    engine = open_engine(settings.record_url)
    deadline = time.monotonic() + patience_s
    try:
        while True:
            try:
                require_current_schema(engine)
            except (RecordSchemaUnknown, RecordUnavailable):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_SCHEMA_POLL_S)
            else:
                return
    finally:
        engine.dispose()


@cache
def tracing() -> Tracing:
    """Return what traces the attempts of this process."""
    return open_tracing(Settings().otlp_endpoint, service_name=SERVICE_NAME)


@cache
def worker_parts(settings: Settings) -> WorkerParts:
    """Return the parts, one set a process; the model is loaded when it is first asked for."""
    engine = open_engine(settings.record_url)
    require_current_schema(engine)

    loading = threading.Lock()
    loaded: list[OnnxSegmenter] = []

    def load_segmenter() -> Segmenter:
        # The heartbeat loads it at the start; a study that comes meanwhile waits for the same one.
        with loading:
            if not loaded:
                loaded.append(
                    OnnxSegmenter(
                        settings.model_path,
                        providers=settings.onnx_providers,
                        threads=settings.onnx_threads,
                        engine_cache=settings.data_dir / "engines",
                    )
                )
            return loaded[0]

    return WorkerParts(
        store=SqlStudyStore(engine, terms=settings.lease_terms),
        operations=SqlOperationsRecord(
            engine, lost_after=timedelta(seconds=settings.worker_lost_s)
        ),
        artefacts=open_artefact_store(settings.data_dir / "artefacts", s3=settings.s3_location),
        load_segmenter=load_segmenter,
        protocol=settings.scoring_protocol,
        mass_calibration_factor=settings.mass_calibration_factor,
        terms=settings.lease_terms,
        limits=settings.archive_limits,
        outbox=SqlPushOutbox(engine),
        destinations=read_destinations(settings.destinations_file),
        signer=Ed25519Signer(settings.signing_key_path),
        deidentifier=_deidentifier(settings, engine),
    )


def _deidentifier(settings: Settings, engine: Engine) -> Deidentifier | None:
    if not settings.deidentify or settings.deidentify_key is None:
        return None
    key = key_bytes(settings.deidentify_key.get_secret_value())
    return Deidentifier(
        key,
        DeidentificationOptions(
            retains_age_and_sex=settings.deidentify_keeps_age_and_sex,
            shifts_dates=settings.deidentify_dates == "shift",
        ),
        SqlCrosswalk(engine, key),
    )
