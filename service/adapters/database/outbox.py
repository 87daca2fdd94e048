"""The outbox of webhooks in SQL; its rows are made with the end of a job, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, case, func, select, update
from sqlalchemy.exc import DBAPIError

from service.adapters.database.engine import WRITES
from service.adapters.database.job_tables import webhook_deliveries
from service.adapters.database.study_store import utc_now
from service.application.errors import RecordUnavailable
from service.application.jobs import JobStatus
from service.application.webhooks import Delivery, DeliveryState, Outcome


class SqlWebhookOutbox:
    """A WebhookOutbox in SQLite or PostgreSQL."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{WRITES: True})
        self._now = now

    def take_due(self, *, limit: int, lease: timedelta) -> tuple[Delivery, ...]:
        """Begin an attempt at deliveries whose time has come, the longest waiting first."""
        now, table = self._now(), webhook_deliveries
        due = (
            select(table.c.id, table.c.attempt)
            .where(table.c.next_attempt_at <= now)
            .order_by(table.c.next_attempt_at)
            .limit(limit)
        )
        with _errors(), self._readers.begin() as connection:
            candidates = connection.execute(due).all()
        if not candidates:
            return ()
        taken = []
        with _errors(), self._writers.begin() as connection:
            for candidate in candidates:
                row = connection.execute(
                    update(table)
                    .where(
                        table.c.id == candidate.id,
                        table.c.attempt == candidate.attempt,
                        table.c.next_attempt_at <= now,
                    )
                    .values(attempt=table.c.attempt + 1, next_attempt_at=now + lease)
                    .returning(*table.columns)
                ).one_or_none()
                if row is not None:
                    taken.append(
                        Delivery(
                            id=row.id,
                            study_id=row.study_id,
                            job_number=row.job_number,
                            status=JobStatus(row.status),
                            problem_code=row.problem_code,
                            url=row.url,
                            finished_at=row.finished_at,
                            attempt=row.attempt,
                        )
                    )
        return tuple(taken)

    def settle(self, delivery: Delivery, outcome: Outcome, *, pause: timedelta | None) -> None:
        """Keep what came of an attempt, unless another one has begun since."""
        now = self._now()
        with _errors(), self._writers.begin() as connection:
            self._settle(connection, delivery, outcome, now, pause)

    def counts(self) -> Mapping[DeliveryState, int]:
        """Return how many deliveries there are in each state, of studies that are still here."""
        table = webhook_deliveries
        state = case(
            (table.c.delivered_at.is_not(None), DeliveryState.DELIVERED.value),
            (table.c.next_attempt_at.is_(None), DeliveryState.FAILED.value),
            else_=DeliveryState.PENDING.value,
        ).label("state")
        with _errors(), self._readers.begin() as connection:
            rows = connection.execute(select(state, func.count()).group_by(state)).all()
        found = {DeliveryState(name): count for name, count in rows}
        return {one: found.get(one, 0) for one in DeliveryState}

    def _settle(
        self,
        connection: Connection,
        delivery: Delivery,
        outcome: Outcome,
        now: datetime,
        pause: timedelta | None,
    ) -> None:
        connection.execute(
            update(webhook_deliveries)
            .where(
                webhook_deliveries.c.id == delivery.id,
                webhook_deliveries.c.attempt == delivery.attempt,
            )
            .values(
                next_attempt_at=None if pause is None else now + pause,
                delivered_at=now if outcome.is_delivered else None,
                last_outcome=outcome.words[:255],
            )
        )


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise RecordUnavailable(
            f"The database did not do what was asked ({type(error.orig).__name__})."
        ) from error
