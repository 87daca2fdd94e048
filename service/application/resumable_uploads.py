"""Uploads that arrive in pieces, over connections that break; tus 1.0 (https://tus.io) speaks it.

An upload is complete when its study is accepted, not when its last byte is here: until then its
offset stays one byte short of its length, so that a client whose last request failed sends that
byte again, and with it asks again for the study.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from service.application.jobs import JobRequest


@dataclass(frozen=True)
class PartialUpload:
    """An upload under way. ``offset`` bytes of ``length`` are here and safe on the disk."""

    upload_id: str
    tenant: str
    actor: str
    length: int
    offset: int
    request: JobRequest
    expires_at: datetime
    study_id: str | None = None
    """The study that it has become; the offset is then the length."""


class UploadWriter(Protocol):
    """The right to append to an upload; nobody else has it meanwhile."""

    @property
    def upload(self) -> PartialUpload:
        """The upload as it is now."""
        ...

    @property
    def path(self) -> Path:
        """The file of its bytes."""
        ...

    def write(self, chunk: bytes) -> None:
        """Append bytes; UploadTooLong where they go beyond the length."""
        ...

    def take_back(self) -> None:
        """Forget what was appended since the right was given."""
        ...

    def keep(self) -> None:
        """Bring what was appended to the disk."""
        ...

    def discard(self) -> None:
        """Remove the upload: it can never become a study."""
        ...

    def accepted_as(self, study_id: str) -> None:
        """Note the study; its bytes are no longer needed here."""
        ...


class PartialUploads(Protocol):
    """Keeps uploads under way; they survive restarts, and go when nothing happens to them."""

    def create(
        self, *, tenant: str, actor: str, length: int, request: JobRequest, most: int | None
    ) -> PartialUpload:
        """Begin an upload; TooManyRequests where the actor has ``most`` unfinished ones."""
        ...

    def find(self, upload_id: str, tenant: str) -> PartialUpload:
        """Return an upload; UploadNotFound where the tenant has none of this id, or no longer."""
        ...

    def writing(
        self, upload_id: str, tenant: str, *, all_or_nothing: bool
    ) -> AbstractContextManager[UploadWriter]:
        """Give the right to append; UploadBusy where somebody has it.

        With ``all_or_nothing`` a crash, too, leaves nothing of what was not kept.
        """
        ...

    def remove(self, upload_id: str, tenant: str) -> None:
        """Give an upload up; UploadNotFound where there is none."""
        ...

    def remove_expired(self) -> int:
        """Remove uploads to which nothing happened for their lifetime; return how many."""
        ...

    @property
    def lifetime(self) -> timedelta:
        """How long an upload stays to which nothing happens."""
        ...
