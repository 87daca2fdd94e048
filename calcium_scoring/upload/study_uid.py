"""The study of a DICOM file, read from the first bytes of its data set without a DICOM library."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

from calcium_scoring.upload.file_head import FileHead

LARGEST_START_BYTES: Final = 1024 * 1024
"""The UID of the study stands before every private block of group 0021 on; our choice."""

_STUDY_INSTANCE_UID: Final = 0x0020000D
_IMPLICIT: Final = "1.2.840.10008.1.2"
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED: Final = 0xFFFFFFFF
_LONG_VRS: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
"""VRs whose length has 4 bytes behind 2 reserved ones (PS3.5 7.1.2)."""


def read_study_instance_uid(path: Path, head: FileHead) -> str | None:
    """Return the Study Instance UID of a file with this head; None where none is found."""
    with path.open("rb") as stream:
        stream.seek(head.data_set_at)
        start = stream.read(LARGEST_START_BYTES)
    if head.transfer_syntax_uid == _DEFLATED:
        try:
            start = zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, LARGEST_START_BYTES)
        except zlib.error:
            return None
    order = ">" if head.transfer_syntax_uid == _BIG_ENDIAN else "<"
    value = _value_of(start, order, is_implicit=head.transfer_syntax_uid == _IMPLICIT)
    if value is None:
        return None
    try:
        return value.decode("ascii").strip(" \x00") or None
    except UnicodeDecodeError:
        return None


def _value_of(data: bytes, order: str, *, is_implicit: bool) -> bytes | None:
    """Go over the elements up to that of the study; sequences of unknown length are gone into."""
    tag_of, long_of = struct.Struct(f"{order}HH"), struct.Struct(f"{order}I")
    short_of = struct.Struct(f"{order}H")
    at, depth = 0, 0
    while at + 12 <= len(data):
        group, number = tag_of.unpack_from(data, at)
        tag = group << 16 | number
        if tag in {_ITEM, _ITEM_END, _SEQUENCE_END}:
            (length,) = long_of.unpack_from(data, at + 4)
            at += 8
            if tag == _ITEM and length != _UNDEFINED:
                at += length
            depth -= tag == _SEQUENCE_END
            continue
        vr = data[at + 4 : at + 6]
        if is_implicit:
            (length,), at = long_of.unpack_from(data, at + 4), at + 8
        elif vr in _LONG_VRS:
            (length,), at = long_of.unpack_from(data, at + 8), at + 12
        else:
            (length,), at = short_of.unpack_from(data, at + 6), at + 8
        if length == _UNDEFINED:
            depth += 1
            continue
        if depth == 0 and tag >= _STUDY_INSTANCE_UID:
            is_whole = at + length <= len(data)
            return data[at : at + length] if tag == _STUDY_INSTANCE_UID and is_whole else None
        at += length
    return None
