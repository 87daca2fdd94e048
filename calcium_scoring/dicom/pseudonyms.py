"""Pseudonyms: names that say nothing without a key, and are always the same with it.

Everything is an HMAC-SHA-256 (RFC 2104) under a key that never leaves the site. Two tenants have
two keys that follow from the one, so that nobody sees that they have a patient in common.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from typing import Final

SHORTEST_KEY_BYTES: Final = 32
"""As many as the hash has: fewer would be the weakest part (RFC 2104 section 3)."""

_PATIENT_ID_BYTES: Final = 10
_LONGEST_SHIFT_DAYS: Final = 3650
"""Ten years; our choice."""


class Pseudonyms:
    """Pseudonyms of one tenant under one key."""

    def __init__(self, key: bytes, *, tenant: str) -> None:
        if len(key) < SHORTEST_KEY_BYTES:
            raise ValueError(
                f"A key of pseudonyms has at least {SHORTEST_KEY_BYTES} bytes, not {len(key)}."
            )
        self._key = hmac.digest(key, f"tenant\x1f{tenant}".encode(), hashlib.sha256)

    def uid(self, original: str) -> str:
        """Return the UID that stands for another one: ``2.25.`` and 128 bits (PS3.5 B.2)."""
        digest = self._digest("uid", original)
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"

    def patient_id(self, original: str) -> str:
        """Return the Patient ID that stands for another one: ``P`` and 16 letters and digits."""
        digest = self._digest("patient_id", original)[:_PATIENT_ID_BYTES]
        return f"P{base64.b32encode(digest).decode('ascii')}"

    def days_back(self, patient: str) -> int:
        """Return by how many days all dates of a patient are moved into the past, 1 to 3650."""
        digest = self._digest("dates", patient)
        return 1 + int.from_bytes(digest[:8]) % _LONGEST_SHIFT_DAYS

    def _digest(self, kind: str, original: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\x1f{original}".encode(), hashlib.sha256)
