"""What a worker is made of. Built in the child that scores, never in the parent that forks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.upload.archive import ArchiveLimits
from service.adapters.database.engine import open_engine
from service.adapters.database.schema import require_current_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.adapters.storage.folder_store import FolderArtefactStore
from service.application.errors import RecordSchemaUnknown, RecordUnavailable
from service.application.jobs import LeaseTerms
from service.application.ports import ArtefactStore, Segmenter, StudyStore
from service.settings import Settings

SCHEMA_PATIENCE_S: Final = 60.0
"""A gateway that starts beside the worker has upgraded the record by then; our choice."""

_SCHEMA_POLL_S: Final = 0.5


@dataclass(frozen=True)
class WorkerParts:
    """The dependencies of an attempt."""

    store: StudyStore
    artefacts: ArtefactStore
    load_segmenter: Callable[[], Segmenter]
    protocol: ScoringProtocol
    mass_calibration_factor: float | None
    terms: LeaseTerms
    limits: ArchiveLimits


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
def worker_parts(settings: Settings) -> WorkerParts:
    """Return the parts, one set a process; the model is loaded at the first study."""
    engine = open_engine(settings.record_url)
    require_current_schema(engine)

    @cache
    def load_segmenter() -> Segmenter:
        return OnnxSegmenter(
            settings.model_path,
            providers=settings.onnx_providers,
            threads=settings.onnx_threads,
        )

    return WorkerParts(
        store=SqlStudyStore(engine, terms=settings.lease_terms),
        artefacts=FolderArtefactStore(settings.data_dir / "artefacts"),
        load_segmenter=load_segmenter,
        protocol=settings.scoring_protocol,
        mass_calibration_factor=settings.mass_calibration_factor,
        terms=settings.lease_terms,
        limits=settings.archive_limits,
    )
