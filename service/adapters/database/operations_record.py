"""What operators see, in SQL: counts, the queue, and the workers that were seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row, and_, delete, func, insert, select, update

from service.adapters.database.engine import WRITES
from service.adapters.database.operations_tables import tallies, workers
from service.adapters.database.push_tables import pushes
from service.adapters.database.study_store import utc_now
from service.adapters.database.tables import jobs
from service.adapters.database.tallies import (
    SEPARATOR,
    TallyKey,
    TallyName,
    add_to_tallies,
    tally_key,
)
from service.adapters.database.transactions import transaction
from service.application.jobs import JobStatus, Stage
from service.application.operations import (
    LOST_WORKERS_ARE_SHOWN_FOR,
    STAGE_BOUNDS_S,
    AttemptOutcome,
    DurationHistogram,
    SeenWorker,
    ServiceFacts,
    WorkerBeat,
    WorkerState,
    cumulative,
)
from service.application.push_status import PushState


class SqlOperationsRecord:
    """An OperationsRecord in SQLite or PostgreSQL.

    ``lost_after`` is how long a worker may be silent.
    """

    def __init__(
        self, engine: Engine, *, lost_after: timedelta, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{WRITES: True})
        self._lost_after = lost_after
        self._now = now

    def facts(self) -> ServiceFacts:
        """Return what the record knows now."""
        now = self._now()
        is_due = and_(jobs.c.status == JobStatus.QUEUED, jobs.c.available_at <= now)
        with transaction(self._readers) as connection:
            by_status = {
                row.status: row.job_count
                for row in connection.execute(
                    select(jobs.c.status, func.count().label("job_count")).group_by(jobs.c.status)
                )
            }
            due, oldest = connection.execute(
                select(func.count(), func.min(jobs.c.available_at)).where(is_due)
            ).one()
            counts = _counts(connection)
            seen = self._seen(connection)
            push_counts, oldest_push_s = _pushes(connection, now)
        return ServiceFacts(
            jobs_by_status={status: by_status.get(status, 0) for status in JobStatus},
            due_jobs=due,
            oldest_due_s=0.0 if oldest is None else (now - oldest).total_seconds(),
            scores={
                (name, version): int(value)
                for (name, version), value in counts[TallyName.SCORES].items()
            },
            failures={code: int(value) for (code,), value in counts[TallyName.FAILURES].items()},
            attempts={
                outcome: int(counts[TallyName.ATTEMPTS].get((outcome,), 0))
                for outcome in AttemptOutcome
            },
            stage_durations=_histograms(counts),
            workers=seen,
            pushes=push_counts,
            oldest_push_s=oldest_push_s,
        )

    def queued_jobs(self) -> int:
        """Return how many jobs wait, for a message, a pause or a worker."""
        with transaction(self._readers) as connection:
            return connection.execute(
                select(func.count()).where(jobs.c.status == JobStatus.QUEUED)
            ).scalar_one()

    def workers(self) -> Sequence[SeenWorker]:
        """Return every scoring process that was seen lately, the lost ones too."""
        with transaction(self._readers) as connection:
            return self._seen(connection)

    def see_worker(self, beat: WorkerBeat) -> None:
        """Keep what a process says of itself; those lost long ago are forgotten."""
        now = self._now()
        said = {
            "state": beat.state,
            "model_name": beat.model_name,
            "model_version": beat.model_version,
            "execution_provider": beat.execution_provider,
            "detail": beat.detail,
            "seen_at": now,
        }
        with transaction(self._writers) as connection:
            known = connection.execute(
                update(workers).where(workers.c.id == beat.worker_id).values(**said)
            )
            if known.rowcount == 0:
                connection.execute(
                    insert(workers).values(id=beat.worker_id, started_at=now, **said)
                )
            connection.execute(
                delete(workers).where(workers.c.seen_at < now - LOST_WORKERS_ARE_SHOWN_FOR)
            )

    def forget_worker(self, worker_id: str) -> None:
        """Drop a process that ends in good order."""
        with transaction(self._writers) as connection:
            connection.execute(delete(workers).where(workers.c.id == worker_id))

    def count_attempt(
        self, outcome: AttemptOutcome, stage_durations: Mapping[Stage, float]
    ) -> None:
        """Add an attempt and its durations in seconds."""
        amounts: dict[TallyKey, float] = {tally_key(TallyName.ATTEMPTS, outcome): 1.0}
        for stage, duration_s in stage_durations.items():
            amounts[tally_key(TallyName.STAGE_COUNT, stage)] = 1.0
            amounts[tally_key(TallyName.STAGE_SUM_S, stage)] = duration_s
            for bound in cumulative(duration_s):
                amounts[tally_key(TallyName.STAGE_WITHIN, stage, f"{bound:g}")] = 1.0
        with transaction(self._writers) as connection:
            add_to_tallies(connection, amounts)

    def _seen(self, connection: Connection) -> tuple[SeenWorker, ...]:
        lost_before = self._now() - self._lost_after
        return tuple(
            _seen_worker(row, lost_before)
            for row in connection.execute(select(workers).order_by(workers.c.started_at))
        )


Counts = Mapping[str, Mapping[tuple[str, ...], float]]


def _counts(connection: Connection) -> Counts:
    counts: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for row in connection.execute(select(tallies)):
        counts[row.name][tuple(row.label.split(SEPARATOR))] = row.value
    return counts


def _pushes(
    connection: Connection, now: datetime
) -> tuple[dict[tuple[str, PushState], int], dict[str, float]]:
    """Return pushes by destination and state, and how long the oldest pending one has waited."""
    counts: dict[tuple[str, PushState], int] = {}
    oldest_s: dict[str, float] = {}
    for name, state, count, oldest in connection.execute(
        select(
            pushes.c.destination, pushes.c.state, func.count(), func.min(pushes.c.requested_at)
        ).group_by(pushes.c.destination, pushes.c.state)
    ):
        # Every state of a destination from its first push on, or the first failure of one would
        # be no increase.
        for one in PushState:
            counts.setdefault((name, one), 0)
        counts[name, PushState(state)] = count
        oldest_s.setdefault(name, 0.0)
        if state == PushState.PENDING:
            oldest_s[name] = max(0.0, (now - oldest).total_seconds())
    return counts, oldest_s


def _histograms(counts: Counts) -> dict[Stage, DurationHistogram]:
    return {
        Stage(stage): DurationHistogram(
            count=int(count),
            sum_s=counts[TallyName.STAGE_SUM_S][stage,],
            cumulative=tuple(
                int(counts[TallyName.STAGE_WITHIN].get((stage, f"{bound:g}"), 0))
                for bound in STAGE_BOUNDS_S
            ),
        )
        for (stage,), count in counts[TallyName.STAGE_COUNT].items()
    }


def _seen_worker(row: Row[Any], lost_before: datetime) -> SeenWorker:
    return SeenWorker(
        beat=WorkerBeat(
            worker_id=row.id,
            state=WorkerState(row.state),
            model_name=row.model_name,
            model_version=row.model_version,
            execution_provider=row.execution_provider,
            detail=row.detail,
        ),
        started_at=row.started_at,
        seen_at=row.seen_at,
        is_lost=row.seen_at < lost_before,
    )
