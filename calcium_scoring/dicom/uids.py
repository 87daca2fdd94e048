"""UIDs: which ones are valid, and deterministic ones for what has none.

A derived UID is ``2.25.`` and the decimal value of 128 bits (PS3.5 B.2), here the first bits of
a SHA-256 over what identifies the object: the same input always gives the same UID, so a rerun
overwrites instead of multiplying.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import Final

_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_LONGEST_UID: Final = 64


def is_valid_uid(text: str) -> bool:
    """Tell whether a text is a UID by PS3.5 chapter 9: numbers without leading zeros, <= 64."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def derived_uid(*parts: str) -> str:
    """Return the UID that belongs to these parts, in this order."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    # Version and variant bits make it the UUID that PS3.5 B.2 asks for.
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
