"""The look over a header before it is parsed: depth and count, without recursion."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from calcium_scoring.dicom.prescan import LARGEST_DEPTH, complaint_about, count_of_items

ITEM = b"\xfe\xff\x00\xe0"
ENDS = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
UNDEFINED = b"\xff\xff\xff\xff"
CONTENT_SEQUENCE = struct.pack("<HH", 0x0040, 0xA730)
PIXELS = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 4) + bytes(4)


def open_ended(depth: int) -> bytes:
    head = CONTENT_SEQUENCE + b"SQ\0\0" + UNDEFINED + ITEM + UNDEFINED
    return head * depth + ENDS * depth


def of_known_length(depth: int, vr: bytes = b"SQ\0\0") -> bytes:
    inner = b""
    for _ in range(depth):
        item = ITEM + struct.pack("<I", len(inner)) + inner
        inner = CONTENT_SEQUENCE + vr + struct.pack("<I", len(item)) + item
    return inner


def look_at(data: bytes, *, is_implicit: bool = False, largest_count: int = 1000) -> str | None:
    return complaint_about(
        data, 0, is_implicit=is_implicit, is_little_endian=True, largest_count=largest_count
    )


@pytest.mark.parametrize("nested", [open_ended, of_known_length])
def test_sixteen_sequences_within_each_other_are_accepted_and_seventeen_are_not(
    nested: Callable[[int], bytes],
) -> None:
    assert look_at(nested(LARGEST_DEPTH) + PIXELS) is None
    assert "16 sequences" in (look_at(nested(LARGEST_DEPTH + 1) + PIXELS) or "")


def test_sequences_without_vr_are_counted_too() -> None:
    assert look_at(of_known_length(16, b"") + PIXELS, is_implicit=True) is None
    assert look_at(of_known_length(17, b"") + PIXELS, is_implicit=True) is not None


def test_sequences_hidden_as_unknown_are_counted_too() -> None:
    hidden = of_known_length(17, b"")
    item = ITEM + struct.pack("<I", len(hidden)) + hidden
    unknown = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, len(item)) + item

    assert look_at(unknown + PIXELS) is not None


def test_a_million_sequences_side_by_side_are_no_depth() -> None:
    assert look_at(open_ended(1) * 100 + PIXELS) is None


def test_a_hundred_thousand_levels_need_no_recursion() -> None:
    assert look_at(open_ended(100_000)) is not None


def test_elements_are_counted_up_to_the_pixels() -> None:
    element = struct.pack("<HH2sH", 0x0011, 0x1001, b"LO", 0)

    assert look_at(element * 1000 + PIXELS + element * 5000) is None
    assert "1000 elements" in (look_at(element * 1001 + PIXELS) or "")


def test_items_of_both_byte_orders_are_counted() -> None:
    assert count_of_items(ITEM * 3) == 3
    assert count_of_items(b"\xff\xfe\xe0\x00" * 4) == 4
