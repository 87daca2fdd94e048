"""What is written beside a change of a job, in the same transaction: its event, and its webhook."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, literal, select

from service.adapters.database.job_tables import job_events, webhook_deliveries
from service.adapters.database.tables import jobs
from service.application.jobs import JobEvent, JobStatus, Stage


def record_events(connection: Connection, job_ids: Iterable[str], now: datetime) -> None:
    """Append the present state of each job to the events of its study.

    The caller has just changed the jobs: their rows are locked, so no number is given out twice.
    """
    for job_id in job_ids:
        latest = (
            select(func.coalesce(func.max(job_events.c.number), 0))
            .where(job_events.c.study_id == jobs.c.study_id)
            .scalar_subquery()
        )
        connection.execute(
            insert(job_events).from_select(
                [column.name for column in job_events.columns],
                select(
                    jobs.c.study_id,
                    latest + 1,
                    jobs.c.number,
                    jobs.c.status,
                    jobs.c.stage,
                    jobs.c.progress,
                    jobs.c.attempt,
                    jobs.c.problem["code"].as_string(),
                    literal(now, job_events.c.created_at.type),
                ).where(jobs.c.id == job_id),
            )
        )


def record_ends(connection: Connection, job_ids: Iterable[str], now: datetime) -> None:
    """Append the end of each job, and a webhook delivery where somebody wants to be told."""
    job_ids = list(job_ids)
    record_events(connection, job_ids, now)
    for job_id in job_ids:
        row = connection.execute(
            select(
                jobs.c.study_id,
                jobs.c.number,
                jobs.c.status,
                jobs.c.callback_url,
                jobs.c.problem["code"].as_string().label("problem_code"),
            ).where(jobs.c.id == job_id, jobs.c.callback_url.is_not(None))
        ).one_or_none()
        if row is not None:
            connection.execute(
                insert(webhook_deliveries).values(
                    id=delivery_id(job_id),
                    study_id=row.study_id,
                    job_number=row.number,
                    status=row.status,
                    problem_code=row.problem_code,
                    url=row.callback_url,
                    finished_at=now,
                    attempt=0,
                    next_attempt_at=now,
                )
            )


def delivery_id(job_id: str) -> str:
    """Return the id of the one webhook delivery that a job has."""
    return f"msg_{hashlib.sha256(f'webhook {job_id}'.encode()).hexdigest()[:32]}"


def event_of(row: Row[Any]) -> JobEvent:
    """Return the event that a row of the table holds."""
    return JobEvent(
        study_id=row.study_id,
        number=row.number,
        job_number=row.job_number,
        status=JobStatus(row.status),
        stage=Stage(row.stage),
        progress=row.progress,
        attempt=row.attempt,
        problem_code=row.problem_code,
        created_at=row.created_at,
    )
