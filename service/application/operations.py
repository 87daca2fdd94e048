"""What operators see: facts about the service that no patient and no study is part of.

Counts are kept in the record itself, in the transaction that they count, so they are right with
several gateways and workers, and they stay when studies are deleted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

import structlog

from service.application.errors import RecordUnavailable
from service.application.jobs import Claim, JobStatus, Stage
from service.application.push_status import PushState

_log = structlog.get_logger(__name__)

STAGE_BOUNDS_S: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 900.0)
"""Upper bounds of the histogram of stage durations, in seconds; our choice, about three a decade
up to the default time limit of an attempt."""

TIMED_STAGES: Final = (Stage.READING, Stage.SEGMENTING, Stage.MEASURING, Stage.WRITING)
"""Stages that take time; the others are states of rest."""


class WorkerState(StrEnum):
    """What a process that scores says of itself, or what follows from its silence."""

    LOADING = "loading"
    READY = "ready"
    UNAVAILABLE = "unavailable"
    """It cannot load its model."""
    LOST = "lost"
    """It has been silent for too long, and did not say good-bye."""


@dataclass(frozen=True)
class WorkerBeat:
    """What one scoring process says of itself every few seconds.

    ``worker_id`` is random and made at its start. ``execution_provider`` is the one that its
    session really got; it and the model are None until the model is loaded. ``detail`` says why
    the model cannot be loaded.
    """

    worker_id: str
    state: WorkerState
    model_name: str | None = None
    model_version: str | None = None
    execution_provider: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class SeenWorker:
    """The last beat of a scoring process, and when it came (UTC)."""

    beat: WorkerBeat
    started_at: datetime
    seen_at: datetime
    is_lost: bool

    @property
    def state(self) -> WorkerState:
        """Its state; lost where it has been silent for too long."""
        return WorkerState.LOST if self.is_lost else self.beat.state


class AttemptOutcome(StrEnum):
    """How an attempt ended, as seen by its worker."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    """The upload cannot be scored; trying again would find the same."""
    FAILED = "failed"
    """A passing or unforeseen failure; another attempt may follow."""
    DROPPED = "dropped"
    """The job belonged to somebody else meanwhile."""
    HANDED_BACK = "handed_back"
    """The worker was told to stop, and left the job to another one."""


@dataclass(frozen=True)
class DurationHistogram:
    """Durations in seconds: how many, their sum, and how many within each bound (cumulative)."""

    count: int
    sum_s: float
    cumulative: tuple[int, ...]
    """As long as :data:`STAGE_BOUNDS_S`."""


@dataclass(frozen=True)
class ServiceFacts:
    """What the record knows at one moment."""

    jobs_by_status: Mapping[JobStatus, int]
    due_jobs: int
    """Queued jobs whose time has come."""
    oldest_due_s: float
    """Seconds since the longest waiting of them became due; 0 where none waits."""
    scores: Mapping[tuple[str, str], int]
    """Scores produced so far by (model name, model version)."""
    failures: Mapping[str, int]
    """Jobs that ended without a score so far, by code."""
    attempts: Mapping[AttemptOutcome, int]
    stage_durations: Mapping[Stage, DurationHistogram]
    workers: Sequence[SeenWorker]
    pushes: Mapping[tuple[str, PushState], int]
    """Pushes of studies that are still here, by destination and state."""
    oldest_push_s: Mapping[str, float]
    """Seconds since the longest waiting of the pending ones was asked for, by destination."""


class OperationsRecord(Protocol):
    """The part of the record that operators look at; every method is one transaction."""

    def facts(self) -> ServiceFacts:
        """Return everything; RecordUnavailable where the record cannot be read."""
        ...

    def queued_jobs(self) -> int:
        """Return how many jobs wait, for a message, a pause or a worker."""
        ...

    def workers(self) -> Sequence[SeenWorker]:
        """Return every scoring process that was seen lately, the lost ones too."""
        ...

    def see_worker(self, beat: WorkerBeat) -> None:
        """Keep what a process says of itself, in place of what it said before."""
        ...

    def forget_worker(self, worker_id: str) -> None:
        """Drop a process that ends in good order."""
        ...

    def count_attempt(
        self, outcome: AttemptOutcome, stage_durations: Mapping[Stage, float]
    ) -> None:
        """Add an attempt and its durations in seconds."""
        ...


class AttemptObserver(Protocol):
    """Hears of one attempt while it runs; never raises."""

    def begun(self, claim: Claim) -> None:
        """Hear that the job is ours."""
        ...

    def stage_begun(self, stage: Stage) -> None:
        """Hear what follows; whatever was done before is done."""
        ...

    def ended(self, outcome: AttemptOutcome, code: str | None) -> None:
        """Hear that it is over; ``code`` is that of the refusal or failure."""
        ...


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: AttemptObserver) -> None:
        self._observers = observers

    def begun(self, claim: Claim) -> None:
        """Tell each."""
        for one in self._observers:
            one.begun(claim)

    def stage_begun(self, stage: Stage) -> None:
        """Tell each."""
        for one in self._observers:
            one.stage_begun(stage)

    def ended(self, outcome: AttemptOutcome, code: str | None) -> None:
        """Tell each."""
        for one in self._observers:
            one.ended(outcome, code)


NOBODY: Final = Observers()
"""For attempts that nobody watches."""


@dataclass
class AttemptTally:
    """Measures the stages of one attempt after the other and adds them to the record."""

    record: OperationsRecord
    _durations: dict[Stage, float] = field(default_factory=dict)
    _stage: Stage = Stage.WAITING
    _begun_at: float = 0.0

    def begun(self, claim: Claim) -> None:  # noqa: ARG002 - an attempt like any other
        """Start at zero."""
        self._durations, self._stage, self._begun_at = {}, Stage.WAITING, time.monotonic()

    def stage_begun(self, stage: Stage) -> None:
        """Stop the clock of the stage before and start that of this one."""
        now = time.monotonic()
        if self._stage in TIMED_STAGES:
            self._durations[self._stage] = (
                self._durations.get(self._stage, 0.0) + now - self._begun_at
            )
        self._stage, self._begun_at = stage, now

    def ended(self, outcome: AttemptOutcome, code: str | None) -> None:  # noqa: ARG002
        """Write to the record; the last stage counts where it was completed."""
        if outcome is AttemptOutcome.SUCCEEDED:
            self.stage_begun(Stage.FINISHED)
        try:
            self.record.count_attempt(outcome, self._durations)
        except RecordUnavailable:
            _log.warning("attempt_not_counted")


def cumulative(duration_s: float) -> Iterator[float]:
    """Yield every bound of the histogram that holds this duration."""
    return (bound for bound in STAGE_BOUNDS_S if duration_s <= bound)


def worker_problem(workers: Sequence[SeenWorker]) -> str | None:
    """Return why no worker would score a study that came now; None where one would."""
    states = {one.state for one in workers}
    if WorkerState.READY in states:
        return None
    if WorkerState.LOADING in states:
        return "The worker is loading its model."
    for one in workers:
        if one.state is WorkerState.UNAVAILABLE:
            return f"The worker cannot load its model: {one.beat.detail}"
    if not workers:
        return "No worker has been seen; start one with `python -m service.worker`."
    latest = max(one.seen_at for one in workers)
    return f"The last sign of a worker came at {latest:%Y-%m-%d %H:%M:%S} UTC; is one running?"


LOST_WORKERS_ARE_SHOWN_FOR: Final = timedelta(hours=1)
"""How long a lost worker stays in metrics and readiness before it is forgotten; our choice."""
