"""The way back from pseudonyms to people, and the key that both need."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

KEY_BYTES: Final = 32
"""As many as SHA-256 has: the pseudonyms are HMACs."""


@dataclass(frozen=True)
class CrosswalkEntry:
    """Who a pseudonym stands for; ``kind`` is the attribute, a DICOM keyword in snake case."""

    pseudonym: str
    kind: str
    original: str


@dataclass(frozen=True)
class FoundEntry:
    """An entry of the crosswalk with the study that it belongs to."""

    entry: CrosswalkEntry
    study_id: str
    tenant: str
    created_at: datetime


class Crosswalk(Protocol):
    """Leads from pseudonyms back to people; sealed with the key of the pseudonyms."""

    def add(self, study_id: str, entries: Iterable[CrosswalkEntry]) -> None:
        """Remember who a study is about; the same entries again change nothing."""
        ...

    def find(self, pseudonym: str) -> list[FoundEntry]:
        """Return what stands behind a pseudonym, one entry for each study that has it."""
        ...


def new_key() -> str:
    """Return a new key as it stands in the settings: base64 of 32 random bytes."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


def key_bytes(text: str) -> bytes:
    """Return the bytes of a key; ValueError where it is not base64 of at least 32 bytes."""
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError("must be base64; `cacscore crosswalk new-key` makes one.") from error
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"has {len(key)} bytes and needs at least {KEY_BYTES}; `cacscore crosswalk new-key` "
            "makes one."
        )
    return key
