"""What a worker is made of. Built in the child that scores, never in the parent that forks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.upload.archive import ArchiveLimits
from service.adapters.database.engine import create_tables, open_engine
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.adapters.storage.folder_store import FolderArtefactStore
from service.application.jobs import LeaseTerms
from service.application.ports import ArtefactStore, Segmenter, StudyStore
from service.settings import Settings


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


@cache
def worker_parts(settings: Settings) -> WorkerParts:
    """Return the parts, one set a process; the model is loaded at the first study."""
    engine = open_engine(settings.record_url)
    create_tables(engine)

    @cache
    def load_segmenter() -> Segmenter:
        return OnnxSegmenter(
            settings.model_path,
            providers=settings.onnx_providers,
            threads=settings.onnx_threads,
            engine_cache=settings.data_dir / "engines",
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
