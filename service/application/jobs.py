"""Studies and their scoring jobs, as the record knows them.

A study is one upload, known by its bytes. A job is one wish to have it scored: the upload makes the
first one, a retry or a rerun the next; its number is the version of the result that it makes. An
attempt is one worker working on a job: the job counts them, and whatever an attempt
writes to the record names its number, so that a worker that lost its job cannot write any more.

```text
             claim                       finish
 QUEUED ───────────────► RUNNING ──────────────────► SUCCEEDED
    ▲                       │   └──────────────────► FAILED
    └───────────────────────┘        refuse
     release, or lease expired
```

``cancel`` leads from QUEUED and RUNNING to CANCELLED; a worker that is busy with the job notices at
its next step that the job is no longer its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from calcium_scoring.scoring.conventions import CONVENTIONS, ConventionName
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.scoring.tube_voltage import TubeVoltageTableName
from service.application.problem import Problem

STUDY_ID_PATTERN: Final = r"^[a-z2-7]{26}$"
"""26 characters of base32: the first 128 bits of the SHA-256 of the upload."""


class JobStatus(StrEnum):
    """How far a job has come."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the job will never change again."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class Priority(StrEnum):
    """Which jobs are begun first."""

    STAT = "stat"
    ROUTINE = "routine"

    @property
    def rank(self) -> int:
        """Place in the order of jobs: 0 before 1."""
        return list(Priority).index(self)

    @classmethod
    def of_rank(cls, rank: int) -> Priority:
        """Return the priority of this rank."""
        return list(cls)[rank]


class Stage(StrEnum):
    """What a worker is doing with a study."""

    WAITING = "waiting"
    READING = "reading"
    SEGMENTING = "segmenting"
    MEASURING = "measuring"
    WRITING = "writing"
    FINISHED = "finished"


LONGEST_RETRY_DELAY: Final = timedelta(minutes=10)
"""A job that is tried often waits no longer than this between attempts; our choice."""

_LARGEST_EXPONENT: Final = 10
"""Beyond it every delay is the longest one."""


@dataclass(frozen=True)
class LeaseTerms:
    """How long a worker may be silent, and how often a job is tried; times are our choice."""

    duration: timedelta = timedelta(seconds=60)
    heartbeat_interval: timedelta = timedelta(seconds=15)
    max_attempts: int = 3
    retry_delay: timedelta = timedelta(seconds=5)
    """Before the second attempt; four times as long before each further one."""

    def __post_init__(self) -> None:
        if self.heartbeat_interval * 2 > self.duration:
            raise ValueError(
                f"A lease of {self.duration} must outlast two heartbeats of "
                f"{self.heartbeat_interval}."
            )

    def delay_after(self, attempt: int) -> timedelta:
        """Return how long to wait after this attempt failed for a passing reason."""
        growth = 4.0 ** min(attempt - 1, _LARGEST_EXPONENT)
        return min(self.retry_delay * growth, LONGEST_RETRY_DELAY)


@dataclass(frozen=True)
class ModelIdentity:
    """Which network found the calcium; ``sha256`` is that of the file, in hex."""

    name: str
    version: str
    sha256: str
    is_provisional: bool


@dataclass(frozen=True)
class JobOptions:
    """What a job asks for where it is not what the worker is set to; None leaves that."""

    protocol: ConventionName | None = None
    tube_voltage_table: TubeVoltageTableName | None = None

    def apply_to(self, protocol: ScoringProtocol) -> ScoringProtocol:
        """Return the protocol of the job, given that of the worker."""
        chosen = protocol if self.protocol is None else CONVENTIONS[self.protocol]
        return replace(
            chosen, tube_voltage_table=self.tube_voltage_table or protocol.tube_voltage_table
        )

    def to_document(self) -> dict[str, Any] | None:
        """Return what the record keeps; None where nothing is asked for."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return given or None

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> JobOptions:
        """Read what :meth:`to_document` wrote."""
        return cls(**(document or {}))


@dataclass(frozen=True)
class JobRequest:
    """How a job is wished for: how urgent, with which options, and who is told of its end.

    ``destinations`` are the names of those that its results are pushed to; None leaves that to the
    service, an empty tuple is nobody.
    """

    priority: Priority = Priority.ROUTINE
    options: JobOptions = field(default_factory=JobOptions)
    callback_url: str | None = None
    destinations: tuple[str, ...] | None = None


ROUTINE_REQUEST: Final = JobRequest()
"""What an upload asks for that asks for nothing."""


@dataclass(frozen=True)
class StudyJob:
    """A study with its latest job, as shown to users; times are UTC."""

    study_id: str
    job_id: str
    status: JobStatus
    stage: Stage
    progress: float
    """0 to 1 over all stages; 1 only when the job has ended."""
    attempt: int
    """Attempts begun so far."""
    upload_size_bytes: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    """Begin of the latest attempt."""
    finished_at: datetime | None
    problem: Problem | None
    job_number: int = 1
    """Number of the job within its study, and version of the result that it makes."""
    priority: Priority = Priority.ROUTINE
    queue_position: int | None = None
    """1 for the job that is begun next; None unless the job is queued."""
    eta_s: float | None = None
    """Seconds until the job has probably ended; None where it has, or nothing is known yet."""


@dataclass(frozen=True)
class JobEvent:
    """One thing that happened to a job of a study; times are UTC."""

    study_id: str
    number: int
    """1, 2, ... within the study."""
    job_number: int
    status: JobStatus
    stage: Stage
    progress: float
    attempt: int
    problem_code: str | None
    created_at: datetime


@dataclass(frozen=True)
class StudyPage:
    """Some studies, the newest first, and where the next page begins."""

    studies: tuple[StudyJob, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Claim:
    """The right of one attempt to work on a job until its lease ends."""

    job_id: str
    study_id: str
    attempt: int
    folder: str
    """Key of the study's folder in the artefact store."""
    options: JobOptions = field(default_factory=JobOptions)

    @property
    def result_key(self) -> str:
        """Folder of this attempt's artefacts; no two attempts share one."""
        return f"{self.folder}/{self.job_id}-{self.attempt}"

    @property
    def earlier_result_keys(self) -> tuple[str, ...]:
        """Folders that earlier attempts at this job may have left."""
        return tuple(f"{self.folder}/{self.job_id}-{earlier}" for earlier in range(1, self.attempt))


@dataclass(frozen=True)
class ScoreResult:
    """Where the artefacts of a finished job are and which model made them."""

    result_key: str
    model: ModelIdentity
    agatston_score: float
    slice_count: int


@dataclass(frozen=True)
class ResultVersion:
    """One result of a study among others; ``version`` is the number of the job that made it."""

    version: int
    result: ScoreResult
    options: JobOptions
    created_at: datetime
