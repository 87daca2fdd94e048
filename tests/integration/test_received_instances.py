"""A study that arrives as single files is scored like one in an archive, and only once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.errors import NoDicomFound, UploadTooLarge
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.upload.archive import ArchiveLimits
from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.engine import open_engine
from service.adapters.database.schema import upgrade_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.storage.folder_store import FolderArtefactStore
from service.application.access import LOCAL, Principal, Scope
from service.application.errors import StorageFull, TooBusy
from service.application.jobs import JobRequest, JobStatus, LeaseTerms, Priority
from service.application.received_instances import Reception, submit_instances
from service.application.run_job import run_job
from tests.fakes import RecordingJobQueue, ThresholdSegmenter, plaque_volume
from tests.series_builders import edit

TERMS = LeaseTerms()
WARD = Principal("aet:WARD", "ward", frozenset({Scope.WRITE}))


@dataclass
class World:
    """One machine: record, files, queue, and who waits."""

    root: Path
    waiting: int = 0
    queue: RecordingJobQueue = field(default_factory=RecordingJobQueue)

    def __post_init__(self) -> None:
        self.engine = open_engine(f"sqlite:///{self.root / 'record.sqlite3'}")
        upgrade_schema(self.engine)
        self.store = SqlStudyStore(self.engine, terms=TERMS)
        self.audit = SqlAuditLog(self.engine)
        self.artefacts = FolderArtefactStore(self.root / "artefacts")
        self.reception = Reception(
            store=self.store,
            artefacts=self.artefacts,
            queue=self.queue,
            audit=self.audit,
            limits=ArchiveLimits(),
            waiting_jobs=lambda: self.waiting,
            queue_length=10,
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    machine = World(tmp_path)
    yield machine
    machine.engine.dispose()


@pytest.fixture
def instances(tmp_path: Path) -> list[Path]:
    return write_ct_series(plaque_volume(), tmp_path / "received", seed=1)


@contextmanager
def nothing_is_kept(world: World) -> Iterator[None]:
    yield
    assert world.store.page(limit=10, cursor=None).studies == ()
    assert world.queue.announced == []
    assert list(world.audit.entries()) == []
    assert [path for path in (world.root / "artefacts").rglob("*") if path.is_file()] == []


def test_study_of_single_files_is_queued_scored_and_audited(
    world: World, instances: list[Path]
) -> None:
    study = submit_instances(instances, reception=world.reception, principal=LOCAL)

    assert world.queue.announced == [study.job_id]
    assert [(entry.actor, entry.action, entry.study_id) for entry in world.audit.entries()] == [
        ("local", "study received", study.study_id)
    ]
    assert all(path.is_file() for path in instances)
    run_job(
        study.job_id,
        store=world.store,
        artefacts=world.artefacts,
        load_segmenter=ThresholdSegmenter,
        protocol=LITERATURE,
        terms=TERMS,
    )
    assert world.store.find(study.study_id).status is JobStatus.SUCCEEDED
    result = world.store.result(study.study_id)
    # 2 slices x 25 mm2 x weight 2 at 3 mm spacing
    assert result.agatston_score == pytest.approx(100.0)
    with world.artefacts.open(f"{result.result_key}/report.json") as stream:
        assert json.load(stream)["left_out_files"] == []


def test_same_study_in_another_order_under_other_names_from_another_sender_is_known(
    world: World, instances: list[Path], tmp_path: Path
) -> None:
    first = submit_instances(instances, reception=world.reception, principal=LOCAL)
    again = tmp_path / "again"
    again.mkdir()
    copies = [Path(shutil.copy(path, again / f"IM{99 - n}")) for n, path in enumerate(instances)]

    def from_elsewhere(instance: Dataset, _: int) -> None:
        instance.file_meta.SourceApplicationEntityTitle = "OTHER"
        instance.file_meta.ImplementationVersionName = "OTHER 1.0"
        instance.preamble = b"II*\x00" + bytes(124)

    edit(copies, from_elsewhere)
    assert copies[0].read_bytes() != instances[0].read_bytes()

    second = submit_instances(
        [*copies[::-1], copies[0]], reception=world.reception, principal=LOCAL
    )

    assert second.study_id == first.study_id
    assert second.job_id == first.job_id
    assert world.queue.announced == [first.job_id]


def test_study_that_waits_becomes_as_urgent_as_the_second_request(
    world: World, instances: list[Path]
) -> None:
    submit_instances(instances, reception=world.reception, principal=LOCAL)

    again = submit_instances(
        instances, reception=world.reception, principal=LOCAL, request=JobRequest(Priority.STAT)
    )

    assert again.priority is Priority.STAT


def test_same_instances_of_two_tenants_are_two_studies(world: World, instances: list[Path]) -> None:
    ours = submit_instances(instances, reception=world.reception, principal=LOCAL)
    theirs = submit_instances(instances, reception=world.reception, principal=WARD)

    assert ours.study_id != theirs.study_id
    assert world.store.tenant_of(theirs.study_id) == "ward"
    assert [entry.actor for entry in world.audit.entries()] == ["local", "aet:WARD"]


def test_study_with_one_more_slice_is_another_study(world: World, instances: list[Path]) -> None:
    part = submit_instances(instances[:-1], reception=world.reception, principal=LOCAL)
    whole = submit_instances(instances, reception=world.reception, principal=LOCAL)

    assert part.study_id != whole.study_id


def test_files_without_any_dicom_are_refused(world: World, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague", encoding="utf-8")

    with nothing_is_kept(world), pytest.raises(NoDicomFound):
        submit_instances([letter], reception=world.reception, principal=LOCAL)
    with nothing_is_kept(world), pytest.raises(NoDicomFound):
        submit_instances([], reception=world.reception, principal=LOCAL)


def test_study_beyond_a_limit_is_refused_before_it_is_packed(
    world: World, instances: list[Path]
) -> None:
    few = replace(world.reception, limits=ArchiveLimits(entries=9))
    small = replace(world.reception, limits=ArchiveLimits(archive_bytes=10_000))

    with nothing_is_kept(world), pytest.raises(UploadTooLarge, match="10 instances; at most 9"):
        submit_instances(instances, reception=few, principal=LOCAL)
    with nothing_is_kept(world), pytest.raises(UploadTooLarge, match="at most 10000"):
        submit_instances(instances, reception=small, principal=LOCAL)


def test_no_study_is_taken_while_too_many_wait_or_the_disk_is_full(
    world: World, instances: list[Path]
) -> None:
    world.waiting = 10
    with nothing_is_kept(world), pytest.raises(TooBusy):
        submit_instances(instances, reception=world.reception, principal=LOCAL)
    world.waiting = 0
    full = replace(
        world.reception,
        artefacts=FolderArtefactStore(world.root / "artefacts", reserve_bytes=2**62),
    )
    with nothing_is_kept(world), pytest.raises(StorageFull):
        submit_instances(instances, reception=full, principal=LOCAL)
