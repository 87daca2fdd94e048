"""Studies and their scoring jobs, as the record knows them.

A study is one upload, known by its bytes. A job is one wish to have it scored; today a study has
one job. An attempt is one worker working on a job: the job counts them, and whatever an attempt
writes to the record names its number, so that a worker that lost its job cannot write any more.

```text
             claim                       finish
 QUEUED ───────────────► RUNNING ──────────────────► SUCCEEDED
    ▲                       │   └──────────────────► FAILED
    └───────────────────────┘        refuse
     release, or lease expired
```
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from service.application.problem import Problem

STUDY_ID_PATTERN: Final = r"^[a-z2-7]{26}$"
"""26 characters of base32: the first 128 bits of the SHA-256 of the upload."""


class JobStatus(StrEnum):
    """How far a job has come."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether the job will never change again."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED)


class Stage(StrEnum):
    """What a worker is doing with a study."""

    WAITING = "waiting"
    READING = "reading"
    SEGMENTING = "segmenting"
    MEASURING = "measuring"
    WRITING = "writing"
    FINISHED = "finished"


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
        return self.retry_delay * float(4 ** (attempt - 1))


@dataclass(frozen=True)
class ModelIdentity:
    """Which network found the calcium; ``sha256`` is that of the file, in hex."""

    name: str
    version: str
    sha256: str
    is_provisional: bool


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

    @property
    def result_key(self) -> str:
        """Folder of this attempt's artefacts; no two attempts share one."""
        return f"{self.folder}/{self.job_id}-{self.attempt}"


@dataclass(frozen=True)
class ScoreResult:
    """Where the artefacts of a finished job are and which model made them."""

    result_key: str
    model: ModelIdentity
    agatston_score: float
    slice_count: int
