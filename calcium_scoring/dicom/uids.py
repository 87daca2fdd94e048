"""UIDs: which ones are valid; the derived ones are those of ``volume.derived_uid``."""

from __future__ import annotations

import re
from typing import Final

from calcium_scoring.volume.derived_uid import derived_uid

__all__ = ["derived_uid", "is_valid_uid"]

_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_LONGEST_UID: Final = 64


def is_valid_uid(text: str) -> bool:
    """Tell whether a text is a UID by PS3.5 chapter 9: numbers without leading zeros, <= 64."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None
