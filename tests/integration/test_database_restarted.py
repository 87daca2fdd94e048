"""PostgreSQL is restarted, or crashes, while a study is scored: nothing is lost, nothing twice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from calcium_scoring.model_input.segmentation import Segmentation
from calcium_scoring.model_input.tiling import Progress
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.upload.archive import ArchiveLimits
from calcium_scoring.volume.ct_volume import CtVolume
from service.adapters.database.engine import open_engine
from service.adapters.database.operations_record import SqlOperationsRecord
from service.adapters.database.schema import upgrade_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.storage.folder_store import FolderArtefactStore
from service.application.errors import RecordUnavailable
from service.application.jobs import JobStatus, LeaseTerms
from service.application.operations import AttemptTally
from service.application.reap import reap_jobs
from service.application.run_job import run_job
from service.application.submit_study import ReceivedUpload, study_id_of, submit_study
from tests.fakes import RecordingJobQueue, ThresholdSegmenter
from tests.integration.postgresql import PostgresqlServer, running_postgresql

SHA256 = "ab" * 32
STUDY = study_id_of(SHA256)
TERMS = LeaseTerms(
    duration=timedelta(seconds=30), heartbeat_interval=timedelta(seconds=0.2), max_attempts=2
)


class WaitingSegmenter(ThresholdSegmenter):
    """Waits in the middle of its work until it is told to go on."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def segment(self, volume: CtVolume, progress: Progress | None = None) -> Segmentation:
        self.has_begun.set()
        assert self.may_end.wait(120.0)
        return super().segment(volume, progress)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    """A server of this module: the other tests go on with theirs."""
    with running_postgresql() as server:
        yield server


class Hospital:
    """One machine with its record in PostgreSQL."""

    def __init__(self, server: PostgresqlServer, root: Path, terms: LeaseTerms) -> None:
        self.server = server
        self.engine = open_engine(server.new_database())
        upgrade_schema(self.engine)
        self.store = SqlStudyStore(self.engine, terms=terms)
        self.operations = SqlOperationsRecord(self.engine, lost_after=timedelta(seconds=60))
        self.artefacts = FolderArtefactStore(root)
        self.queue = RecordingJobQueue()
        self.terms = terms

    def submit(self, archive: Path) -> str:
        with self.artefacts.scratch() as folder:
            path = folder / "upload.zip"
            path.write_bytes(archive.read_bytes())
            return submit_study(
                ReceivedUpload(path, SHA256, path.stat().st_size),
                store=self.store,
                artefacts=self.artefacts,
                queue=self.queue,
                limits=ArchiveLimits(),
            ).job_id

    def run(self, job_id: str, segmenter: ThresholdSegmenter) -> threading.Thread:
        thread = threading.Thread(
            target=run_job,
            args=(job_id,),
            kwargs={
                "store": self.store,
                "artefacts": self.artefacts,
                "load_segmenter": lambda: segmenter,
                "protocol": LITERATURE,
                "terms": self.terms,
                "observer": AttemptTally(self.operations),
            },
        )
        thread.start()
        return thread

    def reports(self) -> list[Path]:
        return list(self.artefacts._root.rglob("report.json"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_attempt_outlives_a_restart_of_the_database(
    number: signal.Signals, server: PostgresqlServer, tmp_path: Path, study_zip: Path
) -> None:
    hospital = Hospital(server, tmp_path, TERMS)
    segmenter = WaitingSegmenter()
    thread = hospital.run(hospital.submit(study_zip), segmenter)
    assert segmenter.has_begun.wait(60.0)

    server.stop(number)
    with pytest.raises(RecordUnavailable):
        hospital.store.find(STUDY)
    server.start()
    segmenter.may_end.set()
    thread.join(120.0)

    study = hospital.store.find(STUDY)
    assert (study.status, study.attempt) == (JobStatus.SUCCEEDED, 1)
    assert sum(hospital.operations.facts().scores.values()) == 1
    assert len(hospital.reports()) == 1
    hospital.engine.dispose()


def test_study_that_ends_while_the_database_is_away_is_scored_by_the_next_attempt(
    server: PostgresqlServer, tmp_path: Path, study_zip: Path
) -> None:
    terms = replace(TERMS, duration=timedelta(seconds=2))
    hospital = Hospital(server, tmp_path, terms)
    segmenter = WaitingSegmenter()
    job_id = hospital.submit(study_zip)
    thread = hospital.run(job_id, segmenter)
    assert segmenter.has_begun.wait(60.0)

    server.stop()
    segmenter.may_end.set()
    thread.join(120.0)
    server.start()

    # Nobody said that the attempt was over: its lease must end first.
    assert hospital.store.find(STUDY).status is JobStatus.RUNNING
    while hospital.store.find(STUDY).status is JobStatus.RUNNING:
        reap_jobs(store=hospital.store, queue=hospital.queue)
    hospital.run(job_id, ThresholdSegmenter()).join(120.0)

    study = hospital.store.find(STUDY)
    assert (study.status, study.attempt) == (JobStatus.SUCCEEDED, 2)
    assert hospital.store.result(STUDY).agatston_score == pytest.approx(100.0)
    assert sum(hospital.operations.facts().scores.values()) == 1
    assert len(hospital.reports()) == 1
    hospital.engine.dispose()
