"""Who did what to which study: a log that can only grow, and that shows when it was changed.

Each entry carries the SHA-256 of itself and of the entry before it, so that one that is changed,
removed or slipped in breaks the chain. Cutting off the end leaves a sound, shorter chain: whoever
wants to notice that keeps the last hash elsewhere and asks for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from service.application.access import Principal

FIRST_PREVIOUS_SHA256: Final = "0" * 64
"""What the first entry has for the hash of the one before it."""


@dataclass(frozen=True)
class AuditEntry:
    """One thing that was asked for by somebody who may; ``at`` is UTC.

    ``action`` is a method and a route, or the name of a job of the service itself; ``study_id``
    says nothing of a patient.
    """

    number: int
    at: datetime
    actor: str
    tenant: str
    action: str
    study_id: str | None
    previous_sha256: str
    sha256: str

    @classmethod
    def following(
        cls,
        last: AuditEntry | None,
        *,
        at: datetime,
        actor: str,
        tenant: str,
        action: str,
        study_id: str | None,
    ) -> AuditEntry:
        """Return the entry that comes after another one, None for the first."""
        number = 1 if last is None else last.number + 1
        previous = FIRST_PREVIOUS_SHA256 if last is None else last.sha256
        entry = cls(number, at, actor, tenant, action, study_id, previous, "")
        return replace(entry, sha256=entry.digest())

    def digest(self) -> str:
        """Return the SHA-256 (hex) that belongs to everything else in the entry."""
        said = [
            self.number,
            self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            self.actor,
            self.tenant,
            self.action,
            self.study_id,
            self.previous_sha256,
        ]
        text = json.dumps(said, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


class AuditLog(Protocol):
    """Keeps entries."""

    def append(self, principal: Principal, action: str, study_id: str | None) -> None:
        """Add an entry; it is kept before whatever it names is done."""
        ...

    def entries(self) -> Iterable[AuditEntry]:
        """Give every entry in its order."""
        ...


@dataclass(frozen=True)
class AuditVerdict:
    """What came of a look at the whole chain; ``broken_at`` is the first wrong number."""

    entry_count: int
    last_sha256: str
    broken_at: int | None

    @property
    def is_sound(self) -> bool:
        """Whether no entry was changed, removed from within, or slipped in."""
        return self.broken_at is None


def verify_chain(entries: Iterable[AuditEntry]) -> AuditVerdict:
    """Look at each entry and its link to the one before it."""
    last, count = FIRST_PREVIOUS_SHA256, 0
    for expected, entry in enumerate(entries, start=1):
        if (
            entry.number != expected
            or entry.previous_sha256 != last
            or entry.sha256 != entry.digest()
        ):
            return AuditVerdict(count, last, expected)
        last, count = entry.sha256, expected
    return AuditVerdict(count, last, None)
