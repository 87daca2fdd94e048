"""Rows of pushes: made with the end of a job in one transaction, read with a study."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from service.adapters.database.push_tables import pushes
from service.adapters.database.tables import jobs, results
from service.application.jobs import StudyJob
from service.application.push_status import PushState, PushStatus


def push_id(job_id: str, destination: str) -> str:
    """Return the id of the one push that a job has to a destination."""
    return f"push_{hashlib.sha256(f'push {job_id} {destination}'.encode()).hexdigest()[:32]}"


def add_push(connection: Connection, job_id: str, destination: str, now: datetime) -> None:
    """Ask for the push of a job's result, or ask again where it was asked for before.

    One that waits for its next attempt begins at once. The job must have a result.
    """
    asked_for = {
        "state": PushState.PENDING,
        "tries": 0,
        "requested_at": now,
        "next_attempt_at": now,
        "sent_at": None,
        "committed_at": None,
        "commitment_uid": None,
        "earlier_commitment_uid": None,
        "commitment_asks": 0,
        "last_outcome": None,
    }
    one = push_id(job_id, destination)
    known = connection.execute(select(pushes.c.state).where(pushes.c.id == one)).one_or_none()
    if known is not None:
        connection.execute(update(pushes).where(pushes.c.id == one).values(**asked_for))
        return
    job = connection.execute(
        select(jobs.c.study_id, jobs.c.number, results.c.result_key)
        .join_from(jobs, results, results.c.job_id == jobs.c.id)
        .where(jobs.c.id == job_id)
    ).one()
    connection.execute(
        insert(pushes).values(
            id=one,
            study_id=job.study_id,
            job_id=job_id,
            job_number=job.number,
            result_key=job.result_key,
            destination=destination,
            attempt=0,
            **asked_for,
        )
    )


def with_pushes(connection: Connection, studies: Sequence[StudyJob]) -> tuple[StudyJob, ...]:
    """Return studies with the latest push to each destination, by name."""
    rows = connection.execute(
        select(pushes)
        .where(pushes.c.study_id.in_([study.study_id for study in studies]))
        .order_by(pushes.c.destination, pushes.c.job_number)
    ).all()
    # The last one of a destination is that of the newest version.
    latest = {(row.study_id, row.destination): _status_of(row) for row in rows}
    return tuple(
        replace(
            study,
            pushes=tuple(
                one for (study_id, _), one in latest.items() if study_id == study.study_id
            ),
        )
        for study in studies
    )


def _status_of(row: Row[Any]) -> PushStatus:
    return PushStatus(
        destination=row.destination,
        state=PushState(row.state),
        job_number=row.job_number,
        attempt=row.attempt,
        requested_at=row.requested_at,
        next_attempt_at=row.next_attempt_at,
        sent_at=row.sent_at,
        committed_at=row.committed_at,
        detail=row.last_outcome,
    )
