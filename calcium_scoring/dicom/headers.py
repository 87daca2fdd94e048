"""Headers of DICOM files: reading them from files that may be anything, and asking them safely.

A value that is absent, empty or malformed is ``None``: what that means is decided where the
value is needed, not by an exception in the middle of a parser.
"""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from calcium_scoring.upload.signature import (
    HEAD_BYTES,
    has_dicom_mark,
    may_be_dicom,
)

PARSER_ERRORS: Final = (
    BytesLengthException,
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on damaged or hostile bytes."""

LARGEST_INFLATED_BYTES: Final = 256 * 1024 * 1024
"""A deflated data set may inflate to this much; our choice, as for an entry of an archive."""

_GROUP_LENGTH_ELEMENT_BYTES: Final = 12
_META_SEARCH_BYTES: Final = 1024
_META_GROUP: Final = 0x0002
_PIXEL_GROUP: Final = 0x7FE0
_PIXEL_ELEMENT: Final = 0x0010
_USUAL_HEADER_BYTES: Final = 16 * 1024
"""Most headers end within this; a longer one is read from the file itself."""

_CHUNK_BYTES: Final = 1024 * 1024
_OVERLAY_GROUPS: Final = range(0x6000, 0x6100)


@dataclass(frozen=True, eq=False)
class ImageFile:
    """One image: the file it lies in, what the sender called that, its place there, its header.

    ``file_number`` counts the files of the upload from 1. ``frame_index`` is the place of the image
    among the ``frame_count`` frames of its file; the header is then that of the frame alone.
    ``pixel_data_at`` is where the element of the pixel data begins in the file, None if unknown.
    """

    path: Path
    name: str
    header: Dataset
    file_number: int = 1
    pixel_data_at: int | None = None
    frame_index: int = 0
    frame_count: int = 1


class NotReadable(Exception):
    """A file is not a DICOM image; the message is a reason without any value of the file."""


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's warnings: they quote header values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path) -> Dataset:
    """Return the header of a DICOM file, as :func:`read_image_file` does."""
    return read_image_file(path, path.name).header


def read_image_file(path: Path, name: str, file_number: int = 1) -> ImageFile:
    """Read the header of a DICOM file, without pixel data and private attributes.

    Files without the 128-byte preamble or without file meta information are read when they
    begin with group 0002 or 0008 and prove to have a modality or a SOP class.

    Raises
    ------
    NotReadable
        The file is not DICOM, is damaged, or is no image object.
    """
    with quiet_pydicom():
        try:
            with path.open("rb") as stream:
                start = stream.read(_USUAL_HEADER_BYTES)
                if not may_be_dicom(start):
                    raise NotReadable("is not DICOM")
                is_deflated = DeflatedExplicitVRLittleEndian.encode() in start[:_META_SEARCH_BYTES]
                if is_deflated:
                    _check_inflated_size(path)
                has_mark = has_dicom_mark(start)
                usual = None if is_deflated else _usual_header(start)
                if usual is not None:
                    return ImageFile(path, name, _slim(usual[0]), file_number, usual[1])
                stream.seek(0)
                header = dcmread(stream, stop_before_pixels=True, force=not has_mark)
                # The parser stops in front of the pixel data, except where it inflated a copy.
                pixel_data_at = None if is_deflated else stream.tell()
            if not has_mark and text(header, "Modality") is None and sop_class(header) is None:
                raise NotReadable("is not DICOM")
            return ImageFile(path, name, _slim(header), file_number, pixel_data_at)
        except PARSER_ERRORS as error:
            raise NotReadable("is damaged: its header cannot be read") from error


def _usual_header(start: bytes) -> tuple[Dataset, int] | None:
    """Read the header of a marked file from its first bytes; also return where the pixels begin.

    The same function of pydicom that ``dcmread`` calls, without what few files need: in half the
    time. None where the header is longer than these bytes, or anything is unusual about it.
    """
    if not has_dicom_mark(start):
        return None
    stream = BytesIO(start)
    stream.seek(HEAD_BYTES)
    try:
        meta = FileMetaDataset(
            read_dataset(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != _META_GROUP)
        )
        syntax = UID(text(meta, "TransferSyntaxUID") or "")
        if not syntax.is_transfer_syntax or syntax.is_deflated:
            return None
        header = read_dataset(
            stream,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, *_: tag >> 16 >= _PIXEL_GROUP,
        )
        pixel_data_at = stream.tell()
        order = "<" if syntax.is_little_endian else ">"
        met = struct.unpack_from(f"{order}HH", start, pixel_data_at)
    except PARSER_ERRORS:
        return None
    if met != (_PIXEL_GROUP, _PIXEL_ELEMENT):
        return None
    header.file_meta = meta
    return header, pixel_data_at


def _check_inflated_size(path: Path) -> None:
    """Refuse a deflated data set that inflates too far, before pydicom inflates it in one go."""
    with path.open("rb") as stream:
        meta = read_file_meta_info(path)
        if meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
            return
        group_length = number(meta, "FileMetaInformationGroupLength")
        if group_length is None:
            raise NotReadable("is deflated without saying where its data set begins")
        stream.seek(HEAD_BYTES + _GROUP_LENGTH_ELEMENT_BYTES + int(group_length))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflated_bytes = 0
        pending = b""
        while not inflater.eof and (pending := pending or stream.read(_CHUNK_BYTES)):
            inflated_bytes += len(inflater.decompress(pending, _CHUNK_BYTES))
            pending = inflater.unconsumed_tail
            if inflated_bytes > LARGEST_INFLATED_BYTES:
                raise NotReadable(f"inflates to more than {LARGEST_INFLATED_BYTES} bytes")


def _slim(header: Dataset) -> Dataset:
    """Drop private attributes and overlays; complete what the decoder must know."""
    unwanted = [
        tag for tag in tuple(header.keys()) if (tag >> 16) % 2 or (tag >> 16) in _OVERLAY_GROUPS
    ]
    for tag in unwanted:
        del header[tag]
    if not hasattr(header, "file_meta"):
        header.file_meta = FileMetaDataset()
    if text(header.file_meta, "TransferSyntaxUID") is None:
        is_implicit, is_little_endian = header.original_encoding
        header.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian
            if is_implicit
            else ExplicitVRLittleEndian
            if is_little_endian
            else ExplicitVRBigEndian
        )
    return header


def sop_class(header: Dataset) -> str | None:
    """Return the SOP Class UID, or that of the file meta information where it was stripped."""
    meta = getattr(header, "file_meta", None)
    return text(header, "SOPClassUID") or (
        text(meta, "MediaStorageSOPClassUID") if meta is not None else None
    )


def transfer_syntax(header: Dataset) -> str:
    """Return the Transfer Syntax UID, as stated or as found by the parser."""
    return text(header.file_meta, "TransferSyntaxUID") or ""


def texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the non-empty values of an attribute as text, without padding."""
    try:
        plain = _plain_texts(header, keyword)
        if plain is not None:
            return plain
        value = header.get(keyword)
    except PARSER_ERRORS:
        return ()
    if value is None:
        return ()
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    stripped = (str(one).strip(" \x00") for one in values)
    return tuple(one for one in stripped if one)


_PLAIN_TEXT_VRS: Final = frozenset({"AS", "CS", "DA", "DS", "IS", "TM", "UI"})
"""Values of these are ASCII whatever the character set (PS3.5 6.2)."""


_REPEATED_VRS: Final = frozenset({"CS", "DS", "IS", "US"})
"""Numbers and codes; nothing that could name a person is kept from one call to the next."""

_REPEATED_VALUES_KEPT: Final = 4096

_NAME_VRS: Final = frozenset({"LO", "SH"})


def _is_plain_name(vr: str, value: bytes) -> bool:
    """Tell whether a name is one value of characters that are the same in every character set."""
    return (
        vr in _NAME_VRS
        and value.isascii()
        and not any(one in value for one in (b"\x1b", b"\\", b"~"))
    )


@cache
def _tag_and_vr(keyword: str) -> tuple[BaseTag, str]:
    tag = Tag(keyword)
    return tag, dictionary_VR(tag)


def _plain_texts(header: Dataset, keyword: str) -> tuple[str, ...] | None:
    """Read a value that pydicom has not converted yet, ten times as fast as it would.

    None where it has, or where the value is not plain text; most of reading a header is this.
    """
    tag, vr = _tag_and_vr(keyword)
    element: object = header.get_item(tag)
    if element is None:
        return ()
    if not isinstance(element, RawDataElement):
        return None
    vr = element.VR or vr
    value = element.value
    if not value:
        return ()
    if vr in _REPEATED_VRS:
        return _repeated_texts(vr, value, is_little_endian=element.is_little_endian)
    if vr not in _PLAIN_TEXT_VRS and not _is_plain_name(vr, value):
        return None
    return _split(value)


@lru_cache(maxsize=_REPEATED_VALUES_KEPT)
def _repeated_texts(vr: str, value: bytes, *, is_little_endian: bool) -> tuple[str, ...]:
    """Read a value that most slices of a series share; it is converted once and not 300 times."""
    if vr == "US":
        order = "<" if is_little_endian else ">"
        return tuple(str(one) for (one,) in struct.iter_unpack(f"{order}H", value))
    return _split(value)


def _split(value: bytes) -> tuple[str, ...]:
    stripped = (one.strip(" \x00") for one in value.decode("ascii").split("\\"))
    return tuple(one for one in stripped if one)


def has_items(header: Dataset, keyword: str) -> bool:
    """Tell whether a sequence is there and not empty."""
    try:
        return bool(header.get(keyword))
    except PARSER_ERRORS:
        return False


def text(header: Dataset, keyword: str) -> str | None:
    """Return the first value of an attribute as text; None if there is none."""
    return next(iter(texts(header, keyword)), None)


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return exactly ``count`` finite values of an attribute; None if that is not what it has."""
    values = _finite(texts(header, keyword))
    return None if values is None or len(values) != count else values


@lru_cache(maxsize=_REPEATED_VALUES_KEPT)
def _finite(values: tuple[str, ...]) -> tuple[float, ...] | None:
    try:
        numbers = tuple(map(float, values))
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def number(header: Dataset, keyword: str) -> float | None:
    """Return the one finite value of an attribute, or None."""
    values = numbers(header, keyword, 1)
    return None if values is None else values[0]
