"""Cancelling, retrying, scoring again, urgency, events, lost workers: what the record keeps."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, select

from service.adapters.database.job_log import delivery_id
from service.adapters.database.job_tables import webhook_deliveries
from service.adapters.database.study_store import SqlStudyStore
from service.application.errors import (
    JobHasEnded,
    LeaseLost,
    ResultVersionNotFound,
    RetryNotPossible,
    ScoreNotReady,
    StudyBusy,
    StudyCancelled,
    StudyNotFound,
)
from service.application.jobs import (
    Claim,
    JobOptions,
    JobRequest,
    JobStatus,
    LeaseTerms,
    ModelIdentity,
    Priority,
    ScoreResult,
    Stage,
)
from service.application.problem import Problem
from tests.integration.conftest import Clock

TERMS = LeaseTerms(duration=timedelta(seconds=60), max_attempts=2)
REFUSED = Problem("too_few_slices", "The series has too few slices", "4 slices.")
A, B, C = ("a" * 26, "b" * 26, "c" * 26)


@pytest.fixture
def store(engine: Engine, clock: Clock) -> SqlStudyStore:
    return SqlStudyStore(engine, terms=TERMS, now=clock)


def add(store: SqlStudyStore, study_id: str = A, **request: object) -> str:
    assert store.add(
        study_id=study_id,
        folder=f"studies/{study_id}",
        sha256="0" * 64,
        size_bytes=1,
        request=JobRequest(**request),  # type: ignore[arg-type]
    )
    return store.find(study_id).job_id


def claimed(store: SqlStudyStore, job_id: str, worker: str | None = None) -> Claim:
    claim = store.claim(job_id, worker=worker)
    assert claim is not None
    return claim


def finish(store: SqlStudyStore, claim: Claim, score: float = 100.0) -> None:
    model = ModelIdentity("DenseRAUnet", "1.0.0", "0" * 64, False)
    store.finish(claim, ScoreResult(claim.result_key, model, score, 10))


def statuses(store: SqlStudyStore, after: int = 0) -> list[str]:
    return [str(event.status) for event in store.events(A, after=after)]


def test_waiting_study_is_cancelled_at_once_and_never_begun(store: SqlStudyStore) -> None:
    job_id = add(store)
    assert store.cancel(A).status is JobStatus.CANCELLED
    assert store.cancel(A).status is JobStatus.CANCELLED
    assert store.claim(job_id) is None
    assert store.due_for_announcement(announced_before=None) == []
    assert statuses(store) == ["queued", "cancelled"]
    with pytest.raises(StudyCancelled):
        store.result(A)


def test_worker_of_a_cancelled_study_can_write_nothing(store: SqlStudyStore) -> None:
    claim = claimed(store, add(store))
    store.cancel(A)
    with pytest.raises(LeaseLost):
        store.report_progress(claim, Stage.SEGMENTING, 0.5)
    with pytest.raises(LeaseLost):
        finish(store, claim)
    assert store.find(A).status is JobStatus.CANCELLED


def test_study_that_has_ended_cannot_be_cancelled(store: SqlStudyStore) -> None:
    finish(store, claimed(store, add(store)))
    with pytest.raises(JobHasEnded, match="succeeded"):
        store.cancel(A)
    assert store.find(A).status is JobStatus.SUCCEEDED
    with pytest.raises(StudyNotFound):
        store.cancel(B)


def test_cancelled_study_is_retried_as_it_was_wished_for(store: SqlStudyStore) -> None:
    first = add(store, priority=Priority.STAT, options=JobOptions(protocol="ge"))
    store.cancel(A)
    study = store.retry(A)
    assert study.job_id != first
    assert (study.status, study.job_number, study.priority) == ("queued", 2, "stat")
    assert claimed(store, study.job_id).options == JobOptions(protocol="ge")


def test_study_that_was_given_up_is_retried_with_all_its_attempts(
    store: SqlStudyStore, clock: Clock
) -> None:
    job_id = add(store)
    for _ in range(2):
        claimed(store, job_id)
        clock.advance(61)
        store.expire_leases()
    assert store.find(A).status is JobStatus.FAILED
    assert store.retry(A).attempt == 0
    finish(store, claimed(store, store.find(A).job_id))
    assert store.result(A).agatston_score == 100.0


def test_study_is_not_retried_while_it_is_scored_or_after_it_was_scored_or_refused(
    store: SqlStudyStore,
) -> None:
    claim = claimed(store, add(store))
    with pytest.raises(StudyBusy, match="running"):
        store.retry(A)
    with pytest.raises(StudyBusy, match="running"):
        store.rerun(A, JobRequest())
    finish(store, claim)
    with pytest.raises(RetryNotPossible, match="rerun"):
        store.retry(A)
    store.refuse(claimed(store, add(store, B)), REFUSED)
    with pytest.raises(RetryNotPossible, match="refused"):
        store.retry(B)
    with pytest.raises(RetryNotPossible, match="refused"):
        store.rerun(B, JobRequest())


def test_rerun_makes_a_version_and_the_earlier_one_stays(store: SqlStudyStore) -> None:
    finish(store, claimed(store, add(store)), score=100.0)
    study = store.rerun(A, JobRequest(options=JobOptions(protocol="ge")))

    # Until the second result is there, the first one is the score.
    assert (study.status, store.result(A).agatston_score) == ("queued", 100.0)
    with pytest.raises(ScoreNotReady):
        store.result(A, 2)
    with pytest.raises(ResultVersionNotFound, match="no job 3"):
        store.result(A, 3)

    finish(store, claimed(store, study.job_id), score=90.0)
    assert [(one.version, one.result.agatston_score) for one in store.results(A)] == [
        (2, 90.0),
        (1, 100.0),
    ]
    assert store.results(A)[0].options == JobOptions(protocol="ge")
    assert [store.result(A, version).agatston_score for version in (None, 1, 2)] == [
        90.0,
        100.0,
        90.0,
    ]


def test_rerun_that_is_refused_keeps_the_study_and_its_earlier_score(store: SqlStudyStore) -> None:
    finish(store, claimed(store, add(store)))
    store.refuse(claimed(store, store.rerun(A, JobRequest()).job_id), REFUSED)
    assert store.result(A).agatston_score == 100.0
    assert store.folders() == {f"studies/{A}"}
    assert store.rerun(A, JobRequest()).job_number == 3


def test_urgent_study_is_begun_first_whatever_message_comes(
    store: SqlStudyStore, clock: Clock
) -> None:
    first = add(store, A)
    clock.advance(1)
    add(store, B)
    clock.advance(1)
    add(store, C, priority=Priority.STAT)
    positions = {study.study_id: study.queue_position for study in map(store.find, (A, B, C))}
    assert positions == {C: 1, A: 2, B: 3}
    assert store.due_for_announcement(announced_before=None)[0] == store.find(C).job_id

    assert claimed(store, first).study_id == C
    assert claimed(store, first).study_id == A
    assert claimed(store, first).study_id == B
    assert store.claim(first) is None


def test_waiting_study_becomes_urgent_when_it_is_sent_again_as_such(store: SqlStudyStore) -> None:
    job_id = add(store)
    store.mark_announced(job_id)
    store.raise_priority(A, Priority.STAT)
    assert store.find(A).priority is Priority.STAT
    assert store.due_for_announcement(announced_before=None) == [job_id]
    store.raise_priority(A, Priority.ROUTINE)
    assert store.priority_of(job_id) is Priority.STAT


def test_time_to_the_end_follows_from_what_studies_took(store: SqlStudyStore, clock: Clock) -> None:
    claim = claimed(store, add(store, A))
    assert store.find(A).eta_s is None
    clock.advance(40)
    finish(store, claim)
    running = claimed(store, add(store, B))
    store.report_progress(running, Stage.SEGMENTING, 0.25)
    add(store, C)
    # 40 s a study: three quarters of the running one, then the waiting one.
    assert (store.find(A).eta_s, store.find(B).eta_s, store.find(C).eta_s) == (None, 30.0, 70.0)
    assert {study.study_id: study.eta_s for study in store.page(limit=9, cursor=None).studies} == {
        A: None,
        B: 30.0,
        C: 70.0,
    }


def test_events_tell_every_state_in_order_and_go_on_after_the_last_one_seen(
    store: SqlStudyStore, clock: Clock
) -> None:
    job_id = add(store)
    claim = claimed(store, job_id)
    store.report_progress(claim, Stage.READING, 0.1)
    clock.advance(61)
    store.expire_leases()
    second = claimed(store, job_id)
    finish(store, second)

    events = store.events(A, after=0)
    assert [event.number for event in events] == [1, 2, 3, 4, 5, 6]
    assert [(str(event.status), event.attempt) for event in events] == [
        ("queued", 0),
        ("running", 1),
        ("running", 1),
        ("queued", 1),
        ("running", 2),
        ("succeeded", 2),
    ]
    assert statuses(store, after=4) == ["running", "succeeded"]
    assert store.events(A, after=6) == ()
    with pytest.raises(StudyNotFound):
        store.events(B, after=0)


def test_lost_worker_gives_its_job_back_at_once_and_the_failure_names_its_signal(
    store: SqlStudyStore,
) -> None:
    job_id = add(store)
    for attempt in (1, 2):
        assert claimed(store, job_id, worker="host:17").attempt == attempt
        assert not store.report_lost_worker("host:18", last_exit="SIGSEGV")
        assert store.report_lost_worker("host:17", last_exit="SIGKILL")
        assert store.expire_leases() == [job_id]
    problem = store.find(A).problem
    assert problem is not None
    assert (problem.code, problem.evidence) == (
        "poison",
        {"attempt_count": 2, "last_exit": "SIGKILL"},
    )
    assert "SIGKILL" in problem.detail


@pytest.mark.parametrize("hours", [-48, 48])
def test_clock_that_jumps_costs_an_attempt_and_no_study(
    store: SqlStudyStore, clock: Clock, hours: int
) -> None:
    dead = claimed(store, add(store, A))
    add(store, B)
    store.mark_announced(store.find(B).job_id)
    clock.advance(3600 * hours)

    # The one whose worker died is taken back, the one whose message was lost is told of again.
    assert store.expire_leases() == [dead.job_id]
    due = store.due_for_announcement(announced_before=timedelta(seconds=60))
    assert set(due) == {dead.job_id, store.find(B).job_id}
    for _ in range(2):
        finish(store, claimed(store, dead.job_id))
    assert {store.find(study_id).status for study_id in (A, B)} == {JobStatus.SUCCEEDED}


def test_heartbeat_after_a_jump_of_the_clock_keeps_a_living_worker_its_job(
    store: SqlStudyStore, clock: Clock
) -> None:
    claim = claimed(store, add(store))
    clock.advance(-3600)
    store.extend(claim)
    assert store.expire_leases() == []
    finish(store, claim)


def test_end_of_a_job_makes_exactly_one_webhook_delivery(
    store: SqlStudyStore, engine: Engine
) -> None:
    job_id = add(store, callback_url="https://ris.example/hook")
    add(store, B)
    store.cancel(B)
    finish(store, claimed(store, job_id))
    with engine.connect() as connection:
        (row,) = connection.execute(select(webhook_deliveries)).all()
    assert (row.id, row.study_id, row.status) == (delivery_id(job_id), A, "succeeded")
    store.delete(A)
    with engine.connect() as connection:
        assert connection.execute(select(webhook_deliveries)).all() == []
