"""The record of studies and jobs in SQL.

Every change of a job is one UPDATE whose WHERE names the state it may start from, so two
processes can never both win; see :mod:`service.application.jobs` for the states. Times are those
of this process: machines that share a record must keep their clocks within a lease of each other.
A clock that is set forward or back costs at most a repeated attempt.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from service.adapters.database.dicom_index import keep_instances
from service.adapters.database.engine import WRITES
from service.adapters.database.job_log import event_of, record_ends, record_events
from service.adapters.database.job_tables import job_events
from service.adapters.database.push_log import add_push, with_pushes
from service.adapters.database.queue_order import Outlook, queue_position
from service.adapters.database.tables import jobs, results, studies
from service.adapters.database.tallies import TallyName, add_to_tallies, tally_key
from service.adapters.database.transactions import transaction
from service.application.access import DEFAULT_TENANT
from service.application.errors import (
    GIVEN_UP_CODES,
    InvalidCursor,
    JobHasEnded,
    LeaseLost,
    Poison,
    ResultVersionNotFound,
    RetryNotPossible,
    ScoreNotReady,
    StudyBusy,
    StudyCancelled,
    StudyFailed,
    StudyNotFound,
    TooManyAttempts,
)
from service.application.jobs import (
    LONGEST_RETRY_DELAY,
    ROUTINE_REQUEST,
    STUDY_ID_PATTERN,
    Claim,
    JobEvent,
    JobOptions,
    JobRequest,
    JobStatus,
    LeaseTerms,
    ModelIdentity,
    Priority,
    ResultVersion,
    ScoreResult,
    Stage,
    StudyJob,
    StudyPage,
)
from service.application.problem import Problem
from service.application.result_instances import ResultInstance

_LIMIT_LOWERED: Final = "it failed, and fewer attempts are allowed since"

_MOMENT: Final = timedelta(milliseconds=1)


def utc_now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


class SqlStudyStore:
    """A StudyStore in SQLite or PostgreSQL."""

    def __init__(
        self,
        engine: Engine,
        *,
        terms: LeaseTerms,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{WRITES: True})
        self._terms = terms
        self._now = now

    def add(
        self,
        *,
        study_id: str,
        folder: str,
        sha256: str,
        size_bytes: int,
        tenant: str = DEFAULT_TENANT,
        request: JobRequest = ROUTINE_REQUEST,
    ) -> bool:
        """Record a study and its queued job together; False where the study is known already."""
        now = self._now()
        study = insert(studies).values(
            id=study_id,
            folder=folder,
            sha256=sha256,
            size_bytes=size_bytes,
            created_at=now,
            tenant=tenant,
        )
        try:
            with self._writing() as connection:
                connection.execute(study)
                self._add_job(connection, study_id, 1, request, now)
        except IntegrityError:
            return False
        return True

    def _add_job(
        self,
        connection: Connection,
        study_id: str,
        number: int,
        request: JobRequest,
        now: datetime,
    ) -> None:
        job_id = uuid.uuid4().hex
        connection.execute(
            insert(jobs).values(
                id=job_id,
                study_id=study_id,
                number=number,
                status=JobStatus.QUEUED,
                stage=Stage.WAITING,
                progress=0.0,
                attempt=0,
                available_at=now,
                created_at=now,
                updated_at=now,
                priority=request.priority.rank,
                options=request.options.to_document(),
                callback_url=request.callback_url,
                destinations=_names_kept(request.destinations),
            )
        )
        record_events(connection, [job_id], now)

    def find(self, study_id: str) -> StudyJob:
        """Return a study with its latest job; StudyNotFound where there is none."""
        with self._reading() as connection:
            row = connection.execute(_latest_jobs().where(studies.c.id == study_id)).one_or_none()
            if row is None:
                raise StudyNotFound(study_id)
            (study,) = self._with_outlook(connection, [row])
            return with_pushes(connection, [study])[0]

    def tenant_of(self, study_id: str) -> str:
        """Return whose study it is; StudyNotFound where there is none."""
        with self._reading() as connection:
            tenant = connection.execute(
                select(studies.c.tenant).where(studies.c.id == study_id)
            ).scalar_one_or_none()
        if tenant is None:
            raise StudyNotFound(study_id)
        return str(tenant)

    def page(self, *, limit: int, cursor: str | None, tenant: str = DEFAULT_TENANT) -> StudyPage:
        """Return up to ``limit`` studies of a tenant, the newest first, after the cursor."""
        query = (
            _latest_jobs()
            .where(studies.c.tenant == tenant)
            .order_by(studies.c.created_at.desc(), studies.c.id.desc())
        )
        if cursor is not None:
            created_at, study_id = _read_cursor(cursor)
            query = query.where(
                or_(
                    studies.c.created_at < created_at,
                    and_(studies.c.created_at == created_at, studies.c.id < study_id),
                )
            )
        with self._reading() as connection:
            rows = connection.execute(query.limit(limit + 1)).all()
            page = with_pushes(connection, self._with_outlook(connection, rows[:limit]))
        return StudyPage(page, _write_cursor(page[-1]) if len(rows) > limit else None)

    def result(self, study_id: str, version: int | None = None) -> ScoreResult:
        """Return the latest result, or that of a version, or raise why there is none."""
        study = self.find(study_id)
        with self._reading() as connection:
            rows = connection.execute(_results_of(study_id)).all()
            found = next((row for row in rows if version in (None, row.number)), None)
            if found is not None:
                return _score_result(found)
            job = connection.execute(
                select(jobs.c.status, jobs.c.problem).where(
                    jobs.c.study_id == study_id, jobs.c.number == (version or study.job_number)
                )
            ).one_or_none()
        if job is None:
            raise ResultVersionNotFound(version or study.job_number)
        if job.status == JobStatus.CANCELLED:
            raise StudyCancelled
        if job.problem is not None:
            raise StudyFailed(Problem.from_document(job.problem))
        raise ScoreNotReady(study_id, job.status)

    def results(self, study_id: str) -> tuple[ResultVersion, ...]:
        """Return all results of a study, the newest first; StudyNotFound where it is unknown."""
        self.find(study_id)
        with self._reading() as connection:
            rows = connection.execute(_results_of(study_id)).all()
        return tuple(
            ResultVersion(
                version=row.number,
                result=_score_result(row),
                options=JobOptions.from_document(row.options),
                created_at=row.created_at,
            )
            for row in rows
        )

    def events(self, study_id: str, *, after: int) -> tuple[JobEvent, ...]:
        """Return what happened after the event of this number, the oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                select(job_events)
                .where(job_events.c.study_id == study_id, job_events.c.number > after)
                .order_by(job_events.c.number)
            ).all()
            if (
                not rows
                and connection.execute(
                    select(studies.c.id).where(studies.c.id == study_id)
                ).one_or_none()
                is None
            ):
                raise StudyNotFound(study_id)
        return tuple(event_of(row) for row in rows)

    def cancel(self, study_id: str) -> StudyJob:
        """End the latest job as cancelled; the same again changes nothing."""
        now = self._now()
        with self._writing() as connection:
            latest = self._latest_job(connection, study_id)
            cancelled = connection.execute(
                update(jobs)
                .where(
                    jobs.c.id == latest.id,
                    jobs.c.status.in_((JobStatus.QUEUED, JobStatus.RUNNING)),
                )
                .values(
                    status=JobStatus.CANCELLED,
                    stage=Stage.FINISHED,
                    progress=1.0,
                    lease_expires_at=None,
                    finished_at=now,
                    updated_at=now,
                )
                .returning(jobs.c.id)
            ).scalars()
            record_ends(connection, cancelled, now)
        study = self.find(study_id)
        if study.status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
            raise JobHasEnded(study.status)
        return study

    def retry(self, study_id: str) -> StudyJob:
        """Queue a new job like the latest one, which was given up or cancelled."""
        with self._writing() as connection:
            latest = self._latest_job(connection, study_id)
            if latest.status == JobStatus.SUCCEEDED:
                raise RetryNotPossible(
                    "The study has been scored. POST /studies/{id}/rerun scores it once more, with "
                    "another protocol or by a newer model.",
                    status=latest.status,
                )
            self._add_next_job(connection, latest, _request_of(latest))
        return self.find(study_id)

    def rerun(self, study_id: str, request: JobRequest) -> StudyJob:
        """Queue a new job; it makes a further version of the result."""
        with self._writing() as connection:
            latest = self._latest_job(connection, study_id)
            if request.callback_url is None:
                request = replace(request, callback_url=latest.callback_url)
            if request.destinations is None:
                request = replace(request, destinations=_names_read(latest.destinations))
            self._add_next_job(connection, latest, request)
        return self.find(study_id)

    def raise_priority(self, study_id: str, priority: Priority) -> None:
        """Let the queued job of a study be at least this urgent, and announce it anew if so."""
        with self._writing() as connection:
            connection.execute(
                update(jobs)
                .where(
                    jobs.c.study_id == study_id,
                    jobs.c.status == JobStatus.QUEUED,
                    jobs.c.priority > priority.rank,
                )
                .values(priority=priority.rank, announced_at=None, updated_at=self._now())
            )

    def has_result(self, study_id: str) -> bool:
        """Tell whether any job of the study has made a result."""
        with self._reading() as connection:
            return connection.execute(_results_of(study_id).limit(1)).first() is not None

    def report_lost_worker(self, worker: str, *, last_exit: str) -> bool:
        """Take a job back from a worker process that is known to be dead; False if it had none.

        The lease is over at once, so that the reaper need not wait for it.
        """
        now = self._now()
        with self._writing() as connection:
            outcome = connection.execute(
                update(jobs)
                .where(jobs.c.worker == worker, jobs.c.status == JobStatus.RUNNING)
                .values(last_exit=last_exit, lease_expires_at=now - _MOMENT, updated_at=now)
            )
        return outcome.rowcount > 0

    def _with_outlook(
        self, connection: Connection, rows: Sequence[Row[Any]]
    ) -> tuple[StudyJob, ...]:
        """Return studies; how long jobs take is asked only where one has not ended."""
        has_ended = all(JobStatus(row.status).is_final for row in rows)
        outlook = None if has_ended else Outlook(connection, self._now())
        return tuple(_study_job(row, outlook) for row in rows)

    def _latest_job(self, connection: Connection, study_id: str) -> Row[Any]:
        """Lock and return the latest job of a study."""
        row = connection.execute(
            select(jobs)
            .where(jobs.c.study_id == study_id)
            .order_by(jobs.c.number.desc())
            .limit(1)
            .with_for_update()
        ).one_or_none()
        if row is None:
            raise StudyNotFound(study_id)
        return row

    def _add_next_job(self, connection: Connection, latest: Row[Any], request: JobRequest) -> None:
        if not JobStatus(latest.status).is_final:
            raise StudyBusy(latest.status)
        if _is_refusal(latest) and (
            connection.execute(_results_of(latest.study_id).limit(1)).first() is None
        ):
            raise RetryNotPossible(
                "The study was refused and its upload is not kept: the same files would be refused "
                "again. Delete the study and send what would be accepted.",
                status=latest.status,
                code=latest.problem["code"],
            )
        try:
            self._add_job(connection, latest.study_id, latest.number + 1, request, self._now())
        except IntegrityError as error:
            raise StudyBusy(JobStatus.QUEUED) from error

    def delete(self, study_id: str) -> str:
        """Forget a study with its jobs and results; return the folder that is now nobody's."""
        with self._writing() as connection:
            folder = connection.execute(
                delete(studies).where(studies.c.id == study_id).returning(studies.c.folder)
            ).scalar_one_or_none()
        if folder is None:
            raise StudyNotFound(study_id)
        return str(folder)

    def claim(self, job_id: str, *, worker: str | None = None) -> Claim | None:
        """Begin an attempt at the most urgent job, the named one among equals, atomically."""
        now = self._now()
        may_begin = and_(
            jobs.c.attempt < self._terms.max_attempts,
            or_(
                and_(jobs.c.status == JobStatus.QUEUED, self._is_due(now)),
                and_(jobs.c.status == JobStatus.RUNNING, self._is_over(now)),
            ),
        )
        first = (
            select(jobs.c.id)
            .where(may_begin)
            .order_by(jobs.c.priority, jobs.c.id != job_id, jobs.c.available_at, jobs.c.id)
            .limit(1)
            # Another worker has that one already: the next is for us.
            .with_for_update(skip_locked=True)
        )
        with self._writing() as connection:
            chosen = connection.execute(first).scalar_one_or_none()
            row = connection.execute(
                update(jobs)
                .where(jobs.c.id == chosen, may_begin)
                .values(
                    status=JobStatus.RUNNING,
                    stage=Stage.WAITING,
                    progress=0.0,
                    attempt=jobs.c.attempt + 1,
                    lease_expires_at=now + self._terms.duration,
                    started_at=now,
                    updated_at=now,
                    worker=worker,
                    last_exit=None,
                )
                .returning(
                    jobs.c.id,
                    jobs.c.attempt,
                    jobs.c.study_id,
                    jobs.c.options,
                    jobs.c.destinations,
                )
            ).one_or_none()
            if row is None:
                self._end_exhausted(connection, now, job_id)
                return None
            record_events(connection, [row.id], now)
            folder = connection.execute(
                select(studies.c.folder).where(studies.c.id == row.study_id)
            ).scalar_one()
        return Claim(
            row.id,
            row.study_id,
            row.attempt,
            folder,
            JobOptions.from_document(row.options),
            _names_read(row.destinations),
        )

    def extend(self, claim: Claim) -> None:
        """Let the lease of the attempt count from now."""
        with self._writing() as connection:
            self._write_fenced(connection, claim, lease_expires_at=self._lease_end())

    def report_progress(self, claim: Claim, stage: Stage, progress: float) -> None:
        """Say how far the attempt has come; extends the lease too."""
        with self._writing() as connection:
            self._write_fenced(
                connection,
                claim,
                stage=stage,
                progress=progress,
                lease_expires_at=self._lease_end(),
            )
            record_events(connection, [claim.job_id], self._now())

    def finish(
        self,
        claim: Claim,
        result: ScoreResult,
        *,
        destinations: Sequence[str] = (),
        instances: Sequence[ResultInstance] = (),
    ) -> None:
        """Keep the result, end the job as succeeded and ask for its pushes, in one transaction."""
        now = self._now()
        with self._writing() as connection:
            self._write_fenced(
                connection,
                claim,
                status=JobStatus.SUCCEEDED,
                stage=Stage.FINISHED,
                progress=1.0,
                lease_expires_at=None,
                finished_at=now,
            )
            connection.execute(
                insert(results).values(
                    job_id=claim.job_id,
                    attempt=claim.attempt,
                    result_key=result.result_key,
                    model_name=result.model.name,
                    model_version=result.model.version,
                    model_sha256=result.model.sha256,
                    model_is_provisional=result.model.is_provisional,
                    agatston_score=result.agatston_score,
                    slice_count=result.slice_count,
                    created_at=now,
                )
            )
            scored = tally_key(TallyName.SCORES, result.model.name, result.model.version)
            add_to_tallies(connection, {scored: 1.0})
            for destination in dict.fromkeys(destinations):
                add_push(connection, claim.job_id, destination, now)
            keep_instances(connection, claim.study_id, result.result_key, instances, now)
            record_ends(connection, [claim.job_id], now)

    def refuse(self, claim: Claim, problem: Problem) -> None:
        """End the job as failed; trying again would not help."""
        with self._writing() as connection:
            self._write_fenced(connection, claim, **_failure(problem, self._now()))
            record_ends(connection, [claim.job_id], self._now())

    def release(self, claim: Claim, reason: str) -> None:
        """Queue the job again after a pause, or end it once its attempts are used up."""
        if claim.attempt >= self._terms.max_attempts:
            self.refuse(claim, Problem.of(TooManyAttempts(claim.attempt, reason)))
            return
        with self._writing() as connection:
            self._write_fenced(
                connection,
                claim,
                **_REQUEUED,
                available_at=self._now() + self._terms.delay_after(claim.attempt),
            )
            record_events(connection, [claim.job_id], self._now())

    def hand_back(self, claim: Claim) -> None:
        """Queue the job again at once, as if the attempt had never begun."""
        now = self._now()
        with self._writing() as connection:
            self._write_fenced(
                connection, claim, **_REQUEUED, attempt=claim.attempt - 1, available_at=now
            )
            record_events(connection, [claim.job_id], now)

    def expire_leases(self) -> list[str]:
        """Queue again, or end, every running job whose lease is over; return their job ids."""
        now = self._now()
        expired = and_(jobs.c.status == JobStatus.RUNNING, self._is_over(now))
        overdue = or_(expired, self._is_exhausted(now))
        with self._reading() as connection:
            if connection.execute(select(jobs.c.id).where(overdue).limit(1)).first() is None:
                return []
        with self._writing() as connection:
            ended = self._end_exhausted(connection, now)
            queued = list(
                connection.execute(
                    update(jobs)
                    .where(expired)
                    .values(**_REQUEUED, updated_at=now)
                    .returning(jobs.c.id)
                ).scalars()
            )
            record_events(connection, queued, now)
            return [*ended, *queued]

    def due_for_announcement(self, *, announced_before: timedelta | None) -> list[str]:
        """Return queued jobs whose time has come and that need a message, the next one first."""
        now = self._now()
        needs_message: ColumnElement[bool] = jobs.c.announced_at.is_(None)
        if announced_before is not None:
            needs_message = or_(
                needs_message,
                jobs.c.announced_at < now - announced_before,
                # The clock was set back since.
                jobs.c.announced_at > now,
            )
        with self._reading() as connection:
            return list(
                connection.execute(
                    select(jobs.c.id)
                    .where(
                        jobs.c.status == JobStatus.QUEUED,
                        self._is_due(now),
                        needs_message,
                    )
                    .order_by(jobs.c.priority, jobs.c.available_at)
                ).scalars()
            )

    def priority_of(self, job_id: str) -> Priority:
        """Return how urgent a job is; routine where it is gone."""
        with self._reading() as connection:
            rank = connection.execute(
                select(jobs.c.priority).where(jobs.c.id == job_id)
            ).scalar_one_or_none()
        return Priority.ROUTINE if rank is None else Priority.of_rank(rank)

    def mark_announced(self, job_id: str) -> None:
        """Remember that a message was sent; a job that has moved on meanwhile is left alone."""
        with self._writing() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.status == JobStatus.QUEUED)
                .values(announced_at=self._now())
            )

    def folders(self) -> set[str]:
        """Return the folders that studies still need: all but those of refused ones."""
        others = jobs.alias()
        refused = select(jobs.c.study_id).where(
            jobs.c.status == JobStatus.FAILED,
            jobs.c.problem["code"].as_string().not_in(GIVEN_UP_CODES),
            # A rerun may be refused although an earlier protocol gave a score.
            jobs.c.study_id.not_in(
                select(others.c.study_id).join_from(
                    others, results, results.c.job_id == others.c.id
                )
            ),
        )
        with self._reading() as connection:
            return set(
                connection.execute(
                    select(studies.c.folder).where(studies.c.id.not_in(refused))
                ).scalars()
            )

    def is_unattended(self, longer_than: timedelta) -> bool:
        """Tell whether a job has been due for longer than this while no worker did anything."""
        now = self._now()
        since = now - longer_than
        waits = and_(
            jobs.c.status == JobStatus.QUEUED,
            jobs.c.available_at < since,
            # A job that came back from a lost worker has not waited since its upload.
            jobs.c.updated_at < since,
        )
        # Between two jobs of a long queue nothing runs for a moment: an end counts too.
        is_worked_on = or_(
            and_(jobs.c.status == JobStatus.RUNNING, jobs.c.lease_expires_at >= now),
            jobs.c.finished_at >= since,
        )
        with self._reading() as connection:
            return (
                connection.execute(select(jobs.c.id).where(waits).limit(1)).first() is not None
                and connection.execute(select(jobs.c.id).where(is_worked_on).limit(1)).first()
                is None
            )

    def check(self) -> None:
        """Raise RecordUnavailable where the record cannot be read."""
        with self._reading() as connection:
            connection.execute(select(studies.c.id).limit(1)).first()

    def _is_due(self, now: datetime) -> ColumnElement[bool]:
        """Select jobs whose pause is over, or longer than any: then the clock was set back."""
        return or_(jobs.c.available_at <= now, jobs.c.available_at > now + LONGEST_RETRY_DELAY)

    def _is_over(self, now: datetime) -> ColumnElement[bool]:
        """Select jobs whose lease has ended, or ends so late that the clock was set back.

        A live worker then loses at most this attempt, which is fenced; a dead one would keep its
        job until the clock comes to where it was.
        """
        return or_(
            jobs.c.lease_expires_at < now,
            jobs.c.lease_expires_at > now + 2 * self._terms.duration,
        )

    def _is_exhausted(self, now: datetime) -> ColumnElement[bool]:
        """Select jobs that nobody works on and nobody may begin again."""
        return and_(
            jobs.c.attempt >= self._terms.max_attempts,
            or_(
                and_(jobs.c.status == JobStatus.RUNNING, self._is_over(now)),
                # Its attempt failed while more of them were allowed.
                jobs.c.status == JobStatus.QUEUED,
            ),
        )

    def _end_exhausted(
        self, connection: Connection, now: datetime, job_id: str | None = None
    ) -> list[str]:
        """Fail jobs, or this one, whose last allowed attempt has ended; return their ids."""
        exhausted = self._is_exhausted(now)
        if job_id is not None:
            exhausted = and_(exhausted, jobs.c.id == job_id)
        ended = []
        for row in connection.execute(
            select(jobs.c.id, jobs.c.attempt, jobs.c.status, jobs.c.last_exit).where(exhausted)
        ).all():
            problem = Problem.of(
                Poison(row.attempt, row.last_exit)
                if row.status == JobStatus.RUNNING
                else TooManyAttempts(row.attempt, _LIMIT_LOWERED)
            )
            outcome = connection.execute(
                update(jobs)
                .where(exhausted, jobs.c.id == row.id, jobs.c.attempt == row.attempt)
                .values(**_failure(problem, now), updated_at=now)
            )
            if outcome.rowcount == 1:
                ended.append(row.id)
        record_ends(connection, ended, now)
        return ended

    def _write_fenced(self, connection: Connection, claim: Claim, **values: object) -> None:
        outcome = connection.execute(
            update(jobs)
            .where(
                jobs.c.id == claim.job_id,
                jobs.c.attempt == claim.attempt,
                jobs.c.status == JobStatus.RUNNING,
            )
            .values(updated_at=self._now(), **values)
        )
        if outcome.rowcount != 1:
            raise LeaseLost(claim.job_id, claim.attempt)

    def _lease_end(self) -> datetime:
        return self._now() + self._terms.duration

    def _reading(self) -> AbstractContextManager[Connection]:
        return transaction(self._readers)

    def _writing(self) -> AbstractContextManager[Connection]:
        return transaction(self._writers)


_REQUEUED: Final[dict[str, Any]] = {
    "status": JobStatus.QUEUED,
    "stage": Stage.WAITING,
    "progress": 0.0,
    "lease_expires_at": None,
    "announced_at": None,
}


def _failure(problem: Problem, now: datetime) -> dict[str, Any]:
    return {
        "status": JobStatus.FAILED,
        "stage": Stage.FINISHED,
        "progress": 1.0,
        "lease_expires_at": None,
        "finished_at": now,
        "problem": problem.to_document(),
    }


def _latest_jobs() -> Select[Any]:
    others = jobs.alias()
    latest = (
        select(func.max(others.c.number)).where(others.c.study_id == studies.c.id).scalar_subquery()
    )
    return select(
        studies.c.size_bytes,
        studies.c.created_at.label("study_created_at"),
        queue_position().label("queue_position"),
        jobs,
    ).join_from(studies, jobs, and_(jobs.c.study_id == studies.c.id, jobs.c.number == latest))


def _results_of(study_id: str) -> Select[Any]:
    """Select the results of a study with the number and options of their jobs, newest first."""
    return (
        select(results, jobs.c.number, jobs.c.options)
        .join_from(results, jobs, results.c.job_id == jobs.c.id)
        .where(jobs.c.study_id == study_id)
        .order_by(jobs.c.number.desc())
    )


def _score_result(row: Row[Any]) -> ScoreResult:
    return ScoreResult(
        result_key=row.result_key,
        model=ModelIdentity(
            row.model_name, row.model_version, row.model_sha256, row.model_is_provisional
        ),
        agatston_score=row.agatston_score,
        slice_count=row.slice_count,
    )


def _request_of(row: Row[Any]) -> JobRequest:
    return JobRequest(
        Priority.of_rank(row.priority),
        JobOptions.from_document(row.options),
        row.callback_url,
        _names_read(row.destinations),
    )


def _names_kept(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)


def _names_read(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _is_refusal(row: Row[Any]) -> bool:
    """Tell whether a job failed for a reason that lies in its upload."""
    return row.problem is not None and row.problem["code"] not in GIVEN_UP_CODES


def _study_job(row: Row[Any], outlook: Outlook | None) -> StudyJob:
    status = JobStatus(row.status)
    return StudyJob(
        study_id=row.study_id,
        job_id=row.id,
        status=status,
        stage=Stage(row.stage),
        progress=row.progress,
        attempt=row.attempt,
        upload_size_bytes=row.size_bytes,
        created_at=row.study_created_at,
        updated_at=row.updated_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        problem=None if row.problem is None else Problem.from_document(row.problem),
        job_number=row.number,
        priority=Priority.of_rank(row.priority),
        queue_position=row.queue_position,
        eta_s=(
            None if outlook is None else outlook.eta_s(status, row.queue_position, row.progress)
        ),
    )


def _write_cursor(study: StudyJob) -> str:
    text = f"{study.created_at.isoformat()} {study.study_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        time_text, study_id = base64.urlsafe_b64decode(padded).decode().split(" ")
        created_at = datetime.fromisoformat(time_text)
        is_ours = created_at.tzinfo is not None and re.fullmatch(STUDY_ID_PATTERN, study_id)
        # Near year 1 or 9999 a zone leads out of the calendar.
        created_at = created_at.astimezone(UTC)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise InvalidCursor from error
    if not is_ours:
        raise InvalidCursor
    return created_at, study_id
