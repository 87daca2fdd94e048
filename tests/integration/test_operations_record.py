"""What operators see, on the real record: SQLite, and PostgreSQL where there is one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from service.adapters.database.operations_record import SqlOperationsRecord
from service.adapters.database.study_store import SqlStudyStore
from service.application.jobs import (
    Claim,
    JobStatus,
    LeaseTerms,
    ModelIdentity,
    ScoreResult,
    Stage,
)
from service.application.operations import (
    STAGE_BOUNDS_S,
    AttemptOutcome,
    WorkerBeat,
    WorkerState,
    worker_problem,
)
from service.application.problem import Problem
from tests.integration.conftest import Clock

LOST_AFTER = timedelta(seconds=60)


@pytest.fixture
def store(engine: Engine, clock: Clock) -> SqlStudyStore:
    return SqlStudyStore(engine, terms=LeaseTerms(max_attempts=2), now=clock)


@pytest.fixture
def record(engine: Engine, clock: Clock) -> SqlOperationsRecord:
    return SqlOperationsRecord(engine, lost_after=LOST_AFTER, now=clock)


def claimed(store: SqlStudyStore, letter: str) -> Claim:
    study_id = letter * 26
    store.add(study_id=study_id, folder=f"studies/{letter}", sha256="0" * 64, size_bytes=1)
    claim = store.claim(store.find(study_id).job_id)
    assert claim is not None
    return claim


def result_of(claim: Claim, version: str = "0.3.0") -> ScoreResult:
    model = ModelIdentity("DenseRAUnet", version, "0" * 64, is_provisional=False)
    return ScoreResult(claim.result_key, model, 100.0, 10)


def test_empty_record_has_no_job_and_no_worker(record: SqlOperationsRecord) -> None:
    facts = record.facts()
    assert facts.jobs_by_status == dict.fromkeys(JobStatus, 0)
    assert (facts.due_jobs, facts.oldest_due_s) == (0, 0.0)
    assert (facts.scores, facts.failures, facts.workers) == ({}, {}, ())
    assert worker_problem(facts.workers) is not None


def test_oldest_job_is_as_old_as_it_has_been_due(
    store: SqlStudyStore, record: SqlOperationsRecord, clock: Clock
) -> None:
    for letter, pause_s in (("a", 30.0), ("b", 12.0)):
        store.add(study_id=letter * 26, folder=letter, sha256="0" * 64, size_bytes=1)
        clock.advance(pause_s)

    facts = record.facts()

    assert (facts.due_jobs, facts.oldest_due_s) == (2, 42.0)
    assert facts.jobs_by_status[JobStatus.QUEUED] == record.queued_jobs() == 2


def test_job_that_pauses_before_its_next_attempt_is_not_due(
    store: SqlStudyStore, record: SqlOperationsRecord
) -> None:
    store.release(claimed(store, "a"), "the model was away")
    facts = record.facts()
    assert facts.jobs_by_status[JobStatus.QUEUED] == 1
    assert (facts.due_jobs, facts.oldest_due_s) == (0, 0.0)


def test_scores_are_counted_by_model_and_outlive_their_studies(
    store: SqlStudyStore, record: SqlOperationsRecord
) -> None:
    for letter, version in (("a", "0.3.0"), ("b", "0.3.0"), ("c", "0.4.0")):
        claim = claimed(store, letter)
        store.finish(claim, result_of(claim, version))
    store.delete("a" * 26)

    assert record.facts().scores == {("DenseRAUnet", "0.3.0"): 2, ("DenseRAUnet", "0.4.0"): 1}


def test_result_that_is_fenced_off_is_not_counted(
    store: SqlStudyStore, record: SqlOperationsRecord, clock: Clock
) -> None:
    late = claimed(store, "a")
    clock.advance(61)
    current = store.claim(late.job_id)
    assert current is not None
    with pytest.raises(Exception, match="no longer owns"):
        store.finish(late, result_of(late))
    store.finish(current, result_of(current))

    assert record.facts().scores == {("DenseRAUnet", "0.3.0"): 1}


def test_refusals_and_jobs_that_were_given_up_are_counted_by_code(
    store: SqlStudyStore, record: SqlOperationsRecord, clock: Clock
) -> None:
    for letter in ("a", "b"):
        store.refuse(claimed(store, letter), Problem("too_few_slices", "Too few", "4 slices.", {}))
    lost = claimed(store, "c")
    for _ in range(2):
        clock.advance(61)
        store.expire_leases()
        store.claim(lost.job_id)

    clock.advance(61)
    store.expire_leases()

    assert record.facts().failures == {"too_few_slices": 2, "poison": 1}


def test_durations_fall_into_every_bucket_that_holds_them(record: SqlOperationsRecord) -> None:
    record.count_attempt(AttemptOutcome.SUCCEEDED, {Stage.READING: 0.2, Stage.SEGMENTING: 20.0})
    record.count_attempt(AttemptOutcome.FAILED, {Stage.READING: 3.0})

    facts = record.facts()

    reading = dict(
        zip(STAGE_BOUNDS_S, facts.stage_durations[Stage.READING].cumulative, strict=True)
    )
    assert reading == {
        0.1: 0,
        0.3: 1,
        1.0: 1,
        3.0: 2,
        10.0: 2,
        30.0: 2,
        100.0: 2,
        300.0: 2,
        900.0: 2,
    }
    assert facts.stage_durations[Stage.READING].count == 2
    assert facts.stage_durations[Stage.READING].sum_s == pytest.approx(3.2)
    assert facts.stage_durations[Stage.SEGMENTING].cumulative == (0, 0, 0, 0, 0, 1, 1, 1, 1)
    assert facts.attempts[AttemptOutcome.SUCCEEDED] == facts.attempts[AttemptOutcome.FAILED] == 1


def test_many_workers_that_count_at_once_lose_no_count(record: SqlOperationsRecord) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda _: record.count_attempt(AttemptOutcome.SUCCEEDED, {Stage.READING: 1.0}),
                range(40),
            )
        )
    facts = record.facts()
    assert facts.attempts[AttemptOutcome.SUCCEEDED] == 40
    assert facts.stage_durations[Stage.READING].sum_s == pytest.approx(40.0)


def test_job_that_is_handed_back_is_due_at_once_and_costs_no_attempt(
    store: SqlStudyStore, record: SqlOperationsRecord
) -> None:
    claim = claimed(store, "a")
    for _ in range(5):
        store.hand_back(claim)
        assert record.facts().due_jobs == 1
        again = store.claim(claim.job_id)
        assert again is not None
        assert again.attempt == 1
        claim = again
    store.finish(claim, result_of(claim))


def test_worker_is_lost_once_it_has_been_silent_and_forgotten_an_hour_later(
    record: SqlOperationsRecord, clock: Clock
) -> None:
    record.see_worker(WorkerBeat("a", WorkerState.LOADING))
    assert worker_problem(record.workers()) == "The worker is loading its model."
    ready = WorkerBeat("a", WorkerState.READY, "DenseRAUnet", "0.3.0", "CUDAExecutionProvider")
    record.see_worker(ready)
    (seen,) = record.workers()
    assert (seen.beat, seen.state, seen.started_at) == (ready, WorkerState.READY, clock.time)
    assert worker_problem(record.workers()) is None

    clock.advance(61)

    assert [one.state for one in record.workers()] == [WorkerState.LOST]
    assert "2026-03-01 12:00:00" in str(worker_problem(record.workers()))
    clock.advance(3600)
    record.see_worker(WorkerBeat("b", WorkerState.READY))
    assert [one.beat.worker_id for one in record.workers()] == ["b"]


def test_worker_that_cannot_load_its_model_says_why(record: SqlOperationsRecord) -> None:
    record.see_worker(
        WorkerBeat("a", WorkerState.UNAVAILABLE, detail="CUDAExecutionProvider was asked for")
    )
    assert "CUDAExecutionProvider was asked for" in str(worker_problem(record.workers()))
    record.forget_worker("a")
    assert record.workers() == ()
