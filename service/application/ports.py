"""What the use cases need from the world, as small protocols; adapters implement them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from service.application.access import DEFAULT_TENANT
from service.application.engine import EngineIdentity
from service.application.jobs import (
    ROUTINE_REQUEST,
    Claim,
    JobEvent,
    JobRequest,
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

if TYPE_CHECKING:
    # The gateway needs the other ports, and not what segments.
    from calcium_scoring.model_input.segmentation import Segmentation
    from calcium_scoring.model_input.spec import ModelSpec
    from calcium_scoring.model_input.tiling import Progress
    from calcium_scoring.volume.ct_volume import CtVolume


class Segmenter(Protocol):
    """Finds calcium in a volume."""

    @property
    def spec(self) -> ModelSpec:
        """What the network is fed and how its output is read."""
        ...

    @property
    def model(self) -> ModelIdentity:
        """Which network it is."""
        ...

    @property
    def engine(self) -> EngineIdentity:
        """What runs it."""
        ...

    def segment(self, volume: CtVolume, progress: Progress | None = None) -> Segmentation:
        """Label the calcium on the grid of the volume; ``progress`` hears of every slice."""
        ...


class StudyStore(Protocol):
    """The record: what was uploaded, what is asked for, what came of it.

    Every method is one transaction. Methods that take a :class:`Claim` are fenced: they raise
    LeaseLost, and change nothing, unless that attempt still owns the job.
    """

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
        ...

    def find(self, study_id: str) -> StudyJob:
        """Return a study; StudyNotFound where there is none."""
        ...

    def tenant_of(self, study_id: str) -> str:
        """Return whose study it is; StudyNotFound where there is none."""
        ...

    def page(self, *, limit: int, cursor: str | None, tenant: str = DEFAULT_TENANT) -> StudyPage:
        """Return up to ``limit`` studies of a tenant, the newest first.

        InvalidCursor for a foreign cursor.
        """
        ...

    def result(self, study_id: str, version: int | None = None) -> ScoreResult:
        """Return the latest result, or the one of this version.

        Raises StudyNotFound, ResultVersionNotFound, ScoreNotReady, StudyFailed or StudyCancelled
        where there is none.
        """
        ...

    def results(self, study_id: str) -> tuple[ResultVersion, ...]:
        """Return all results of a study, the newest first; StudyNotFound where it is unknown."""
        ...

    def has_result(self, study_id: str) -> bool:
        """Tell whether any job of the study has made a result."""
        ...

    def events(self, study_id: str, *, after: int) -> tuple[JobEvent, ...]:
        """Return what happened after the event of this number, the oldest first.

        StudyNotFound where the study is unknown, or no longer known.
        """
        ...

    def cancel(self, study_id: str) -> StudyJob:
        """End the latest job as cancelled; JobHasEnded where it succeeded or failed before.

        Cancelling twice is cancelling once. A worker that is busy with the job loses its lease.
        """
        ...

    def retry(self, study_id: str) -> StudyJob:
        """Queue a new job like the latest one, which was given up or cancelled.

        StudyBusy while one is queued or running; RetryNotPossible for a study that was scored, or
        refused so that its upload is gone.
        """
        ...

    def rerun(self, study_id: str, request: JobRequest) -> StudyJob:
        """Queue a new job of a study; its result is a further version beside the others.

        StudyBusy and RetryNotPossible as for a retry, but a scored study may be scored again.
        """
        ...

    def raise_priority(self, study_id: str, priority: Priority) -> None:
        """Let the queued job of a study be at least this urgent."""
        ...

    def priority_of(self, job_id: str) -> Priority:
        """Return how urgent a job is."""
        ...

    def delete(self, study_id: str) -> str:
        """Forget a study with its jobs and results; return the folder that is now nobody's."""
        ...

    def claim(self, job_id: str, *, worker: str | None = None) -> Claim | None:
        """Begin an attempt, atomically; None where there is nothing to do.

        That is a queued job whose time has come, or a running one whose lease has expired: the
        most urgent one, and the named one among those that are equally urgent. A job whose
        attempts are used up is marked as failed instead. ``worker`` names the process.
        """
        ...

    def report_lost_worker(self, worker: str, *, last_exit: str) -> bool:
        """Take a job back from a process that is known to be dead; False where it had none.

        ``last_exit`` is the signal or exit status; a study that is given up names it.
        """
        ...

    def extend(self, claim: Claim) -> None:
        """Prove that the attempt is alive: its lease counts from now."""
        ...

    def report_progress(self, claim: Claim, stage: Stage, progress: float) -> None:
        """Say how far the attempt has come; extends the lease too."""
        ...

    def finish(
        self,
        claim: Claim,
        result: ScoreResult,
        *,
        destinations: Sequence[str] = (),
        instances: Sequence[ResultInstance] = (),
    ) -> None:
        """Keep the result, end the job as succeeded, and ask for a push to each destination.

        ``instances`` are the DICOM objects of the result; queries find them instead of those of
        earlier results of the study.
        """
        ...

    def refuse(self, claim: Claim, problem: Problem) -> None:
        """End the job as failed; trying again would not help."""
        ...

    def release(self, claim: Claim, reason: str) -> None:
        """Give the job back after a passing failure: later, or for good once attempts are used up.

        ``reason`` names the failure without any value of the upload.
        """
        ...

    def hand_back(self, claim: Claim) -> None:
        """Queue the job again at once, as if the attempt had never begun: its worker must stop.

        The number of the attempt is used again, so this is the last thing that the attempt does.
        """
        ...

    def expire_leases(self) -> list[str]:
        """Queue again, or end, every running job whose lease is over; return their job ids.

        Ends queued jobs without a further attempt too: the limit was lowered meanwhile.
        """
        ...

    def due_for_announcement(self, *, announced_before: timedelta | None) -> list[str]:
        """Return queued jobs whose time has come and that no message was sent for.

        With ``announced_before`` also those whose message is older than that.
        """
        ...

    def mark_announced(self, job_id: str) -> None:
        """Remember that a message was sent."""
        ...

    def folders(self) -> set[str]:
        """Return the folders that studies still need; any other is left over from a crash.

        The record of a refused study needs none.
        """
        ...

    def is_unattended(self, longer_than: timedelta) -> bool:
        """Tell whether a job has been due for longer than this while no worker did anything."""
        ...

    def check(self) -> None:
        """Raise RecordUnavailable where the record cannot be read."""
        ...


class JobQueue(Protocol):
    """Tells workers that there is something to do; it may forget or repeat itself."""

    def announce(self, job_id: str, priority: Priority = Priority.ROUTINE) -> None:
        """Send a message, urgent before routine; QueueUnavailable where the broker is away."""
        ...

    def depth(self) -> int:
        """Return how many messages wait; QueueUnavailable where the broker does not answer."""
        ...


class ArtefactStore(Protocol):
    """Files of studies under keys like ``folder/name``; a file that exists is complete."""

    def new_folder(self, study_id: str) -> str:
        """Return the key of a folder that nobody has used before."""
        ...

    def scratch(self) -> AbstractContextManager[Path]:
        """Give an empty local folder on the same disk; it is removed with what is still in it."""
        ...

    def adopt(self, source: Path, key: str) -> None:
        """Move a finished local file into the store, durably."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading, seekable; ArtefactUnavailable where it is not there."""
        ...

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        """Give a local path that holds the file, read-only."""
        ...

    def remove(self, key: str) -> None:
        """Remove a file or a whole folder; nothing happens where it is not there."""
        ...

    def untouched_since(self, age: timedelta) -> list[str]:
        """Return the keys of folders, scratch ones too, whose last change is older than this."""
        ...

    def free_bytes(self) -> int:
        """Return the room where uploads arrive; ArtefactUnavailable where it cannot be asked."""
        ...

    def check(self) -> None:
        """Raise ArtefactUnavailable where the store cannot be written, StorageFull without room."""
        ...
