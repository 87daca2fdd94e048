"""What the first bytes of a DICOM file look like; needs no DICOM library.

The gateway asks at the door, the reader before it parses: both by the same rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

PREAMBLE_BYTES: Final = 128
"""Before the mark of PS3.10 7.1; they may hold anything."""

HEAD_BYTES: Final = PREAMBLE_BYTES + 4
"""As many bytes as the questions below need."""

_MARK: Final = b"DICM"
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""Group 0002 or 0008 little endian, or 0008 big endian: how a data set without preamble begins."""


def first_bytes(path: Path) -> bytes:
    """Return the head of a file; fewer than ``HEAD_BYTES`` where it is shorter."""
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def has_dicom_mark(head: bytes) -> bool:
    """Tell whether a file that begins like this carries the mark of PS3.10 after its preamble."""
    return head[PREAMBLE_BYTES:HEAD_BYTES] == _MARK


def may_be_dicom(head: bytes) -> bool:
    """Tell whether a file that begins like this is marked, or may be a data set without mark.

    Old exports leave out the preamble, or the file meta information as well.
    """
    return has_dicom_mark(head) or head[:2] in _FIRST_GROUPS
