"""An object as DICOM JSON (PS3.18 annex F), for whoever has no DICOM library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

LARGEST_INLINE_BYTES: Final = 1024
"""Values of bytes beyond this are bulk data and left out; our choice."""

_BULK: Final = frozenset({"PixelData", "EncapsulatedDocument"})
"""Bulk data however short they are."""

_BYTES_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def json_model(path: Path) -> dict[str, Any]:
    """Return the attributes of a DICOM file, without its pixels, document and other bulk data.

    Group 0002 is not among them; ``AvailableTransferSyntaxUID`` (0008,3002) says how the file is
    written (PS3.18 10.4.1.1.2).
    """
    instance = dcmread(path)
    syntax = instance.file_meta.TransferSyntaxUID
    for element in list(instance):
        is_long = element.VR in _BYTES_VRS and len(element.value or b"") > LARGEST_INLINE_BYTES
        if is_long or element.keyword in _BULK:
            del instance[element.tag]
    instance.AvailableTransferSyntaxUID = syntax
    document: dict[str, Any] = instance.to_json_dict()
    return document
