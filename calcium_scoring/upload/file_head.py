"""The head of a DICOM file that says nothing but what its data set is.

The same instance has another head from each program that handles it: its own preamble, its name
and version, the station it came from (PS3.10 7.1). Written anew here, the same data set is the same
file whoever sent it and by whichever way. Needs no DICOM library, as the gateway has none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from calcium_scoring.upload.signature import HEAD_BYTES, PREAMBLE_BYTES, has_dicom_mark

IMPLEMENTATION_CLASS_UID: Final = "2.25.234714579459312464502350014053770343959"
"""Who wrote the head of a file that was received over a network; the same in every release.

It is ``derived_uid("implementation", "cacscore")``.
"""

IMPLEMENTATION_VERSION_NAME: Final = "CACSCORE"
"""What the node calls itself when it negotiates an association (PS3.7 D.3.3.2.4)."""

LARGEST_META_BYTES: Final = 64 * 1024
"""Of the file meta information; it has some hundred bytes, with private information some KiB. Our
choice."""

_META_GROUP: Final = 0x0002
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010
_SHORT: Final = struct.Struct("<HH2sH")
_LONG: Final = struct.Struct("<HH2s2xI")
_LONG_VRS: Final = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UN", b"UT"})


@dataclass(frozen=True)
class FileHead:
    """What the file meta information says; the data set begins at byte ``data_set_at``."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_at: int

    def to_bytes(self) -> bytes:
        """Return preamble, mark and file meta information with these three UIDs and nobody's name.

        Raises ValueError for a UID that is not ASCII.
        """
        elements = b"".join(
            (
                _LONG.pack(_META_GROUP, 0x0001, b"OB", 2) + b"\x00\x01",
                _uid_element(_SOP_CLASS, self.sop_class_uid),
                _uid_element(_SOP_INSTANCE, self.sop_instance_uid),
                _uid_element(_TRANSFER_SYNTAX, self.transfer_syntax_uid),
                _uid_element(0x0012, IMPLEMENTATION_CLASS_UID),
            )
        )
        length = _SHORT.pack(_META_GROUP, 0x0000, b"UL", 4) + struct.pack("<I", len(elements))
        return bytes(PREAMBLE_BYTES) + b"DICM" + length + elements


def read_file_head(path: Path) -> FileHead | None:
    """Return the head of a DICOM file; None where it has none, or not one that can be trusted.

    None too where one of the three UIDs is missing, which files that were not received over a
    network may do.
    """
    with path.open("rb") as stream:
        return _file_head(stream)


def _file_head(stream: BinaryIO) -> FileHead | None:
    start = stream.read(HEAD_BYTES + LARGEST_META_BYTES)
    if not has_dicom_mark(start):
        return None
    uids: dict[int, str] = {}
    at = HEAD_BYTES
    try:
        while _SHORT.unpack_from(start, at)[0] == _META_GROUP:
            _, element, vr, length = _SHORT.unpack_from(start, at)
            value_at = at + _SHORT.size
            if vr in _LONG_VRS:
                length = _LONG.unpack_from(start, at)[3]
                value_at = at + _LONG.size
            at = value_at + length
            if vr == b"UI":
                uids[element] = start[value_at:at].decode("ascii").strip(" \x00")
        head = FileHead(uids[_SOP_CLASS], uids[_SOP_INSTANCE], uids[_TRANSFER_SYNTAX], at)
    except (struct.error, UnicodeDecodeError, KeyError):
        # Cut short, longer than any head, or without one of the UIDs.
        return None
    is_complete = head.sop_class_uid and head.sop_instance_uid and head.transfer_syntax_uid
    return head if is_complete else None


def _uid_element(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\x00" * (len(value) % 2)
    return _SHORT.pack(_META_GROUP, element, b"UI", len(value)) + value
