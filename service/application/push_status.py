"""How far the results of a study have come on their way to a destination."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PushState(StrEnum):
    """How far a push has come."""

    PENDING = "pending"
    """Not sent yet, or not completely; it is tried (again) at ``next_attempt_at``."""
    SENT = "sent"
    """The destination took every object."""
    UNCONFIRMED = "unconfirmed"
    """It took every object and, asked to commit to keeping them, never said whether it does."""
    COMMITTED = "committed"
    """It has taken over the responsibility for keeping them (PS3.4 annex J)."""
    FAILED = "failed"
    """It does not take an object, or did not answer until the last attempt."""


@dataclass(frozen=True)
class PushStatus:
    """A push as shown to users; times are UTC."""

    destination: str
    state: PushState
    job_number: int
    """Version of the result that is sent."""
    attempt: int
    requested_at: datetime
    next_attempt_at: datetime | None
    sent_at: datetime | None
    committed_at: datetime | None
    detail: str | None
    """What came of the latest attempt; the reason where it failed."""
