"""Attempts at a job on the real record, store and runtime: what is kept, and what is not."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from calcium_scoring.model_input.segmentation import Segmentation
from calcium_scoring.model_input.tiling import Progress
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.upload.archive import ArchiveLimits
from calcium_scoring.volume.ct_volume import CtVolume
from service.adapters.database.engine import open_engine
from service.adapters.database.schema import upgrade_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.adapters.storage.folder_store import FolderArtefactStore
from service.application.delete_study import delete_study
from service.application.errors import RecordUnavailable
from service.application.jobs import (
    Claim,
    JobOptions,
    JobRequest,
    JobStatus,
    LeaseTerms,
    ScoreResult,
)
from service.application.ports import Segmenter
from service.application.problem import Problem
from service.application.reap import reap_files, reap_jobs
from service.application.result_instances import ResultInstance
from service.application.run_job import run_job
from service.application.submit_study import ReceivedUpload, study_id_of, submit_study
from tests.fakes import RecordingJobQueue, ThresholdSegmenter, write_study_zip

TERMS = LeaseTerms(
    duration=timedelta(seconds=0.6),
    heartbeat_interval=timedelta(seconds=0.1),
    retry_delay=timedelta(0),
)
SHA256 = "ab" * 32


@dataclass
class World:
    """One machine: record, files, queue."""

    root: Path
    record_url: str
    queue: RecordingJobQueue = field(default_factory=RecordingJobQueue)

    def __post_init__(self) -> None:
        self.engine = open_engine(self.record_url)
        upgrade_schema(self.engine)
        self.store = SqlStudyStore(self.engine, terms=TERMS)
        self.artefacts = FolderArtefactStore(self.root / "artefacts")

    def submit(self, archive: Path) -> str:
        with self.artefacts.scratch() as folder:
            path = folder / "upload.zip"
            path.write_bytes(archive.read_bytes())
            study = submit_study(
                ReceivedUpload(path, SHA256, path.stat().st_size),
                store=self.store,
                artefacts=self.artefacts,
                queue=self.queue,
                limits=ArchiveLimits(),
            )
        return study.job_id

    def run(
        self,
        job_id: str,
        segmenter: Segmenter | None = None,
        store: SqlStudyStore | None = None,
    ) -> None:
        run_job(
            job_id,
            store=store or self.store,
            artefacts=self.artefacts,
            load_segmenter=lambda: segmenter or ThresholdSegmenter(),
            protocol=LITERATURE,
            terms=TERMS,
        )

    @property
    def study_id(self) -> str:
        return study_id_of(SHA256)

    def files(self) -> list[str]:
        artefacts = self.root / "artefacts"
        return sorted(path.name for path in artefacts.rglob("*") if path.is_file())


@pytest.fixture
def world(tmp_path: Path, record_url: str) -> Iterator[World]:
    world = World(tmp_path, record_url)
    yield world
    world.engine.dispose()


RESULT_FILES = [
    "dicom-metadata.json",
    "key-image-1.dcm",
    "lesions.dcm",
    "lesions.nii.gz",
    "mask.dcm",
    "mask.nii.gz",
    "preview.zip",
    "provenance.json",
    "report-pdf.dcm",
    "report.csv",
    "report.dcm",
    "report.fhir.json",
    "report.json",
    "report.pdf",
]


class WaitingSegmenter(ThresholdSegmenter):
    """Waits in the middle of its work until it is told to go on."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def segment(self, volume: CtVolume, progress: Progress | None = None) -> Segmentation:
        self.has_begun.set()
        assert self.may_end.wait(20.0)
        return super().segment(volume, progress)


class FailingSegmenter(ThresholdSegmenter):
    """Raises what it was given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def segment(
        self,
        volume: CtVolume,  # noqa: ARG002
        progress: Progress | None = None,  # noqa: ARG002
    ) -> Segmentation:
        raise self.error


@contextmanager
def attempt_in_progress(world: World, job_id: str) -> Iterator[WaitingSegmenter]:
    """An attempt in a thread, stopped in the middle; it goes on and ends with the block."""
    segmenter = WaitingSegmenter()
    thread = threading.Thread(target=world.run, args=(job_id, segmenter))
    thread.start()
    assert segmenter.has_begun.wait(20.0)
    try:
        yield segmenter
    finally:
        segmenter.may_end.set()
        thread.join()


def test_scored_study_keeps_its_artefacts_and_nothing_else(world: World, study_zip: Path) -> None:
    world.run(world.submit(study_zip))
    result = world.store.result(world.study_id)
    assert result.agatston_score == pytest.approx(100.0)
    assert result.slice_count == 10
    assert world.files() == sorted([*RESULT_FILES, "upload.zip"])
    assert list((world.root / "artefacts" / "scratch").iterdir()) == []


def test_message_that_comes_twice_scores_once(world: World, study_zip: Path) -> None:
    job_id = world.submit(study_zip)
    world.run(job_id)
    before = world.store.find(world.study_id)
    world.run(job_id, FailingSegmenter(AssertionError("must not run")))
    assert world.store.find(world.study_id) == before


def test_refused_upload_leaves_its_record_and_no_file(world: World, tmp_path: Path) -> None:
    world.run(world.submit(write_study_zip(tmp_path / "short.zip", slice_count=4)))
    study = world.store.find(world.study_id)
    assert (study.status, study.attempt) == (JobStatus.FAILED, 1)
    assert study.problem is not None
    assert study.problem.code == "too_few_slices"
    assert world.files() == []
    assert list((world.root / "artefacts" / "studies").iterdir()) == []
    # The same bytes again are refused by the record, which is all that is left.
    assert world.submit(tmp_path / "short.zip") == study.job_id
    assert world.files() == []


def test_refused_upload_that_a_crash_left_behind_is_removed_by_the_reaper(
    world: World, tmp_path: Path
) -> None:
    claim = world.store.claim(world.submit(write_study_zip(tmp_path / "a.zip", slice_count=4)))
    assert claim is not None
    world.store.refuse(claim, Problem("too_few_slices", "Too few slices", "4 slices."))
    assert world.files() == ["upload.zip"]

    for path in (world.root / "artefacts" / "studies").iterdir():
        _age(path, hours=2)
    reap_files(store=world.store, artefacts=world.artefacts)

    assert world.files() == []


def test_unforeseen_error_is_tried_again_and_named_without_its_text(
    world: World, study_zip: Path
) -> None:
    job_id = world.submit(study_zip)
    segmenter = FailingSegmenter(MemoryError("Doe^Jane"))
    world.run(job_id, segmenter)
    assert world.store.find(world.study_id).status is JobStatus.QUEUED
    world.run(job_id, segmenter)
    world.run(job_id, segmenter)
    problem = world.store.find(world.study_id).problem
    assert problem is not None
    assert problem.code == "too_many_attempts"
    assert "MemoryError" in problem.detail
    assert "Doe" not in problem.detail
    assert world.files() == ["upload.zip"]


def test_model_that_cannot_be_loaded_is_a_reason_to_wait(world: World, study_zip: Path) -> None:
    job_id = world.submit(study_zip)

    def load_segmenter() -> Segmenter:
        return OnnxSegmenter(world.root / "missing.onnx")

    run_job(
        job_id,
        store=world.store,
        artefacts=world.artefacts,
        load_segmenter=load_segmenter,
        protocol=LITERATURE,
        terms=TERMS,
    )
    assert world.store.find(world.study_id).status is JobStatus.QUEUED
    world.run(job_id)
    assert world.store.find(world.study_id).status is JobStatus.SUCCEEDED


def test_attempt_beyond_the_time_limit_fails_with_the_limit(world: World, study_zip: Path) -> None:
    run_job(
        world.submit(study_zip),
        store=world.store,
        artefacts=world.artefacts,
        load_segmenter=lambda: FailingSegmenter(TimeoutError()),
        protocol=LITERATURE,
        terms=TERMS,
        time_limit_s=840.0,
    )
    problem = world.store.find(world.study_id).problem
    assert problem is not None
    assert (problem.code, problem.evidence) == ("scoring_timed_out", {"limit_s": 840.0})


def test_running_attempt_outlives_its_first_lease(world: World, study_zip: Path) -> None:
    job_id = world.submit(study_zip)
    with attempt_in_progress(world, job_id):
        threading.Event().wait(3 * TERMS.duration.total_seconds())
        reap_jobs(store=world.store, queue=world.queue)
        assert world.store.find(world.study_id).status is JobStatus.RUNNING
    assert world.store.find(world.study_id).status is JobStatus.SUCCEEDED


def test_study_deleted_in_mid_job_stays_deleted(world: World, study_zip: Path) -> None:
    job_id = world.submit(study_zip)
    with attempt_in_progress(world, job_id):
        delete_study(world.study_id, store=world.store, artefacts=world.artefacts)
    assert world.files() == []
    assert world.store.folders() == set()
    assert list((world.root / "artefacts" / "studies").iterdir()) == []


def test_study_cancelled_in_mid_job_stops_and_keeps_its_upload_for_a_retry(
    world: World, study_zip: Path
) -> None:
    job_id = world.submit(study_zip)
    with attempt_in_progress(world, job_id):
        assert world.store.cancel(world.study_id).status is JobStatus.CANCELLED
    assert world.store.find(world.study_id).status is JobStatus.CANCELLED
    assert world.files() == ["upload.zip"]
    world.run(world.store.retry(world.study_id).job_id)
    assert world.store.result(world.study_id).agatston_score == pytest.approx(100.0)


def test_attempt_that_succeeds_removes_what_a_killed_one_left(
    world: World, study_zip: Path
) -> None:
    job_id = world.submit(study_zip)
    killed = world.store.claim(job_id)
    assert killed is not None
    # The first attempt was killed while it wrote its artefacts.
    left = world.root / "artefacts" / killed.result_key
    left.mkdir()
    (left / "report.json").write_text("{}")
    threading.Event().wait(TERMS.duration.total_seconds() + 0.1)
    world.run(job_id)
    assert world.store.find(world.study_id).status is JobStatus.SUCCEEDED
    assert not left.exists()
    assert world.files() == sorted([*RESULT_FILES, "upload.zip"])


def test_job_is_scored_by_the_protocol_that_it_asks_for(world: World, study_zip: Path) -> None:
    world.run(world.submit(study_zip))
    study = world.store.rerun(
        world.study_id, JobRequest(options=JobOptions(protocol="ge", tube_voltage_table="fqm_2021"))
    )
    world.run(study.job_id)
    result = world.store.result(world.study_id, study.job_number)
    with world.artefacts.open(f"{result.result_key}/report.json") as stream:
        protocol = json.load(stream)["protocol"]
    assert (protocol["name"], protocol["tube_voltage_table"]) == ("ge", "fqm_2021")


def test_study_sent_again_while_its_old_job_runs_is_scored_anew(
    world: World, study_zip: Path
) -> None:
    old_job_id = world.submit(study_zip)
    with attempt_in_progress(world, old_job_id):
        delete_study(world.study_id, store=world.store, artefacts=world.artefacts)
        new_job_id = world.submit(study_zip)
    assert new_job_id != old_job_id
    assert world.store.find(world.study_id).status is JobStatus.QUEUED
    assert world.files() == ["upload.zip"]
    world.run(new_job_id)
    assert world.store.result(world.study_id).agatston_score == pytest.approx(100.0)


def test_result_stays_when_the_answer_of_the_record_is_lost(world: World, study_zip: Path) -> None:
    """The transaction is kept, but the worker hears of an error: files must not be removed."""

    class ForgetfulStore(SqlStudyStore):
        def finish(
            self,
            claim: Claim,
            result: ScoreResult,
            *,
            destinations: Sequence[str] = (),
            instances: Sequence[ResultInstance] = (),
        ) -> None:
            super().finish(claim, result, destinations=destinations, instances=instances)
            raise RecordUnavailable("The connection broke after the commit.")

    world.run(world.submit(study_zip), store=ForgetfulStore(world.engine, terms=TERMS))
    result = world.store.result(world.study_id)
    world.artefacts.open(f"{result.result_key}/report.json").close()


def test_upload_is_kept_though_the_broker_is_away(world: World, study_zip: Path) -> None:
    world.queue.is_down = True
    job_id = world.submit(study_zip)
    reap_jobs(store=world.store, queue=world.queue)
    assert world.queue.announced == []
    world.queue.is_down = False
    reap_jobs(store=world.store, queue=world.queue)
    assert world.queue.announced == [job_id]
    reap_jobs(store=world.store, queue=world.queue)
    assert world.queue.announced == [job_id]


def test_job_of_a_lost_worker_is_announced_again(world: World, study_zip: Path) -> None:
    job_id = world.submit(study_zip)
    assert world.queue.announced == [job_id]
    assert world.store.claim(job_id) is not None
    threading.Event().wait(TERMS.duration.total_seconds() + 0.1)
    reap_jobs(store=world.store, queue=world.queue)
    assert world.queue.announced == [job_id, job_id]
    world.run(job_id)
    study = world.store.find(world.study_id)
    assert (study.status, study.attempt) == (JobStatus.SUCCEEDED, 2)


def test_reaper_removes_only_what_belongs_to_no_study(world: World, study_zip: Path) -> None:
    world.run(world.submit(study_zip))
    orphan = world.root / "artefacts" / "studies" / "gone-00000000"
    orphan.mkdir()
    (orphan / "upload.zip").write_bytes(b"x")
    before = world.files()
    reap_files(store=world.store, artefacts=world.artefacts)
    assert world.files() == before

    for path in (world.root / "artefacts" / "studies").iterdir():
        _age(path, hours=2)
    reap_files(store=world.store, artefacts=world.artefacts)
    assert not orphan.exists()
    assert world.files() == sorted([*RESULT_FILES, "upload.zip"])


def _age(path: Path, *, hours: float) -> None:
    changed = path.stat().st_mtime - hours * 3600
    os.utime(path, (changed, changed))


def test_report_names_its_model_and_warns_that_it_is_provisional(
    world: World, study_zip: Path, threshold_model: Path
) -> None:
    world.run(world.submit(study_zip), OnnxSegmenter(threshold_model, threads=1))
    model = world.store.result(world.study_id).model
    assert (model.name, model.version, model.is_provisional) == ("Threshold", "1.0.0", True)
    assert len(model.sha256) == 64
