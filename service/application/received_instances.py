"""Submit a study that arrived as single DICOM files, by C-STORE or STOW-RS, like any other upload.

The files are packed into the archive that workers read, always the same bytes for the same
instances: sorted by their content, stored without compression, each behind a head of our own. So a
study that is sent again, in another order, by another sender or over the other protocol, is the
same study, and nothing is scored twice.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from calcium_scoring.errors import NoDicomFound, UploadTooLarge
from calcium_scoring.upload.archive import ArchiveLimits
from calcium_scoring.upload.file_head import read_file_head
from service.application.access import Principal
from service.application.audit import AuditLog
from service.application.jobs import ROUTINE_REQUEST, JobRequest, StudyJob
from service.application.ports import ArtefactStore, JobQueue, StudyStore
from service.application.submit_study import ReceivedUpload, refuse_without_room, submit_study

_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
_PRIVATE_FILE: Final = 0o600 << 16
_CHUNK_BYTES: Final = 1024 * 1024
_ARCHIVE_NAME: Final = "upload.zip"
_ENTRY_OVERHEAD_BYTES: Final = 256
"""Two headers of an entry and the end of the directory, generously."""


@dataclass(frozen=True)
class Reception:
    """What it takes to accept a study: the same parts, limits and log as behind POST /studies.

    ``waiting_jobs`` counts the studies that wait to be scored; with ``queue_length`` of them
    no further one is taken.
    """

    store: StudyStore
    artefacts: ArtefactStore
    queue: JobQueue
    audit: AuditLog
    limits: ArchiveLimits
    waiting_jobs: Callable[[], int]
    queue_length: int

    def check_room(self) -> None:
        """Raise StorageFull or TooBusy where a study had better come later."""
        refuse_without_room(self.artefacts, self.waiting_jobs, self.queue_length)


def submit_instances(
    instances: Iterable[Path],
    *,
    reception: Reception,
    principal: Principal,
    request: JobRequest = ROUTINE_REQUEST,
) -> StudyJob:
    """Submit DICOM files of one study and have it scored; the same instances are the same study.

    The files stay where they are and are the caller's to remove: if the process dies in between,
    submitting them again gives the study that there is by then.

    Parameters
    ----------
    instances
        Complete files, in any order; one that is there twice counts once.
    reception
        Where the study goes and what is accepted.
    principal
        Who sent it: the tenant is theirs, and the audit log names them.
    request
        How urgent it is, and where its results go.

    Returns
    -------
    StudyJob
        The new study, or the one that these instances have been before; then there is no new job,
        but a waiting one becomes as urgent as the request.

    Raises
    ------
    NoDicomFound, UploadTooLarge, UnsafeArchive
        As POST /studies refuses; nothing is kept. Sending the same again would not help.
    TooBusy, StorageFull, ArtefactUnavailable, RecordUnavailable
        The service cannot take it now; the same may be submitted again later.
    """
    reception.check_room()
    with reception.artefacts.scratch() as scratch:
        upload = _pack(instances, scratch / _ARCHIVE_NAME, reception.limits)
        study = submit_study(
            upload,
            store=reception.store,
            artefacts=reception.artefacts,
            queue=reception.queue,
            limits=reception.limits,
            tenant=principal.tenant,
            request=request,
        )
    reception.audit.append(principal, "study received", study.study_id)
    return study


@dataclass(frozen=True)
class _Entry:
    """A file and the head that replaces its first ``skipped_bytes``."""

    path: Path
    head: bytes
    skipped_bytes: int
    size_bytes: int

    @classmethod
    def of(cls, path: Path) -> _Entry:
        size_bytes = path.stat().st_size
        found = read_file_head(path)
        if found is None:
            return cls(path, b"", 0, size_bytes)
        head = found.to_bytes()
        return cls(path, head, found.data_set_at, size_bytes - found.data_set_at + len(head))

    def chunks(self) -> Iterator[bytes]:
        """Yield what the entry holds, a MiB at a time."""
        yield self.head
        with self.path.open("rb") as stream:
            stream.seek(self.skipped_bytes)
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk

    def digest(self) -> bytes:
        """Return the SHA-256 of what the entry holds."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.digest()


def _pack(instances: Iterable[Path], archive: Path, limits: ArchiveLimits) -> ReceivedUpload:
    """Write the archive of these instances; raises UploadTooLarge before a byte is written."""
    entries = [_Entry.of(path) for path in instances]
    if not entries:
        raise NoDicomFound("The study holds no instance at all.", file_count=0)
    if len(entries) > limits.entries:
        raise UploadTooLarge(
            f"The study has {len(entries)} instances; at most {limits.entries} are accepted.",
            entries=len(entries),
            limit_entries=limits.entries,
        )
    archive_bytes = sum(entry.size_bytes + _ENTRY_OVERHEAD_BYTES for entry in entries)
    if archive_bytes > limits.archive_bytes:
        raise UploadTooLarge(
            f"The instances of the study have {archive_bytes} bytes together; at most "
            f"{limits.archive_bytes} are accepted.",
            archive_bytes=archive_bytes,
            limit_bytes=limits.archive_bytes,
        )
    # One entry for each content: what was sent twice is there once.
    by_digest = {entry.digest(): entry for entry in entries}
    with zipfile.ZipFile(archive, "x", zipfile.ZIP_STORED) as out:
        for number, digest in enumerate(sorted(by_digest), start=1):
            entry = by_digest[digest]
            record = zipfile.ZipInfo(f"{number:06d}.dcm", _ZIP_EPOCH)
            record.create_system = _UNIX
            record.external_attr = _PRIVATE_FILE
            record.file_size = entry.size_bytes
            with out.open(record, "w") as target:
                for chunk in entry.chunks():
                    target.write(chunk)
    with archive.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return ReceivedUpload(archive, sha256, archive.stat().st_size)
