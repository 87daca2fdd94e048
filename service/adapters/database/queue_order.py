"""The order in which jobs are begun, and what it says about waiting."""

from __future__ import annotations

from datetime import datetime
from statistics import median
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, ScalarSelect, and_, case, func, or_, select

from service.adapters.database.tables import jobs
from service.application.jobs import JobStatus

RECENT_JOBS: Final = 20
"""Scored jobs whose median duration stands for the next one's. Our choice."""


def jobs_ahead() -> ScalarSelect[Any]:
    """Count the queued jobs before the job of the row: more urgent ones, then those due earlier."""
    other = jobs.alias()
    is_earlier = or_(
        other.c.available_at < jobs.c.available_at,
        and_(other.c.available_at == jobs.c.available_at, other.c.id < jobs.c.id),
    )
    return (
        select(func.count())
        .select_from(other)
        .where(
            other.c.status == JobStatus.QUEUED,
            or_(
                other.c.priority < jobs.c.priority,
                and_(other.c.priority == jobs.c.priority, is_earlier),
            ),
        )
        .scalar_subquery()
    )


def queue_position() -> ColumnElement[Any]:
    """Return 1 for the queued job that is begun next, null for a job that is not queued."""
    return case((jobs.c.status == JobStatus.QUEUED, jobs_ahead() + 1))


class Outlook:
    """How long jobs take at present.

    A queued job waits for what is left of the running ones and for all before it, shared by as
    many workers as are busy now (at least one); each is taken to last as long as the median of
    the latest scored jobs.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        recent = connection.execute(
            select(jobs.c.started_at, jobs.c.finished_at)
            .where(jobs.c.status == JobStatus.SUCCEEDED)
            .order_by(jobs.c.finished_at.desc())
            .limit(RECENT_JOBS)
        ).all()
        self._typical_s: float | None = (
            median((row.finished_at - row.started_at).total_seconds() for row in recent)
            if recent
            else None
        )
        running = connection.execute(
            select(jobs.c.progress).where(
                jobs.c.status == JobStatus.RUNNING, jobs.c.lease_expires_at >= now
            )
        ).scalars()
        shares_left: list[float] = [1.0 - progress for progress in running]
        self._workers = max(1, len(shares_left))
        self._running_left = sum(shares_left)

    def eta_s(self, status: JobStatus, position: int | None, progress: float) -> float | None:
        """Return the seconds until a job has probably ended; None where nothing can be said."""
        if self._typical_s is None or status.is_final:
            return None
        if position is None:
            return self._typical_s * (1.0 - progress)
        before = (self._running_left + position - 1) / self._workers
        return self._typical_s * (before + 1.0)
