"""A look over the elements of a header before a parser sees them that calls itself for each level.

pydicom reads a sequence by recursion and keeps some hundred bytes for each element, however small:
200 nested sequences end in RecursionError, and 4 MiB of empty elements in 150 MiB of memory. This
walk needs neither: it skips values and keeps one entry for each open level.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LARGEST_DEPTH: Final = 16
"""Sequences within sequences. Objects of CT need three; our choice."""

LARGEST_ELEMENT_COUNT: Final = 50_000
"""Elements and items of a single-frame header; those of scanners have some hundred. Our choice."""

LARGEST_MULTI_FRAME_ELEMENT_COUNT: Final = 400_000
"""The same of an Enhanced object: 4,000 frames of 100. Our choice."""

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA: Final = 0x7FE00010
_UNDEFINED: Final = 0xFFFFFFFF
_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
"""VRs whose length has 4 bytes behind 2 reserved ones (PS3.5 7.1.2)."""

_BYTES_VRS: Final = frozenset({b"OB", b"OW"})
_SEQUENCE_VRS: Final = frozenset({b"", b"SQ", b"UN"})
_LONG_HEAD_BYTES: Final = 12
_ITEM_BYTES: Final = frozenset({b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"})


def count_of_items(data: bytes) -> int:
    """Return how many items there can be at most in either byte order: without one, no depth."""
    return max(data.count(one) for one in _ITEM_BYTES)


def complaint_about(
    data: bytes, start: int, *, is_implicit: bool, is_little_endian: bool, largest_count: int
) -> str | None:
    """Walk over the elements of a data set up to its pixel data; say what is too much of it.

    Parameters
    ----------
    data, start
        The file, or as much of it as may be header, and where its data set begins.
    is_implicit, is_little_endian
        How it is written.
    largest_count
        Elements and items that are accepted.
    """
    walk = _Walk(data, start, is_implicit=is_implicit, is_little_endian=is_little_endian)
    for count, depth in enumerate(walk.depths(), start=1):
        if count > largest_count:
            return f"has a header of more than {largest_count} elements"
        if depth > LARGEST_DEPTH:
            return f"has more than {LARGEST_DEPTH} sequences within each other"
    return None


@dataclass(frozen=True)
class _Level:
    """An open sequence or item; ``end`` is None where a mark ends it."""

    end: int | None
    is_sequence: bool
    is_implicit: bool


class _Walk:
    """Goes from element to element; ``levels`` are those that are open."""

    def __init__(
        self, data: bytes, start: int, *, is_implicit: bool, is_little_endian: bool
    ) -> None:
        order = "<" if is_little_endian else ">"
        self._tag_of = struct.Struct(f"{order}HH").unpack_from
        self._long_of = struct.Struct(f"{order}I").unpack_from
        self._short_of = struct.Struct(f"{order}H").unpack_from
        self._data = data
        self._at = start
        self._is_implicit = is_implicit
        self._levels: list[_Level] = []
        self._depth = 0

    def depths(self) -> Iterator[int]:
        """Give the depth at each element and item, up to the pixel data or the end."""
        while self._at + _LONG_HEAD_BYTES <= len(self._data):
            while self._levels and (end := self._levels[-1].end) is not None and self._at >= end:
                self._close()
            group, number = self._tag_of(self._data, self._at)
            tag = group << 16 | number
            if tag in {_ITEM_END, _SEQUENCE_END}:
                self._close()
                self._at += 8
                continue
            if tag == _PIXEL_DATA and self._depth == 0:
                return
            if tag == _ITEM:
                (length,) = self._long_of(self._data, self._at + 4)
                self._at += 8
                self._open(length, is_sequence=False, is_implicit=self._is_implicit_here())
            elif not self._step():
                return
            yield self._depth

    def _step(self) -> bool:
        """Go over an element, or into it where it is a sequence; False where its bytes are none."""
        vr, length = self._head()
        begins_item = self._data[self._at : self._at + 4] in _ITEM_BYTES
        if length != _UNDEFINED and not (begins_item and vr in _SEQUENCE_VRS):
            self._at += length
            return True
        if vr in _BYTES_VRS:  # fragments; nothing that a header has
            return False
        # What is hidden as UN is written without VRs (PS3.5 6.2.2).
        self._open(length, is_sequence=True, is_implicit=self._is_implicit_here() or vr == b"UN")
        return True

    def _head(self) -> tuple[bytes, int]:
        """Read VR and length of an element, and go to its value."""
        at = self._at
        if self._is_implicit_here():
            self._at += 8
            return b"", int(self._long_of(self._data, at + 4)[0])
        vr = self._data[at + 4 : at + 6]
        if vr in _LONG_VRS:
            self._at += _LONG_HEAD_BYTES
            return vr, int(self._long_of(self._data, at + 8)[0])
        self._at += 8
        return vr, int(self._short_of(self._data, at + 6)[0])

    def _is_implicit_here(self) -> bool:
        return self._levels[-1].is_implicit if self._levels else self._is_implicit

    def _open(self, length: int, *, is_sequence: bool, is_implicit: bool) -> None:
        end = None if length == _UNDEFINED else self._at + length
        self._levels.append(_Level(end, is_sequence, is_implicit))
        self._depth += is_sequence

    def _close(self) -> None:
        if self._levels:
            self._depth -= self._levels.pop().is_sequence
