"""Which studies nobody works on, the oldest first."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, exists, select

from service.adapters.database.tables import jobs, studies
from service.adapters.database.transactions import transaction
from service.application.jobs import JobStatus
from service.application.retention import EndedStudy


class SqlEndedStudies:
    """EndedStudies in SQLite or PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def oldest(self, *, before: datetime | None, limit: int) -> list[EndedStudy]:
        """Return studies of which no job is queued or running."""
        is_worked_on = exists().where(
            jobs.c.study_id == studies.c.id,
            jobs.c.status.in_([JobStatus.QUEUED, JobStatus.RUNNING]),
        )
        query = (
            select(studies.c.id, studies.c.tenant)
            .where(~is_worked_on)
            .order_by(studies.c.created_at, studies.c.id)
            .limit(limit)
        )
        if before is not None:
            query = query.where(studies.c.created_at < before)
        with transaction(self._engine) as connection:
            return [EndedStudy(row.id, row.tenant) for row in connection.execute(query)]
