"""Uploads under way as folders on the gateway's disk: what they are, and the bytes so far.

The size of the file is the offset: nothing else has to be in step with it after a crash. Several
gateways may share the folder, each upload is locked by the kernel while somebody appends to it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from service.application.errors import (
    ArtefactUnavailable,
    TooManyRequests,
    UploadBusy,
    UploadNotFound,
    UploadTooLong,
)
from service.application.jobs import JobRequest, Priority
from service.application.resumable_uploads import PartialUpload

_FACTS: Final = "upload.json"
_BYTES: Final = "bytes"
_LOCK: Final = "lock"
_UNKEPT: Final = "unkept"
"""Holds the offset before bytes that are all or nothing; gone once they are kept."""

_ID_BYTES: Final = 16
_ID: Final = re.compile(rf"[0-9a-f]{{{2 * _ID_BYTES}}}")
_TOO_MANY_RETRY_S: Final = 60.0
_LARGEST_OFFSET_TEXT: Final = 20


class FolderPartialUploads:
    """PartialUploads below one folder, readable by its owner only."""

    def __init__(self, root: Path, *, lifetime: timedelta) -> None:
        self._root = root.absolute()
        self._lifetime = lifetime

    @property
    def lifetime(self) -> timedelta:
        """How long an upload stays to which nothing happens."""
        return self._lifetime

    def create(
        self, *, tenant: str, actor: str, length: int, request: JobRequest, most: int | None
    ) -> PartialUpload:
        """Begin an upload; TooManyRequests where the actor has ``most`` unfinished ones."""
        if most is not None:
            unfinished = sum(
                one.actor == actor and one.study_id is None for one in self._all_of(tenant)
            )
            if unfinished >= most:
                raise TooManyRequests(
                    f"{unfinished} uploads of this caller are unfinished; finish or delete one.",
                    retry_after_s=_TOO_MANY_RETRY_S,
                )
        upload_id = secrets.token_hex(_ID_BYTES)
        folder = self._root / upload_id
        try:
            folder.mkdir(mode=0o700, parents=True)
            (folder / _BYTES).touch(mode=0o600)
            self._write_facts(
                folder,
                {
                    "tenant": tenant,
                    "actor": actor,
                    "length": length,
                    "priority": request.priority.name,
                    "callback_url": request.callback_url,
                    "study_id": None,
                },
            )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _unavailable() from error
        return self.find(upload_id, tenant)

    def find(self, upload_id: str, tenant: str) -> PartialUpload:
        """Return an upload; UploadNotFound where the tenant has none of this id, or no longer."""
        folder = self._folder(upload_id)
        upload = self._read(folder)
        if upload is None or upload.tenant != tenant or upload.expires_at <= datetime.now(UTC):
            raise UploadNotFound
        return upload

    @contextmanager
    def writing(
        self, upload_id: str, tenant: str, *, all_or_nothing: bool
    ) -> Iterator[FolderUploadWriter]:
        """Give the right to append; UploadBusy where somebody has it."""
        self.find(upload_id, tenant)
        folder = self._folder(upload_id)
        with _locked(folder):
            _drop_unkept(folder)
            upload = self.find(upload_id, tenant)
            # Adopted by a gateway that was killed before it could note the study.
            (folder / _BYTES).touch(mode=0o600)
            with (folder / _BYTES).open("r+b") as out:
                out.seek(upload.offset)
                out.truncate()
                if all_or_nothing:
                    (folder / _UNKEPT).write_text(str(upload.offset), encoding="ascii")
                writer = FolderUploadWriter(folder, upload, out, self)
                try:
                    yield writer
                except OSError as error:
                    raise _unavailable() from error
                finally:
                    if not writer.is_kept and all_or_nothing:
                        writer.take_back()
                    (folder / _UNKEPT).unlink(missing_ok=True)

    def remove(self, upload_id: str, tenant: str) -> None:
        """Give an upload up; UploadNotFound where there is none."""
        self.find(upload_id, tenant)
        folder = self._folder(upload_id)
        with _locked(folder):
            _remove(folder)

    def remove_expired(self) -> int:
        """Remove uploads to which nothing happened for their lifetime; return how many."""
        removed = 0
        for folder in self._folders():
            upload = self._read(folder)
            is_over = (
                upload.expires_at <= datetime.now(UTC)
                if upload is not None
                # A crash while it was created.
                else _changed_at(folder) + self._lifetime <= datetime.now(UTC)
            )
            if is_over:
                with suppress(UploadBusy, UploadNotFound), _locked(folder):
                    _remove(folder)
                    removed += 1
        return removed

    def note_study(self, folder: Path, study_id: str) -> None:
        """Write down which study an upload has become."""
        facts = _facts(folder)
        if facts is not None:
            self._write_facts(folder, {**facts, "study_id": study_id})

    def _all_of(self, tenant: str) -> list[PartialUpload]:
        found = [self._read(folder) for folder in self._folders()]
        now = datetime.now(UTC)
        return [one for one in found if one and one.tenant == tenant and one.expires_at > now]

    def _folders(self) -> list[Path]:
        if not self._root.is_dir():
            return []
        return [one for one in self._root.iterdir() if _ID.fullmatch(one.name)]

    def _folder(self, upload_id: str) -> Path:
        if _ID.fullmatch(upload_id) is None:
            raise UploadNotFound
        return self._root / upload_id

    def _read(self, folder: Path) -> PartialUpload | None:
        facts = _facts(folder)
        if facts is None:
            return None
        length, study_id = int(facts["length"]), facts["study_id"]
        try:
            offset = _offset(folder)
        except FileNotFoundError:
            offset = 0
        return PartialUpload(
            upload_id=folder.name,
            tenant=str(facts["tenant"]),
            actor=str(facts["actor"]),
            length=length,
            # The last byte counts only together with the study.
            offset=length if study_id is not None else min(offset, length - 1),
            request=JobRequest(
                Priority[str(facts["priority"])], callback_url=facts["callback_url"]
            ),
            expires_at=_changed_at(folder) + self._lifetime,
            study_id=study_id,
        )

    @staticmethod
    def _write_facts(folder: Path, facts: dict[str, Any]) -> None:
        part = folder / f"{_FACTS}.part"
        with part.open("w", encoding="utf-8") as out:
            json.dump(facts, out)
            out.flush()
            os.fsync(out.fileno())
        part.replace(folder / _FACTS)


class FolderUploadWriter:
    """An UploadWriter on an open file."""

    def __init__(
        self, folder: Path, upload: PartialUpload, out: BinaryIO, uploads: FolderPartialUploads
    ) -> None:
        self._folder = folder
        self._begun = upload
        self._out = out
        self._uploads = uploads
        self._position = upload.offset
        self.is_kept = False

    @property
    def upload(self) -> PartialUpload:
        """The upload as it is now, the last byte counted."""
        return replace(self._begun, offset=self._position)

    @property
    def path(self) -> Path:
        """The file of its bytes."""
        return self._folder / _BYTES

    def write(self, chunk: bytes) -> None:
        """Append bytes; UploadTooLong where they go beyond the length."""
        if self._position + len(chunk) > self._begun.length:
            raise UploadTooLong(self._begun.length)
        self._out.write(chunk)
        self._position += len(chunk)

    def take_back(self) -> None:
        """Forget what was appended since the right was given."""
        self._out.seek(self._begun.offset)
        self._out.truncate()
        self._position = self._begun.offset

    def keep(self) -> None:
        """Bring what was appended to the disk."""
        self._out.flush()
        os.fsync(self._out.fileno())
        self.is_kept = True

    def discard(self) -> None:
        """Remove the upload: it can never become a study."""
        _remove(self._folder)

    def accepted_as(self, study_id: str) -> None:
        """Note the study; its bytes are no longer needed here."""
        self._uploads.note_study(self._folder, study_id)
        self.path.unlink(missing_ok=True)
        self._begun = replace(self._begun, study_id=study_id)


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return facts


def _offset(folder: Path) -> int:
    """Return how many bytes are here, without those that are not kept yet."""
    size = (folder / _BYTES).stat().st_size
    with suppress(FileNotFoundError, ValueError):
        return min(size, int((folder / _UNKEPT).read_text("ascii")[:_LARGEST_OFFSET_TEXT]))
    return size


def _drop_unkept(folder: Path) -> None:
    """Remove what a process left that was killed before it could keep it."""
    if (folder / _UNKEPT).exists():
        with (folder / _BYTES).open("r+b") as out:
            out.truncate(_offset(folder))
        (folder / _UNKEPT).unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        lock = (folder / _LOCK).open("wb")
    except FileNotFoundError as error:
        raise UploadNotFound from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UploadBusy from error
        yield


def _remove(folder: Path) -> None:
    """Remove an upload at once: without its facts it is none, whatever happens next."""
    (folder / _FACTS).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _changed_at(folder: Path) -> datetime:
    for name in (_BYTES, _FACTS, "."):
        with suppress(FileNotFoundError):
            return datetime.fromtimestamp((folder / name).stat().st_mtime, UTC)
    return datetime.fromtimestamp(time.time(), UTC)


def _unavailable() -> ArtefactUnavailable:
    return ArtefactUnavailable(
        "The folder of uploads cannot be written; see CACSCORE_DATA_DIR and the room on its disk."
    )
