"""The outbox of pushes in SQL; its rows are made with the end of a job, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, case, func, or_, select, update

from service.adapters.database.engine import WRITES
from service.adapters.database.push_log import add_push
from service.adapters.database.push_tables import pushes
from service.adapters.database.study_store import utc_now
from service.adapters.database.tables import jobs, results
from service.adapters.database.transactions import transaction
from service.application.push_status import PushState
from service.application.pushes import (
    Commitment,
    Push,
    PushOutcome,
    commitment_uid,
)
from service.application.webhooks import PAUSES


class SqlPushOutbox:
    """A PushOutbox in SQLite or PostgreSQL."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{WRITES: True})
        self._now = now

    def take_due(self, *, lease: timedelta) -> Push | None:
        """Begin an attempt at the push that has waited longest; None where none is due."""
        now = self._now()
        due = (
            select(pushes.c.id, pushes.c.attempt)
            .where(pushes.c.next_attempt_at <= now)
            .order_by(pushes.c.next_attempt_at)
            .limit(10)
        )
        with transaction(self._readers) as connection:
            candidates = connection.execute(due).all()
        for candidate in candidates:
            with transaction(self._writers) as connection:
                row = connection.execute(
                    update(pushes)
                    .where(
                        pushes.c.id == candidate.id,
                        pushes.c.attempt == candidate.attempt,
                        pushes.c.next_attempt_at <= now,
                    )
                    .values(
                        attempt=pushes.c.attempt + 1,
                        tries=pushes.c.tries + case((pushes.c.commitment_asks > 0, 0), else_=1),
                        next_attempt_at=now + lease,
                        # Before it is asked for: the answer may come at once, and one to an
                        # earlier question later.
                        commitment_uid=commitment_uid(candidate.id, candidate.attempt + 1),
                        earlier_commitment_uid=case(
                            (pushes.c.commitment_asks > 0, pushes.c.commitment_uid), else_=None
                        ),
                    )
                    .returning(*pushes.columns)
                ).one_or_none()
            if row is not None:
                return Push(
                    id=row.id,
                    study_id=row.study_id,
                    result_key=row.result_key,
                    destination=row.destination,
                    attempt=row.attempt,
                    # A sender that is killed at each try settles none of them.
                    tries=min(row.tries, len(PAUSES) + 1),
                    commitment_asks=row.commitment_asks,
                )
        return None

    def extend(self, push: Push, *, lease: timedelta) -> bool:
        """Let the lease count from now; False where another attempt has begun since."""
        with transaction(self._writers) as connection:
            outcome = connection.execute(
                update(pushes)
                .where(
                    pushes.c.id == push.id,
                    pushes.c.attempt == push.attempt,
                    pushes.c.next_attempt_at.is_not(None),
                )
                .values(next_attempt_at=self._now() + lease)
            )
        return outcome.rowcount == 1

    def settle(self, push: Push, outcome: PushOutcome, *, pause: timedelta | None) -> None:
        """Keep what came of an attempt, unless another one has begun since."""
        now = self._now()
        state = PushState.PENDING if pause is not None else PushState.FAILED
        if outcome.is_sent:
            state = PushState.SENT
        values = {
            "state": state,
            "next_attempt_at": None if pause is None else now + pause,
            "sent_at": now if outcome.is_sent else None,
            "commitment_uid": outcome.commitment_uid,
            "commitment_asks": 0 if outcome.commitment_uid is None else 1,
            "last_outcome": outcome.words[:255],
        }
        self._end(push, PushState.PENDING, values)

    def settle_asking(self, push: Push, outcome: PushOutcome, *, pause: timedelta | None) -> None:
        """Keep what came of asking again for a commitment; what was stored stays so."""
        is_asked = outcome.commitment_uid is not None
        values: dict[str, Any] = {
            "state": PushState.SENT if pause is not None else PushState.UNCONFIRMED,
            "next_attempt_at": None if pause is None else self._now() + pause,
            # Also where it could not be asked: a node that is away is not asked for ever.
            "commitment_asks": pushes.c.commitment_asks + int(pause is not None),
            "last_outcome": outcome.words[:255],
        }
        if not is_asked:
            values["commitment_uid"] = func.coalesce(
                pushes.c.earlier_commitment_uid, pushes.c.commitment_uid
            )
        self._end(push, PushState.SENT, values)

    def _end(self, push: Push, begun_in: PushState, values: dict[str, Any]) -> None:
        """Keep what an attempt came to, unless another one has begun since."""
        with transaction(self._writers) as connection:
            connection.execute(
                update(pushes)
                .where(
                    pushes.c.id == push.id,
                    pushes.c.attempt == push.attempt,
                    # What is said of its commitment may have come before.
                    pushes.c.state == begun_in,
                )
                .values(**values)
            )

    def settle_commitment(self, commitment: Commitment) -> bool:
        """Keep what a destination says of a commitment; False where nobody waits for it."""
        now = self._now()
        uid = commitment.transaction_uid
        waited_for = (
            or_(pushes.c.commitment_uid == uid, pushes.c.earlier_commitment_uid == uid),
            # A sender may not have written yet that it is through.
            pushes.c.state.in_((PushState.PENDING, PushState.SENT, PushState.UNCONFIRMED)),
        )
        is_kept = commitment.failed_count == 0
        with transaction(self._writers) as connection:
            row = connection.execute(
                select(pushes.c.id, pushes.c.tries).where(*waited_for).with_for_update()
            ).one_or_none()
            if row is None:
                return False
            pause = PAUSES[row.tries - 1] if 0 < row.tries <= len(PAUSES) else None
            refused = f"storage of {commitment.failed_count} objects was not committed"
            values = (
                {
                    "state": PushState.COMMITTED,
                    "next_attempt_at": None,
                    "sent_at": func.coalesce(pushes.c.sent_at, now),
                    "committed_at": now,
                    "last_outcome": "committed",
                }
                if is_kept
                else {
                    "state": PushState.FAILED if pause is None else PushState.PENDING,
                    "next_attempt_at": None if pause is None else now + pause,
                    "sent_at": None,
                    # The attempt that it answers is over, whatever its sender still writes.
                    "attempt": pushes.c.attempt + 1,
                    "last_outcome": refused,
                }
            )
            connection.execute(
                update(pushes)
                .where(pushes.c.id == row.id, *waited_for)
                .values(
                    commitment_uid=None,
                    earlier_commitment_uid=None,
                    commitment_asks=0,
                    **values,
                )
            )
        return True

    def request(self, study_id: str, destination: str) -> None:
        """Have the newest result of a study pushed (again); nothing where there is no result."""
        newest = (
            select(jobs.c.id)
            .join_from(jobs, results, results.c.job_id == jobs.c.id)
            .where(jobs.c.study_id == study_id)
            .order_by(jobs.c.number.desc())
            .limit(1)
        )
        with transaction(self._writers) as connection:
            job_id = connection.execute(newest).scalar_one_or_none()
            if job_id is not None:
                add_push(connection, job_id, destination, self._now())
