"""Deterministic UIDs for what has none.

A derived UID is ``2.25.`` and the decimal value of 128 bits (PS3.5 B.2), here the first bits of
a SHA-256 over what identifies the object: the same input always gives the same UID, so a rerun
overwrites instead of multiplying.
"""

from __future__ import annotations

import hashlib
import uuid


def derived_uid(*parts: str) -> str:
    """Return the UID that belongs to these parts, in this order."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    # Version and variant bits make it the UUID that PS3.5 B.2 asks for.
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
