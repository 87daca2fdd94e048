"""Series that nobody sends by accident, each with what may come of it.

An attack is a folder of DICOM files: nine sound slices of 64 x 64 pixels of which one, or all, were
changed, mostly byte by byte.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from calcium_scoring.dicom.write_series import write_ct_series
from tests.series_builders import noise_volume, write_enhanced, write_series

SLICES: Final = 9
MIB: Final = 1024 * 1024

Files = dict[str, bytes]
Build = Callable[[], Files]

SCORED: Final = "scored"

LEFT_OUT: Final = frozenset({"irregular_geometry"})
"""One file of the series is unreadable: a slice in the middle is then missing."""

NOTHING_LEFT: Final = frozenset({"no_dicom_found", "no_ct_series"})
"""Every file of the series is unreadable."""

PIXELS: Final = frozenset({"unreadable_pixels"})
GEOMETRY: Final = frozenset({"invalid_geometry"})
INCONSISTENT: Final = frozenset({"inconsistent_series"})
RESCALE: Final = frozenset({"missing_rescale"})
UNSUPPORTED: Final = frozenset({"unsupported_image_type"})
UNCHANGED: Final = frozenset({SCORED})

_PIXEL_DATA: Final = b"\xe0\x7f\x10\x00OW\x00\x00"
_ITEM: Final = b"\xfe\xff\x00\xe0"
_ITEM_END: Final = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00"
_SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_UNDEFINED: Final = b"\xff\xff\xff\xff"


@dataclass(frozen=True)
class DicomAttack:
    """A series and what may come of it: codes of refusals, or ``SCORED``."""

    name: str
    build: Build
    outcomes: frozenset[str]


@cache
def sound_slices() -> tuple[bytes, ...]:
    """Return the files of the series that is attacked."""
    with tempfile.TemporaryDirectory() as folder:
        return tuple(path.read_bytes() for path in write_series(Path(folder), noise_volume(SLICES)))


def as_files(slices: Iterable[bytes]) -> Files:
    """Name slices as an export does."""
    return {f"{number:06d}.dcm": content for number, content in enumerate(slices, start=1)}


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return an element in explicit VR little endian; ``length`` may be a lie."""
    size = len(value) if length is None else length
    if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR", b"OF", b"OD"}:
        return struct.pack("<HH2sHI", group, number, vr, 0, size) + value
    return struct.pack("<HH2sH", group, number, vr, size & 0xFFFF) + value


def inserted(raw: bytes, slices: Iterable[int] = range(SLICES)) -> Build:
    """Put bytes in front of the pixel data of these slices."""
    chosen = frozenset(slices)

    def build() -> Files:
        return as_files(
            _before_pixels(content, raw) if index in chosen else content
            for index, content in enumerate(sound_slices())
        )

    return build


def _before_pixels(content: bytes, raw: bytes) -> bytes:
    at = content.index(_PIXEL_DATA)
    return content[:at] + raw + content[at:]


def edited(
    change: Callable[[Dataset, int], object], slices: Iterable[int] = range(SLICES)
) -> Build:
    """Change data sets of these slices, and write them without any check."""
    chosen = frozenset(slices)

    def build() -> Files:
        return as_files(
            _edited(content, change, index) if index in chosen else content
            for index, content in enumerate(sound_slices())
        )

    return build


def _edited(content: bytes, change: Callable[[Dataset, int], object], index: int) -> bytes:
    instance = dcmread(BytesIO(content))
    change(instance, index)
    out = BytesIO()
    instance.save_as(out, enforce_file_format=True)
    return out.getvalue()


def raw_value(
    group: int, number: int, vr: bytes, value: bytes, slices: Iterable[int] = range(SLICES)
) -> Build:
    """Replace the value of an element, whatever its VR allows."""
    chosen = frozenset(slices)
    tag = struct.pack("<HH", group, number)

    def replaced(content: bytes) -> bytes:
        padded = value + b" " * (len(value) % 2)
        new = element(group, number, vr, padded)
        at = content.find(tag + vr)
        if at < 0:
            return _before_pixels(content, new)
        (length,) = struct.unpack_from("<H", content, at + 6)
        return content[:at] + new + content[at + 8 + length :]

    def build() -> Files:
        return as_files(
            replaced(content) if index in chosen else content
            for index, content in enumerate(sound_slices())
        )

    return build


def nested(depth: int, *, is_defined: bool = False, vr: bytes = b"SQ") -> bytes:
    """Return a sequence in a sequence in a sequence."""
    tag = struct.pack("<HH", 0x0040, 0xA730)  # Content Sequence
    if is_defined:
        inner = b""
        for _ in range(depth):
            item = _ITEM + struct.pack("<I", len(inner)) + inner
            inner = tag + vr + b"\x00\x00" + struct.pack("<I", len(item)) + item
        return inner
    head = tag + vr + b"\x00\x00" + _UNDEFINED + _ITEM + _UNDEFINED
    return head * depth + (_ITEM_END + _SEQUENCE_END) * depth


def _nested_implicit() -> Files:
    """The same without VRs: the dictionary says what a sequence is."""
    head = struct.pack("<HH", 0x0040, 0xA730) + _UNDEFINED + _ITEM + _UNDEFINED
    raw = head * 500 + (_ITEM_END + _SEQUENCE_END) * 500
    with tempfile.TemporaryDirectory() as folder:
        paths = write_ct_series(
            noise_volume(SLICES), Path(folder), seed=1, transfer_syntax_uid=ImplicitVRLittleEndian
        )
        contents = [path.read_bytes() for path in paths]
    pixels = b"\xe0\x7f\x10\x00"
    return as_files(
        content[: content.rindex(pixels, 0, 4000)]
        + raw
        + content[content.rindex(pixels, 0, 4000) :]
        for content in contents
    )


def _deflated_slice(content: bytes, extra: bytes, *, cut: bool = False) -> bytes:
    """Write a slice in the deflated syntax with more elements in front of its pixels."""
    out = BytesIO()
    instance = dcmread(BytesIO(content))
    instance.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    instance.save_as(out, enforce_file_format=True)
    plain = BytesIO()
    dcmread(BytesIO(content)).save_as(plain, enforce_file_format=True)
    meta_end = 144 + struct.unpack_from("<I", out.getvalue(), 140)[0]
    plain_end = 144 + struct.unpack_from("<I", plain.getvalue(), 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(_before_pixels(plain.getvalue()[plain_end:], extra)) + packer.flush()
    return out.getvalue()[:meta_end] + (body[: len(body) // 2] if cut else body)


def _deflated_pixels(size: int) -> Build:
    """Deflate pixel data of this size, of one slice of 64 x 64."""

    def build() -> Files:
        slices = list(sound_slices())
        at = slices[4].index(_PIXEL_DATA)
        longer = slices[4][: at + 8] + struct.pack("<I", size) + bytes(size)
        slices[4] = _deflated_slice(longer, b"")
        return as_files(slices)

    return build


def _deflate_bomb(size: int) -> Build:
    def build() -> Files:
        bomb = element(0x0009, 0x1001, b"OB", bytes(size))
        slices = list(sound_slices())
        slices[4] = _deflated_slice(slices[4], bomb)
        return as_files(slices)

    return build


def _deflated_cut() -> Files:
    slices = list(sound_slices())
    slices[4] = _deflated_slice(slices[4], b"", cut=True)
    return as_files(slices)


def _pixel_length(length: int, *, keep: int = 10) -> Build:
    """Claim this length of pixel data, and keep so many bytes of it."""

    def build() -> Files:
        changed = []
        for content in sound_slices():
            at = content.index(_PIXEL_DATA)
            start = content[: at + 8]
            changed.append(start + struct.pack("<I", length) + content[at + 12 : at + 12 + keep])
        return as_files(changed)

    return build


def _compressed(codestream: bytes, syntax: str, **attributes: object) -> Build:
    def change(instance: Dataset, _: int) -> None:
        for keyword, value in attributes.items():
            setattr(instance, keyword, value)
        instance.file_meta.TransferSyntaxUID = UID(syntax)
        instance.PixelData = encapsulate([codestream])
        instance["PixelData"].is_undefined_length = True
        instance["PixelData"].VR = "OB"

    return edited(change)


def j2k_header(
    columns: int, rows: int, *, tile: int | None = None, components: int = 1, levels: int = 5
) -> bytes:
    """Return the main header of a JPEG 2000 codestream and an empty tile (ITU-T T.800)."""
    size = struct.pack(
        ">H8I",
        *(0, columns, rows, 0, 0),
        *(tile or columns, tile or rows, 0, 0),
    ) + struct.pack(">H", components)
    siz = size + b"\x0f\x01\x01" * components
    cod = b"\x00" + struct.pack(">BHB", 0, 1, 0) + bytes([levels, 4, 4, 0, 1])
    qcd = b"\x40" + bytes([0x40] * (3 * levels + 1))
    return (
        b"\xff\x4f\xff\x51"
        + struct.pack(">H", len(siz) + 2)
        + siz
        + b"\xff\x52"
        + struct.pack(">H", len(cod) + 2)
        + cod
        + b"\xff\x5c"
        + struct.pack(">H", len(qcd) + 2)
        + qcd
        + b"\xff\x90\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x01\xff\x93"
        + b"\x00" * 16
        + b"\xff\xd9"
    )


def jpeg_header(rows: int, columns: int, *, marker: int = 0xC3, components: int = 1) -> bytes:
    """Return a JPEG or JPEG-LS stream that is all frame header (ITU-T T.81, T.87)."""
    parts = b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    frame = struct.pack(">BHHB", 16, rows, columns, components) + parts
    scan = (
        bytes([components])
        + b"".join(bytes([n + 1, 0]) for n in range(components))
        + b"\x01\x00\x00"
    )
    return (
        b"\xff\xd8\xff"
        + bytes([marker])
        + struct.pack(">H", len(frame) + 2)
        + frame
        + b"\xff\xda"
        + struct.pack(">H", len(scan) + 2)
        + scan
        + b"\x00" * 64
        + b"\xff\xd9"
    )


def _two_frame_headers() -> bytes:
    honest = jpeg_header(64, 64)
    at = honest.index(b"\xff\xda")
    lying = jpeg_header(65000, 65000)
    return honest[:at] + lying[2 : lying.index(b"\xff\xda")] + honest[at:]


def _rle(segments: int, offsets: Iterable[int], data: bytes) -> bytes:
    header = struct.pack("<I", segments) + b"".join(struct.pack("<I", one) for one in offsets)
    return header.ljust(64, b"\x00") + data


def _with_preamble(preamble: bytes) -> Build:
    return lambda: as_files(preamble.ljust(128, b"\x00") + one[128:] for one in sound_slices())


def _enhanced(change: Callable[[Dataset], object]) -> Build:
    def build() -> Files:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            singles = write_series(folder / "singles", noise_volume(SLICES))
            path = write_enhanced(folder / "enhanced.dcm", singles, change=change)
            return {"enhanced.dcm": path.read_bytes()}

    return build


def _many_frames(enhanced: Dataset) -> None:
    enhanced.NumberOfFrames = 20_000
    groups = list(enhanced.PerFrameFunctionalGroupsSequence)
    enhanced.PerFrameFunctionalGroupsSequence = (groups * (20_000 // SLICES + 1))[:20_000]


def _endless_fragments(instance: Dataset, _: int) -> None:
    instance.file_meta.TransferSyntaxUID = RLELossless
    instance.PixelData = _ITEM + b"\x00" * 4 + _ITEM + b"\xf0\xff\xff\xff"


def _many_elements(count: int) -> Build:
    """A header of millions of empty private elements: 8 bytes each in the file, 300 in memory."""
    raw = b"".join(
        struct.pack("<HH2sH", 0x0011 + 2 * (n >> 16), n & 0xFFFF, b"LO", 0) for n in range(count)
    )
    return inserted(raw, [4])


def _many_public_elements(count: int) -> Build:
    raw = b"".join(
        struct.pack("<HH2sH", 0x5000 + 2 * (n >> 16), n & 0xFFFF, b"LO", 0) for n in range(count)
    )
    return inserted(raw)


def _many_items(count: int) -> Build:
    """A sequence of millions of empty items."""
    items = (_ITEM + b"\x00\x00\x00\x00") * count
    return inserted(element(0x0018, 0x0012, b"SQ", items), [4])


def _volume_of(rows: int, columns: int, count: int) -> Build:
    """Claim a volume of many GB with run lengths that are nearly nothing."""

    def build() -> Files:
        first = dcmread(BytesIO(sound_slices()[0]))
        first.Rows, first.Columns = rows, columns
        first.PixelSpacing = [0.2, 0.2]
        first.file_meta.TransferSyntaxUID = RLELossless
        first.PixelData = encapsulate([_rle(2, (64, 70), b"\x81\x00" * 8)])
        first["PixelData"].is_undefined_length = True
        first["PixelData"].VR = "OB"
        files = {}
        for number in range(count):
            first.SOPInstanceUID = f"1.2.3.{number + 1}"
            first.ImagePositionPatient = [0, 0, number]
            out = BytesIO()
            first.save_as(out, enforce_file_format=True)
            files[f"{number:06d}.dcm"] = out.getvalue()
        return files

    return build


def _dicomdir() -> Files:
    directory = dcmread(BytesIO(sound_slices()[0]))
    directory.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    record = Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.ReferencedFileID = ["..", "..", "..", "ETC", "PASSWD"]
    directory.DirectoryRecordSequence = [record]
    out = BytesIO()
    directory.save_as(out, enforce_file_format=True)
    return {**as_files(sound_slices()), "DICOMDIR": out.getvalue()}


def _of_another(keyword: str, value: str) -> Build:
    """Three slices in the middle belong to somebody or something else."""
    return edited(lambda instance, _: setattr(instance, keyword, value), range(3, 6))


def _every(keyword: str, value: object) -> Build:
    return edited(lambda instance, _: setattr(instance, keyword, value))


def _syntax(uid: str) -> Build:
    """Name another transfer syntax than the one the file is written in."""

    def build() -> Files:
        changed = []
        for content in sound_slices():
            meta_end = 144 + struct.unpack_from("<I", content, 140)[0]
            instance = dcmread(BytesIO(content))
            instance.file_meta.TransferSyntaxUID = UID(uid)
            out = BytesIO()
            out.write(bytes(128) + b"DICM")
            meta = DicomBytesIO()
            meta.is_little_endian, meta.is_implicit_VR = True, False
            write_file_meta_info(meta, instance.file_meta, enforce_standard=True)
            out.write(meta.getvalue())
            out.write(content[meta_end:])
            changed.append(out.getvalue())
        return as_files(changed)

    return build


def _ds(group: int, number: int, value: bytes, slices: Iterable[int] = range(SLICES)) -> Build:
    return raw_value(group, number, b"DS", value, slices)


_PIXEL_SPACING = (0x0028, 0x0030)
_SLOPE, _INTERCEPT = (0x0028, 0x1053), (0x0028, 0x1052)
_ORIENTATION, _POSITION = (0x0020, 0x0037), (0x0020, 0x0032)
_SERIES_UID, _INSTANCE_UID = (0x0020, 0x000E), (0x0008, 0x0018)
_STUDY_UID, _FRAME_UID = (0x0020, 0x000D), (0x0020, 0x0052)
_CHARSET, _NAME = (0x0008, 0x0005), (0x0010, 0x0010)
_DESCRIPTION = (0x0008, 0x103E)


def _us(group: int, number: int, value: int) -> Build:
    return raw_value(group, number, b"US", struct.pack("<H", value))


DICOM_ATTACKS: Final = (
    # Depth and size of the header.
    DicomAttack("200 nested sequences", inserted(nested(200), [4]), LEFT_OUT),
    DicomAttack("20,000 nested sequences in every slice", inserted(nested(20_000)), NOTHING_LEFT),
    DicomAttack("300 nested sequences of known length", inserted(nested(300, is_defined=True), [4]), LEFT_OUT),
    DicomAttack("300 nested sequences hidden as UN", inserted(nested(300, vr=b"UN"), [4]), LEFT_OUT),
    DicomAttack("500 nested sequences without VR", _nested_implicit, NOTHING_LEFT),
    DicomAttack("17 nested sequences", inserted(nested(17), [4]), LEFT_OUT),
    DicomAttack("16 nested sequences", inserted(nested(16)), UNCHANGED),
    DicomAttack("a sequence without end", inserted(nested(3)[:60], [4]), LEFT_OUT),
    DicomAttack("4 million private elements", _many_elements(4_000_000), LEFT_OUT),
    DicomAttack("200,000 elements in every slice", _many_public_elements(200_000), NOTHING_LEFT),
    DicomAttack("4 million empty items", _many_items(4_000_000), LEFT_OUT),
    DicomAttack("comments of 60 MiB in one slice", inserted(element(0x0020, 0x4000, b"UT", b"x" * (60 * MIB)), [4]), LEFT_OUT),
    DicomAttack("private element of 20 MiB in every slice", inserted(element(0x0009, 0x1001, b"OB", bytes(20 * MIB))), NOTHING_LEFT),
    # Deflate.
    DicomAttack("deflate bomb of 300 MiB", _deflate_bomb(300 * MIB), LEFT_OUT),
    DicomAttack("deflate bomb of 250 MiB", _deflate_bomb(250 * MIB), LEFT_OUT),
    DicomAttack("deflate bomb of 60 MiB", _deflate_bomb(60 * MIB), LEFT_OUT),
    DicomAttack("deflated pixels of 250 MiB", _deflated_pixels(250 * MIB), LEFT_OUT),
    DicomAttack("deflated data set cut", _deflated_cut, LEFT_OUT),
    DicomAttack("deflate named, none done", _syntax(DeflatedExplicitVRLittleEndian), NOTHING_LEFT),
    # Lengths.
    DicomAttack("pixel data of 4 GB claimed, 10 bytes there", _pixel_length(0xFFFFFFFE), PIXELS),
    DicomAttack("pixel data of undefined length", _pixel_length(0xFFFFFFFF, keep=8192), PIXELS),
    DicomAttack("pixel data of length 0", _pixel_length(0, keep=0), PIXELS),
    DicomAttack("pixel data cut by 2 bytes", _pixel_length(8192, keep=8190), PIXELS),
    DicomAttack("pixel data of odd length", _pixel_length(8191, keep=8191), PIXELS),
    DicomAttack("element of 4 GB claimed in the header", inserted(element(0x0009, 0x1001, b"OB", b"x" * 10, 0xFFFFFFF0), [4]), PIXELS | LEFT_OUT),
    DicomAttack("element longer than the file", inserted(element(0x0018, 0x1030, b"LO", b"x" * 10, 0xFFFE), [4]), PIXELS | LEFT_OUT),
    DicomAttack("text element of undefined length", inserted(element(0x0020, 0x4000, b"UT", b"x" * 10, 0xFFFFFFFF), [4]), LEFT_OUT),
    DicomAttack("item longer than its sequence", inserted(element(0x0018, 0x0012, b"SQ", _ITEM + struct.pack("<I", 0xFFFFFFF0)), [4]), LEFT_OUT | {"contrast_enhanced"}),
    DicomAttack("VR that is none", inserted(element(0x0018, 0x1030, b"\x00\x01", b"x" * 10), [4]), PIXELS | LEFT_OUT),
    DicomAttack("length of the meta information is a lie", lambda: as_files(one[:140] + b"\xff\xff\xff\x7f" + one[144:] for one in sound_slices()), UNCHANGED | NOTHING_LEFT),
    DicomAttack("file ends in the mark", lambda: {**as_files(sound_slices()), "x.dcm": bytes(128) + b"DICM"}, UNCHANGED),
    DicomAttack("file ends in the header", lambda: as_files(one[:600] for one in sound_slices()), NOTHING_LEFT),
    # Transfer syntaxes.
    DicomAttack("big endian named, little written", _syntax(ExplicitVRBigEndian), NOTHING_LEFT),
    DicomAttack("implicit named, explicit written", _syntax(ImplicitVRLittleEndian), UNCHANGED | NOTHING_LEFT),
    DicomAttack("JPEG 2000 named, none done", _syntax(JPEG2000Lossless), PIXELS),
    DicomAttack("unknown transfer syntax", _syntax("1.2.3.4.5"), PIXELS),
    DicomAttack("transfer syntax that is a path", _syntax("../../etc/passwd"), PIXELS),
    # Codestreams.
    DicomAttack("JPEG 2000 of 30,000 x 30,000", _compressed(j2k_header(30000, 30000), JPEG2000Lossless), PIXELS),
    DicomAttack("JPEG 2000 of 2^32 x 2^32", _compressed(j2k_header(0xFFFFFFFF, 0xFFFFFFFF), JPEG2000Lossless), PIXELS),
    DicomAttack("JPEG 2000 in tiles of one pixel", _compressed(j2k_header(64, 64, tile=1), JPEG2000Lossless), PIXELS | UNCHANGED),
    DicomAttack("JPEG 2000 of 16,384 components", _compressed(j2k_header(64, 64, components=16_384), JPEG2000Lossless), PIXELS),
    DicomAttack("JPEG 2000 of 32 levels", _compressed(j2k_header(64, 64, levels=32), JPEG2000Lossless), PIXELS | UNCHANGED),
    DicomAttack("JPEG 2000 without data", _compressed(j2k_header(64, 64), JPEG2000Lossless), PIXELS | UNCHANGED),
    DicomAttack("JPEG 2000 cut in its header", _compressed(j2k_header(64, 64)[:20], JPEG2000Lossless), PIXELS),
    DicomAttack("JPEG of 65,000 x 65,000", _compressed(jpeg_header(65000, 65000), JPEGLosslessSV1), PIXELS),
    DicomAttack("JPEG with a second, larger frame header", _compressed(_two_frame_headers(), JPEGLosslessSV1), PIXELS),
    DicomAttack("JPEG of 255 components", _compressed(jpeg_header(64, 64, components=255), JPEGLosslessSV1), PIXELS),
    DicomAttack("JPEG without tables", _compressed(jpeg_header(64, 64), JPEGLosslessSV1), PIXELS),
    DicomAttack("JPEG of fill bytes", _compressed(b"\xff\xd8" + b"\xff" * 100_000, JPEGLosslessSV1), PIXELS),
    DicomAttack("JPEG of empty segments", _compressed(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 2000, JPEGLosslessSV1), PIXELS),
    DicomAttack("JPEG-LS of 65,000 x 65,000", _compressed(jpeg_header(65000, 65000, marker=0xF7), JPEGLSLossless), PIXELS),
    DicomAttack("JPEG-LS damaged", _compressed(jpeg_header(64, 64, marker=0xF7), JPEGLSLossless), PIXELS),
    DicomAttack("RLE of 15 segments", _compressed(_rle(15, range(64, 64 + 15 * 8, 8), b"\x81\x00" * 60), RLELossless), PIXELS),
    DicomAttack("RLE of 2^32 segments", _compressed(_rle(0xFFFFFFFF, (), b"\x81\x00" * 60), RLELossless), PIXELS),
    DicomAttack("RLE with offsets beyond its end", _compressed(_rle(2, (0xFFFFFF00, 0xFFFFFFF0), b""), RLELossless), PIXELS),
    DicomAttack("RLE that inflates without end", _compressed(_rle(2, (64, 66), b"\x81\x00" * 8000), RLELossless), PIXELS),
    DicomAttack("fragments without end", edited(_endless_fragments), PIXELS | LEFT_OUT),
    # Sizes of the image.
    DicomAttack("0 rows", _us(0x0028, 0x0010, 0), GEOMETRY),
    DicomAttack("65,535 rows", _us(0x0028, 0x0010, 65535), GEOMETRY),
    DicomAttack("8 columns", _us(0x0028, 0x0011, 8), GEOMETRY),
    DicomAttack("2,048 rows of 64 sent", _us(0x0028, 0x0010, 2048), PIXELS),
    DicomAttack("1 bit a pixel", _us(0x0028, 0x0100, 1), PIXELS),
    DicomAttack("64 bits a pixel", _us(0x0028, 0x0100, 64), PIXELS),
    DicomAttack("0 bits stored", _us(0x0028, 0x0101, 0), PIXELS),
    DicomAttack("high bit 99", _us(0x0028, 0x0102, 99), PIXELS),
    DicomAttack("pixel representation 7", _us(0x0028, 0x0103, 7), PIXELS),
    DicomAttack("3 samples a pixel", _us(0x0028, 0x0002, 3), UNSUPPORTED),
    DicomAttack("65,535 samples a pixel", _us(0x0028, 0x0002, 65535), UNSUPPORTED),
    DicomAttack("inverted", raw_value(0x0028, 0x0004, b"CS", b"MONOCHROME1"), UNSUPPORTED),
    DicomAttack("10^9 frames", raw_value(0x0028, 0x0008, b"IS", b"999999999"), UNSUPPORTED),
    DicomAttack("-1 frames", raw_value(0x0028, 0x0008, b"IS", b"-1"), UNSUPPORTED),
    DicomAttack("volume of 16 GB in 2 MB", _volume_of(2048, 2048, 1000), frozenset({"series_too_large"})),
    DicomAttack("Enhanced CT of 10^6 frames, 9 described", _enhanced(lambda one: setattr(one, "NumberOfFrames", 1_000_000)), frozenset({"no_ct_series"})),
    DicomAttack("Enhanced CT of -1 frames", _enhanced(lambda one: setattr(one, "NumberOfFrames", -1)), frozenset({"no_ct_series"})),
    DicomAttack("Enhanced CT without groups", _enhanced(lambda one: delattr(one, "PerFrameFunctionalGroupsSequence")), frozenset({"no_ct_series"})),
    DicomAttack("Enhanced CT of 20,000 frames of nothing", _enhanced(_many_frames), frozenset({"no_ct_series", "series_too_large", "duplicate_positions", "unreadable_pixels"})),
    # Numbers.
    DicomAttack("pixel spacing NaN", _ds(*_PIXEL_SPACING, b"NaN\\NaN"), GEOMETRY),
    DicomAttack("pixel spacing Inf", _ds(*_PIXEL_SPACING, b"inf\\inf"), GEOMETRY),
    DicomAttack("pixel spacing 0", _ds(*_PIXEL_SPACING, b"0\\0"), GEOMETRY),
    DicomAttack("pixel spacing negative", _ds(*_PIXEL_SPACING, b"-0.5\\0.5"), GEOMETRY),
    DicomAttack("pixel spacing 1e308", _ds(*_PIXEL_SPACING, b"1e308\\1e308"), GEOMETRY),
    DicomAttack("pixel spacing a word", _ds(*_PIXEL_SPACING, b"half\\half"), GEOMETRY),
    DicomAttack("pixel spacing of 30,000 digits", _ds(*_PIXEL_SPACING, b"1" * 30_000), GEOMETRY),
    DicomAttack("slope NaN", _ds(*_SLOPE, b"NaN"), RESCALE),
    DicomAttack("slope Inf", _ds(*_SLOPE, b"inf"), RESCALE),
    DicomAttack("slope 0", _ds(*_SLOPE, b"0"), RESCALE),
    DicomAttack("slope 1e38", _ds(*_SLOPE, b"1e38"), RESCALE),
    DicomAttack("slope NaN in one slice", _ds(*_SLOPE, b"NaN", [7]), RESCALE),
    DicomAttack("intercept NaN", _ds(*_INTERCEPT, b"NaN"), RESCALE),
    DicomAttack("intercept -1e30", _ds(*_INTERCEPT, b"-1e30"), RESCALE),
    DicomAttack("orientation NaN", _ds(*_ORIENTATION, b"NaN\\0\\0\\0\\NaN\\0"), GEOMETRY),
    DicomAttack("orientation zero", _ds(*_ORIENTATION, b"0\\0\\0\\0\\0\\0"), GEOMETRY),
    DicomAttack("orientation of parallel axes", _ds(*_ORIENTATION, b"1\\0\\0\\1\\0\\0"), GEOMETRY),
    DicomAttack("orientation of long axes", _ds(*_ORIENTATION, b"5\\0\\0\\0\\5\\0"), GEOMETRY),
    DicomAttack("position NaN", _ds(*_POSITION, b"0\\0\\NaN", [3]), GEOMETRY),
    DicomAttack("position Inf", _ds(*_POSITION, b"0\\0\\1e400", [3]), GEOMETRY),
    DicomAttack("position 1e300", _ds(*_POSITION, b"0\\0\\1e300", [3]), frozenset({"irregular_geometry", "invalid_geometry", "gantry_tilt"})),
    DicomAttack("position of two numbers", _ds(*_POSITION, b"0\\0", [3]), GEOMETRY),
    DicomAttack("kVp Inf, thickness NaN", lambda: _merge(_ds(0x0018, 0x0060, b"inf"), (0x0018, 0x0050), b"NaN"), UNCHANGED),
    # Preambles that are programs.
    DicomAttack("preamble is a Windows program", _with_preamble(b"MZ\x90\x00" + b"\x00" * 56 + b"\x80\x00\x00\x00"), UNCHANGED),
    DicomAttack("preamble is a Linux program", _with_preamble(b"\x7fELF\x02\x01\x01"), UNCHANGED),
    DicomAttack("preamble is a shell script", _with_preamble(b"#!/bin/sh\nrm -rf /tmp/x\nexit\n"), UNCHANGED),
    DicomAttack("preamble is a page", _with_preamble(b"<html><script>alert(1)</script>"), UNCHANGED),
    DicomAttack("preamble is a PDF", _with_preamble(b"%PDF-1.7\n"), UNCHANGED),
    DicomAttack("preamble is a zip", _with_preamble(b"PK\x03\x04"), UNCHANGED),
    # Character sets.
    DicomAttack("unknown character set", raw_value(*_CHARSET, b"CS", b"ISO_IR 9999"), UNCHANGED),
    DicomAttack("character set that is a path", raw_value(*_CHARSET, b"CS", b"../../../dev/zero"), UNCHANGED),
    DicomAttack("character set that is a codec of Python", raw_value(*_CHARSET, b"CS", b"rot13\\zlib\\idna\\punycode"), UNCHANGED),
    DicomAttack("10,000 character sets", raw_value(*_CHARSET, b"CS", b"\\".join([b"ISO 2022 IR 87"] * 4000)), UNCHANGED),
    DicomAttack("name of 60,000 escapes", lambda: _merge(raw_value(*_CHARSET, b"CS", b"\\ISO 2022 IR 87\\ISO 2022 IR 159"), _NAME, b"\x1b$B" * 20_000, b"PN"), UNCHANGED),
    DicomAttack("name that is no UTF-8", raw_value(*_NAME, b"PN", b"\xff\xfe\xc0\x80^\xed\xa0\x80"), UNCHANGED),
    DicomAttack("name of 60,000 bytes", raw_value(*_NAME, b"PN", b"A^" * 30_000), UNCHANGED),
    DicomAttack("name of control characters", raw_value(*_NAME, b"PN", b"\x00\x07\x1b[31m\r\nSet-Cookie: a=b\r\n"), UNCHANGED),
    DicomAttack("description is markup", raw_value(*_DESCRIPTION, b"LO", b"<script>alert(1)</script>${jndi:ldap://x}{{7*7}}"), UNCHANGED),
    DicomAttack("description of 60,000 spaces and words", raw_value(*_DESCRIPTION, b"LO", (b"no " + b"-" * 500) * 120), UNCHANGED),
    DicomAttack("30,000 image types", raw_value(0x0008, 0x0008, b"CS", b"\\".join([b"A"] * 30_000)), UNCHANGED),
    # UIDs.
    DicomAttack("series UID that is a path", raw_value(*_SERIES_UID, b"UI", b"../../../../tmp/pwned"), UNCHANGED),
    DicomAttack("study UID that is a path", raw_value(*_STUDY_UID, b"UI", b"1.2/../../3"), UNCHANGED),
    DicomAttack("instance UIDs that are paths", raw_value(*_INSTANCE_UID, b"UI", b"/dev/null"), UNCHANGED),
    DicomAttack("frame of reference UID with a NUL within", raw_value(*_FRAME_UID, b"UI", b"1.2\x00.3"), UNCHANGED),
    DicomAttack("series UID of 10,000 digits", raw_value(*_SERIES_UID, b"UI", b"1." + b"9" * 10_000), UNCHANGED),
    DicomAttack("series UID of other bytes than ASCII", raw_value(*_SERIES_UID, b"UI", b"1.2.\xef\xbc\x93"), UNCHANGED),
    DicomAttack("all slices have one instance UID", raw_value(*_INSTANCE_UID, b"UI", b"1.2.3"), UNCHANGED),
    # Whose slices these are.
    DicomAttack("two patients", _of_another("PatientID", "SOMEBODY"), INCONSISTENT),
    DicomAttack("two studies", _of_another("StudyInstanceUID", "1.2.3"), INCONSISTENT),
    DicomAttack("two frames of reference", _of_another("FrameOfReferenceUID", "1.2.3"), INCONSISTENT),
    DicomAttack("two modalities", _of_another("Modality", "MR"), frozenset({"irregular_geometry", "too_few_slices"})),
    DicomAttack("two series", _of_another("SeriesInstanceUID", "1.2.3"), frozenset({"too_few_slices"})),
    DicomAttack("a directory that points out of the archive", _dicomdir, UNCHANGED),
    DicomAttack("SOP class of a program", _every("SOPClassUID", "1.2.840.10008.5.1.4.1.1.104.1"), frozenset({"no_ct_series"})),
    DicomAttack("Enhanced SOP class on single slices", _every("SOPClassUID", EnhancedCTImageStorage), frozenset({"no_ct_series"})),
    DicomAttack("padding value of 10 digits", raw_value(0x0028, 0x0120, b"IS", b"9999999999"), UNCHANGED | PIXELS),
)  # fmt: skip


def _merge(first: Build, tag: tuple[int, int], value: bytes, vr: bytes = b"DS") -> Files:
    """Change one more element of what another attack made."""
    padded = element(*tag, vr, value + b" " * (len(value) % 2))
    start = struct.pack("<HH", *tag) + vr
    merged = {}
    for name, content in first().items():
        at = content.find(start)
        (length,) = struct.unpack_from("<H", content, at + 6)
        merged[name] = content[:at] + padded + content[at + 8 + length :]
    return merged
