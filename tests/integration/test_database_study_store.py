"""Who owns a job, on real SQLite, and on PostgreSQL where the environment names one."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from service.adapters.database.engine import open_engine
from service.adapters.database.schema import upgrade_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.database.tables import jobs, results, studies
from service.application.errors import (
    InvalidCursor,
    LeaseLost,
    RecordUnavailable,
    ScoreNotReady,
    StudyFailed,
    StudyNotFound,
)
from service.application.jobs import (
    Claim,
    JobStatus,
    LeaseTerms,
    ModelIdentity,
    ScoreResult,
    Stage,
)
from service.application.problem import Problem
from tests.integration.conftest import Clock

STUDY = "a" * 26
PROBLEM = Problem("too_few_slices", "The series has too few slices", "4 slices.", {"count": 4})
TERMS = LeaseTerms(duration=timedelta(seconds=60), max_attempts=3, retry_delay=timedelta(seconds=5))


@pytest.fixture
def store(engine: Engine, clock: Clock) -> SqlStudyStore:
    return SqlStudyStore(engine, terms=TERMS, now=clock)


def add(store: SqlStudyStore, study_id: str = STUDY) -> str:
    assert store.add(study_id=study_id, folder=f"studies/{study_id}", sha256="0" * 64, size_bytes=1)
    return store.find(study_id).job_id


def claimed(store: SqlStudyStore, job_id: str) -> Claim:
    claim = store.claim(job_id)
    assert claim is not None
    return claim


def result_of(claim: Claim) -> ScoreResult:
    return ScoreResult(
        claim.result_key, ModelIdentity("DenseRAUnet", "1.0.0", "0" * 64, False), 100.0, 10
    )


def test_new_study_waits_and_needs_a_message(store: SqlStudyStore, clock: Clock) -> None:
    job_id = add(store)
    study = store.find(STUDY)
    assert (study.status, study.stage, study.progress) == (JobStatus.QUEUED, Stage.WAITING, 0.0)
    assert (study.attempt, study.created_at) == (0, clock.time)
    assert store.due_for_announcement(announced_before=None) == [job_id]
    store.mark_announced(job_id)
    assert store.due_for_announcement(announced_before=None) == []


def test_study_is_recorded_once(store: SqlStudyStore) -> None:
    def add_once(number: int) -> bool:
        return store.add(study_id=STUDY, folder=f"f{number}", sha256="0" * 64, size_bytes=1)

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(add_once, range(8))) == [False] * 7 + [True]
    assert len(store.folders()) == 1


def test_only_one_of_many_workers_gets_a_job(store: SqlStudyStore) -> None:
    job_id = add(store)
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: store.claim(job_id), range(24)))
    (claim,) = [claim for claim in claims if claim is not None]
    assert claim == Claim(job_id, STUDY, 1, f"studies/{STUDY}")


def test_message_for_a_job_that_is_over_or_unknown_claims_nothing(store: SqlStudyStore) -> None:
    claim = claimed(store, add(store))
    store.finish(claim, result_of(claim))
    assert store.claim(claim.job_id) is None
    assert store.claim("unknown") is None


def test_heartbeat_keeps_the_lease(store: SqlStudyStore, clock: Clock) -> None:
    claim = claimed(store, add(store))
    for _ in range(5):
        clock.advance(50)
        store.extend(claim)
        assert store.expire_leases() == []
    assert store.claim(claim.job_id) is None


def test_progress_keeps_the_lease_too(store: SqlStudyStore, clock: Clock) -> None:
    claim = claimed(store, add(store))
    clock.advance(50)
    store.report_progress(claim, Stage.SEGMENTING, 0.5)
    clock.advance(50)
    assert store.expire_leases() == []
    study = store.find(STUDY)
    assert (study.status, study.stage, study.progress) == ("running", "segmenting", 0.5)


def test_silent_worker_loses_its_job_and_can_write_nothing(
    store: SqlStudyStore, clock: Clock
) -> None:
    late = claimed(store, add(store))
    clock.advance(61)
    next_one = claimed(store, late.job_id)
    assert next_one.attempt == 2

    writes: list[Callable[[], None]] = [
        lambda: store.extend(late),
        lambda: store.report_progress(late, Stage.WRITING, 0.9),
        lambda: store.finish(late, result_of(late)),
        lambda: store.refuse(late, PROBLEM),
        lambda: store.release(late, "-"),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            write()

    store.finish(next_one, result_of(next_one))
    assert store.result(STUDY).result_key == next_one.result_key


def test_expired_lease_is_queued_again_and_fences_its_worker(
    store: SqlStudyStore, clock: Clock
) -> None:
    late = claimed(store, add(store))
    store.mark_announced(late.job_id)
    clock.advance(61)
    assert store.expire_leases() == [late.job_id]
    assert store.expire_leases() == []
    assert store.find(STUDY).status is JobStatus.QUEUED
    assert store.due_for_announcement(announced_before=None) == [late.job_id]
    with pytest.raises(LeaseLost):
        store.finish(late, result_of(late))


def test_job_that_loses_every_worker_ends_with_its_reason(
    store: SqlStudyStore, clock: Clock
) -> None:
    job_id = add(store)
    for attempt in (1, 2, 3):
        assert claimed(store, job_id).attempt == attempt
        clock.advance(61)
        assert store.expire_leases() == [job_id]
    study = store.find(STUDY)
    assert study.status is JobStatus.FAILED
    assert study.problem is not None
    assert study.problem.code == "poison"
    assert study.problem.evidence == {"attempt_count": 3, "last_exit": None}
    assert store.claim(job_id) is None


def test_message_that_comes_before_the_reaper_ends_an_exhausted_job(
    store: SqlStudyStore, clock: Clock
) -> None:
    job_id = add(store)
    for _ in range(3):
        claimed(store, job_id)
        clock.advance(61)
    assert store.claim(job_id) is None
    assert store.find(STUDY).status is JobStatus.FAILED


def test_released_job_waits_longer_each_time(store: SqlStudyStore, clock: Clock) -> None:
    job_id = add(store)
    for pause in (5, 20):
        store.release(claimed(store, job_id), "model_unavailable")
        assert store.claim(job_id) is None
        assert store.due_for_announcement(announced_before=None) == []
        clock.advance(pause)
        assert store.due_for_announcement(announced_before=None) == [job_id]
    store.release(claimed(store, job_id), "model_unavailable")
    problem = store.find(STUDY).problem
    assert problem is not None
    assert problem.evidence == {"attempt_count": 3, "last_reason": "model_unavailable"}


@pytest.mark.parametrize("by_message", [True, False])
def test_waiting_job_beyond_a_lowered_limit_of_attempts_ends_with_its_reason(
    store: SqlStudyStore, engine: Engine, clock: Clock, by_message: bool
) -> None:
    job_id = add(store)
    for _ in range(2):
        store.release(claimed(store, job_id), "model_unavailable")
        clock.advance(60)
    stricter = SqlStudyStore(engine, terms=replace(TERMS, max_attempts=1), now=clock)

    if by_message:
        assert stricter.claim(job_id) is None
    else:
        assert stricter.expire_leases() == [job_id]

    study = store.find(STUDY)
    assert study.status is JobStatus.FAILED
    assert study.problem is not None
    assert study.problem.code == "too_many_attempts"
    assert study.problem.evidence["attempt_count"] == 2
    assert stricter.expire_leases() == []


TWO_MINUTES = timedelta(minutes=2)


def test_study_that_no_worker_takes_up_is_unattended_after_a_while(
    store: SqlStudyStore, clock: Clock
) -> None:
    assert not store.is_unattended(TWO_MINUTES)
    job_id = add(store)
    clock.advance(119)
    assert not store.is_unattended(TWO_MINUTES)
    clock.advance(2)
    assert store.is_unattended(TWO_MINUTES)
    claimed(store, job_id)
    assert not store.is_unattended(TWO_MINUTES)


def test_long_queue_is_attended_while_a_worker_goes_through_it(
    store: SqlStudyStore, clock: Clock
) -> None:
    first = add(store)
    add(store, "b" * 26)
    clock.advance(1000)
    claim = claimed(store, first)
    clock.advance(50)
    store.extend(claim)
    assert not store.is_unattended(TWO_MINUTES)
    # Between two jobs nothing runs, but a job has just ended.
    store.finish(claim, result_of(claim))
    assert not store.is_unattended(TWO_MINUTES)
    clock.advance(121)
    assert store.is_unattended(TWO_MINUTES)


def test_job_of_a_lost_worker_has_waited_since_its_lease_ended(
    store: SqlStudyStore, clock: Clock
) -> None:
    claimed(store, add(store))
    clock.advance(1000)
    store.expire_leases()
    assert not store.is_unattended(TWO_MINUTES)
    clock.advance(121)
    assert store.is_unattended(TWO_MINUTES)


def test_folder_of_a_refused_study_is_needed_by_nobody(store: SqlStudyStore, clock: Clock) -> None:
    store.refuse(claimed(store, add(store)), PROBLEM)
    given_up = add(store, "b" * 26)
    for _ in range(3):
        store.release(claimed(store, given_up), "model_unavailable")
        clock.advance(60)
    add(store, "c" * 26)

    assert store.folders() == {f"studies/{letter * 26}" for letter in "bc"}


def test_job_whose_message_was_lost_is_due_again(store: SqlStudyStore, clock: Clock) -> None:
    job_id = add(store)
    store.mark_announced(job_id)
    clock.advance(61)
    assert store.due_for_announcement(announced_before=None) == []
    assert store.due_for_announcement(announced_before=timedelta(seconds=60)) == [job_id]


def test_result_says_why_there_is_none(store: SqlStudyStore) -> None:
    with pytest.raises(StudyNotFound):
        store.result(STUDY)
    claim = claimed(store, add(store))
    with pytest.raises(ScoreNotReady):
        store.result(STUDY)
    store.refuse(claim, PROBLEM)
    with pytest.raises(StudyFailed) as failed:
        store.result(STUDY)
    assert failed.value.problem == PROBLEM


def test_deleted_study_takes_job_and_result_along(store: SqlStudyStore, engine: Engine) -> None:
    claim = claimed(store, add(store))
    store.finish(claim, result_of(claim))
    assert store.delete(STUDY) == f"studies/{STUDY}"
    with engine.connect() as connection:
        for table in (studies, jobs, results):
            assert connection.execute(select(table)).all() == []
    with pytest.raises(StudyNotFound):
        store.delete(STUDY)


def test_worker_of_a_deleted_study_cannot_bring_it_back(store: SqlStudyStore) -> None:
    claim = claimed(store, add(store))
    store.delete(STUDY)
    with pytest.raises(LeaseLost):
        store.extend(claim)
    with pytest.raises(LeaseLost):
        store.finish(claim, result_of(claim))
    add(store)
    with pytest.raises(LeaseLost):
        store.finish(claim, result_of(claim))


def test_pages_hold_every_study_once_though_times_are_equal(
    store: SqlStudyStore, clock: Clock
) -> None:
    ids = [letter * 26 for letter in "abcdefg"]
    for number, study_id in enumerate(ids):
        add(store, study_id)
        clock.advance(number % 2)
    listed: list[str] = []
    cursor = None
    while True:
        page = store.page(limit=3, cursor=cursor)
        listed += [study.study_id for study in page.studies]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(listed) == ids
    times = [store.find(study_id).created_at for study_id in listed]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("cursor", ["", "x", "%", "MjAyNi0wMy0wMSB4", "A" * 50])
def test_cursor_that_was_not_given_out_is_refused(store: SqlStudyStore, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        store.page(limit=3, cursor=cursor)


@pytest.mark.parametrize(
    "text",
    [
        f"0001-01-01T00:00:00+14:00 {STUDY}",
        f"9999-12-31T23:59:59-14:00 {STUDY}",
        f"2026-03-01T12:00:00 {STUDY}",
        "2026-03-01T12:00:00+00:00 not-an-id",
        f"2026-03-01T12:00:00+00:00 {STUDY}\0",
        f"2026-03-01T12:00:00+00:00 {STUDY}\n",
    ],
)
def test_crafted_cursor_is_refused_and_no_crash(store: SqlStudyStore, text: str) -> None:
    with pytest.raises(InvalidCursor):
        store.page(limit=3, cursor=base64.urlsafe_b64encode(text.encode()).decode())


def test_tables_may_be_created_by_several_processes_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'record.sqlite3'}"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: upgrade_schema(open_engine(url)), range(4)))
    SqlStudyStore(open_engine(url), terms=TERMS).check()


def test_record_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'no' / 'folder' / 'record.sqlite3'}")
    with pytest.raises(RecordUnavailable):
        SqlStudyStore(engine, terms=TERMS).check()


def test_pause_between_attempts_has_an_end_however_many_there_are() -> None:
    assert TERMS.delay_after(1) == timedelta(seconds=5)
    assert TERMS.delay_after(3) == timedelta(seconds=80)
    assert TERMS.delay_after(1000) == timedelta(minutes=10)


def test_lease_must_outlast_two_heartbeats() -> None:
    with pytest.raises(ValueError, match="two heartbeats"):
        LeaseTerms(duration=timedelta(seconds=10), heartbeat_interval=timedelta(seconds=6))
