"""Accept an upload once: check it at the door, keep it, record it, announce it."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from calcium_scoring.errors import NoDicomFound
from calcium_scoring.upload.archive import ArchiveLimits, unpack_upload
from calcium_scoring.upload.signature import first_bytes, may_be_dicom
from service.application.access import DEFAULT_TENANT
from service.application.artefact_names import UPLOAD
from service.application.errors import (
    QueueUnavailable,
    RecordUnavailable,
    StudyNotFound,
    TooBusy,
)
from service.application.jobs import ROUTINE_REQUEST, JobRequest, StudyJob
from service.application.ports import ArtefactStore, JobQueue, StudyStore

_log = structlog.get_logger(__name__)

_STUDY_ID_BYTES: Final = 16
"""128 bits: two different uploads do not meet."""


@dataclass(frozen=True)
class ReceivedUpload:
    """An upload that has arrived completely; ``sha256`` in hex."""

    path: Path
    sha256: str
    size_bytes: int


def study_id_of(sha256: str, tenant: str = DEFAULT_TENANT) -> str:
    """Return the id that an upload of this SHA-256 (hex) has for a tenant, today and tomorrow.

    The same bytes from two tenants are two studies: neither learns that the other one has them.
    """
    digest = bytes.fromhex(sha256)
    if tenant != DEFAULT_TENANT:
        digest = hashlib.sha256(f"{tenant}:{sha256}".encode()).digest()
    digest = digest[:_STUDY_ID_BYTES]
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()


def submit_study(
    upload: ReceivedUpload,
    *,
    store: StudyStore,
    artefacts: ArtefactStore,
    queue: JobQueue,
    limits: ArchiveLimits,
    tenant: str = DEFAULT_TENANT,
    request: JobRequest = ROUTINE_REQUEST,
) -> StudyJob:
    """Record an upload and have it scored; the same bytes again are the same study.

    A study that waits already becomes as urgent as the new request; nothing else of it changes.

    Raises
    ------
    NotAZip, UnsafeArchive, UploadTooLarge, NoDicomFound
        At the door; nothing is kept. Whether the DICOM can be scored is the worker's to find.
    """
    study_id = study_id_of(upload.sha256, tenant)
    try:
        store.find(study_id)
    except StudyNotFound:
        check_upload(upload.path, limits)
    else:
        store.raise_priority(study_id, request.priority)
        return store.find(study_id)
    folder = artefacts.new_folder(study_id)
    try:
        artefacts.adopt(upload.path, f"{folder}/{UPLOAD}")
        is_new = store.add(
            study_id=study_id,
            folder=folder,
            sha256=upload.sha256,
            size_bytes=upload.size_bytes,
            tenant=tenant,
            request=request,
        )
    except BaseException:
        artefacts.remove(folder)
        raise
    if not is_new:
        # The same bytes came in by another request at the same time, and that one was first.
        artefacts.remove(folder)
    try:
        study = store.find(study_id)
    except StudyNotFound as error:
        raise RecordUnavailable(
            "The study was deleted while it was being uploaded; send it again."
        ) from error
    _log.info("study_accepted" if is_new else "study_known", study_id=study_id, job_id=study.job_id)
    if is_new:
        announce(study, store=store, queue=queue)
    return study


def refuse_without_room(
    artefacts: ArtefactStore, waiting_jobs: Callable[[], int], queue_length: int
) -> None:
    """Raise StorageFull or TooBusy where an upload had better come later."""
    artefacts.check()
    waiting = waiting_jobs()
    if waiting >= queue_length:
        raise TooBusy(
            f"{waiting} studies wait to be scored; no more than {queue_length} are taken "
            "(CACSCORE_QUEUE_LENGTH). Send this one later.",
            waiting=waiting,
            queue_length=queue_length,
        )


def check_upload(path: Path, limits: ArchiveLimits) -> None:
    """Refuse what no worker needs to see: not a zip, not safe, or without any DICOM."""
    with tempfile.TemporaryDirectory(prefix="door-", dir=path.parent) as folder:
        files = unpack_upload(path, Path(folder), limits)
        if not any(may_be_dicom(first_bytes(file.path)) for file in files):
            raise NoDicomFound(
                f"None of the {len(files)} files in the archive is DICOM. Send the .dcm files of "
                "one CT series, as they come from the scanner or the archive, in one zip.",
                file_count=len(files),
            )


def announce(study: StudyJob, *, store: StudyStore, queue: JobQueue) -> None:
    """Tell the workers; where the broker is away the reaper repeats it later."""
    try:
        queue.announce(study.job_id, study.priority)
    except QueueUnavailable:
        _log.warning("job_not_announced", job_id=study.job_id)
    else:
        store.mark_announced(study.job_id)
