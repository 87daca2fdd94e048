"""Pixel data of one slice: decoded, checked against its header, and turned into HU.

A compressed codestream says its own size. It is read before anything is decoded: 144 bytes of
JPEG 2000 may claim 30,000 x 30,000 pixels and make a decoder take 4 GB.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    RLELossless,
)

from calcium_scoring.dicom.decoder_process import (
    DECODING_PLUGINS,
    DecoderProcess,
    DecodingFailed,
)
from calcium_scoring.dicom.headers import (
    PARSER_ERRORS,
    ImageFile,
    number,
    quiet_pydicom,
    text,
    transfer_syntax,
)
from calcium_scoring.errors import MissingRescale, UnreadablePixels, UnsupportedImageType
from calcium_scoring.volume.ct_volume import AIR_HU

StoredValues: TypeAlias = NDArray[np.integer]
HuValues: TypeAlias = NDArray[np.float32] | NDArray[np.int16]

LARGEST_SLOPE: Final = 100.0
LARGEST_INTERCEPT_HU: Final = 100_000.0
"""No CT scale steps or starts further: extended scales for metal reach 65,535 HU. Our choice."""

UNCOMPRESSED: Final = frozenset(
    {
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    }
)

LARGEST_EXPANSION: Final = 2
"""Compressed data may be this many times as long as uncompressed; noise makes it 1.1. Run lengths
carry no size of their own, so that this also bounds what they can inflate to. Our choice."""

_PIXEL_DATA_TAG: Final = (0x7FE0, 0x0010)
_PIXEL_DATA_VRS: Final = frozenset({b"OB", b"OW"})
_EXPLICIT_ELEMENT: Final = struct.Struct("<HH2sHI")
"""Tag, VR, two reserved bytes and length (PS3.5 7.1.2)."""

_IMPLICIT_ELEMENT_BYTES: Final = 8
_ENCAPSULATION_BYTES: Final = 4096
_J2K_START: Final = b"\xff\x4f\xff\x51"
_JPEG_START: Final = b"\xff\xd8"
_JPEG_FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81 table B.1), and SOF55 of JPEG-LS (T.87)."""

_JPEG_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_SCAN_OR_END: Final = frozenset({0xDA, 0xD9})

_HU_NAMES: Final = frozenset({"HU", "US"})
"""RescaleType: Hounsfield units, or unspecified as in most older files (PS3.3 C.11.1.1.2)."""


def is_uncompressed(image: ImageFile) -> bool:
    """Tell whether the pixels of an image lie in its file as they are."""
    return _uid(transfer_syntax(image.header)) in UNCOMPRESSED


class PixelReader:
    """Reads the pixels of images one by one; buffers and the last file are kept between them."""

    def __init__(self, decoder: DecoderProcess) -> None:
        self._decoder = decoder
        self._bytes = bytearray()
        self._scaled = np.empty(0, dtype=np.float64)
        self._last: tuple[Path, Dataset] | None = None

    def read_hu(self, image: ImageFile, hu: HuValues) -> None:
        """Decode one image into ``hu`` (row, column); padding and all below become ``AIR_HU``.

        ``hu`` is float32, or int16 if :func:`has_whole_hu` holds for the header.

        Raises
        ------
        UnsupportedImageType
            The image is in colour, inverted, or has several frames without saying where they lie.
        MissingRescale
            Stored values cannot be converted to HU.
        UnreadablePixels
            Pixel data is missing, has another length or size than the header says, uses an unknown
            compression, holds values that its header rules out, or is damaged.
        """
        slope, intercept = rescale(image.header)
        stored, is_padding = self._stored_values(image)
        if not _rescale_in_integers(stored, slope, intercept, hu):
            if hu.dtype == np.int16:
                raise UnreadablePixels(
                    f"A slice holds stored values up to {stored.max()}, more than the bits that "
                    "its header calls stored; send the file again."
                )
            if self._scaled.shape != stored.shape:
                self._scaled = np.empty(stored.shape, dtype=np.float64)
            np.multiply(stored, slope, out=self._scaled)
            np.add(self._scaled, intercept, out=hu, casting="same_kind")
            np.maximum(hu, np.float32(AIR_HU), out=hu)
        if is_padding is not None:
            hu[is_padding] = AIR_HU

    def _stored_values(self, image: ImageFile) -> tuple[StoredValues, NDArray[np.bool_] | None]:
        """Return the stored values (row, column) of an image and which of them are padding."""
        syntax = _uid(transfer_syntax(image.header))
        layout = Layout.of(image.header, frame_count=image.frame_count)
        if syntax in UNCOMPRESSED:
            raw = self._native_values(image, layout, is_little_endian=syntax.is_little_endian)
            # Compared before unused bits go: scanners write padding that needs more than
            # Bits Stored, and -2000 cut to 12 bits would come out as dense bone.
            is_padding = _is_padding(image.header, raw)
            return layout.without_unused_bits(raw), is_padding
        if syntax not in DECODING_PLUGINS:
            raise UnreadablePixels(
                "The pixel data uses a compression that is not read; RLE, JPEG, JPEG-LS and JPEG "
                "2000 are, and so is uncompressed data.",
            )
        _check_codestream_size(self._data(image), syntax, layout, image)
        try:
            stored = self._decoder.decode(
                image.path, (layout.rows, layout.columns), image.frame_index
            )
        except DecodingFailed as error:
            raise UnreadablePixels(
                "The compressed pixel data of a slice cannot be decoded; send the file again.",
                transfer_syntax_uid=str(syntax),
            ) from error
        return stored, _is_padding(image.header, stored)

    def _native_values(
        self, image: ImageFile, layout: Layout, *, is_little_endian: bool
    ) -> StoredValues:
        if self._read_in_place(image, layout, is_little_endian=is_little_endian):
            return layout.native_values(self._bytes, is_little_endian=is_little_endian)
        data = self._data(image)
        layout.check_length(len(data), image.frame_count)
        start = image.frame_index * layout.frame_bytes
        return layout.native_values(
            memoryview(data)[start : start + layout.frame_bytes], is_little_endian=is_little_endian
        )

    def _read_in_place(self, image: ImageFile, layout: Layout, *, is_little_endian: bool) -> bool:
        """Read one frame from where the parser met the pixel data; False if it is not there.

        Parsing the file again would take longer than all the rest.
        """
        if image.pixel_data_at is None:
            return False
        if len(self._bytes) != layout.frame_bytes:
            self._bytes = bytearray(layout.frame_bytes)
        order = "<" if is_little_endian else ">"
        try:
            with image.path.open("rb") as stream:
                stream.seek(image.pixel_data_at)
                head = stream.read(_EXPLICIT_ELEMENT.size)
                group, element, vr, _, length = struct.unpack(f"{order}HH2sHI", head)
                if vr not in _PIXEL_DATA_VRS:
                    group, element, length = struct.unpack_from(f"{order}HHI", head)
                    stream.seek(image.pixel_data_at + _IMPLICIT_ELEMENT_BYTES)
                if (group, element) != _PIXEL_DATA_TAG:
                    return False
                layout.check_length(length, image.frame_count)
                stream.seek(image.frame_index * layout.frame_bytes, os.SEEK_CUR)
                found = stream.readinto(self._bytes)
        except (OSError, struct.error):
            return False
        layout.check_length(found, 1)
        return True

    def _data(self, image: ImageFile) -> bytes:
        """Return all of a file's pixel data; that of the last file with many frames is kept."""
        if self._last is not None and self._last[0] == image.path:
            pixels = self._last[1]
        else:
            pixels = _read_pixels(image.path)
            self._last = (image.path, pixels) if image.frame_count > 1 else None
        data: bytes = pixels.PixelData
        return data


def has_whole_hu(header: Dataset, *, frame_count: int = 1) -> bool:
    """Tell whether all HU that this header allows are whole numbers of 16 bits.

    So is nearly all CT: a slope of 1, a whole intercept, and 12 bits stored.

    Raises
    ------
    UnsupportedImageType, MissingRescale, UnreadablePixels
        As :meth:`PixelReader.read_hu` does.
    """
    slope, intercept = rescale(header)
    layout = Layout.of(header, frame_count=frame_count)
    highest = 2 ** (layout.bits_stored - layout.is_signed) - 1
    limits = np.iinfo(np.int16)
    return (
        slope == 1.0
        and intercept.is_integer()
        and limits.min <= intercept
        and limits.min <= AIR_HU - intercept <= limits.max
        and max(highest, highest + intercept) <= limits.max
    )


def _rescale_in_integers(
    stored: StoredValues, slope: float, intercept: float, hu: HuValues
) -> bool:
    """Write ``stored`` + intercept, at least AIR_HU, into ``hu`` if 16 bits hold it all.

    The same values as in floating point, in a quarter of the time: nearly all CT has a slope of 1.
    """
    limits = np.iinfo(np.int16)
    if slope != 1.0 or not intercept.is_integer() or abs(intercept) > -limits.min:
        return False
    low, high = int(stored.min()), int(stored.max())
    lowest = int(AIR_HU - intercept)
    # What is below ``lowest`` is raised to it first, so that the sum cannot go below either.
    if min(low, lowest) < limits.min or max(high, high + intercept, lowest) > limits.max:
        return False
    # The buffer of the reader may be changed; what a decoder gave may not.
    is_ours = stored.dtype == np.int16 and stored.flags.writeable
    whole = stored if is_ours else stored.astype(np.int16)
    if low < lowest:
        np.maximum(whole, np.int16(lowest), out=whole)
    if hu.dtype == np.int16:
        np.add(whole, np.int16(intercept), out=hu)
        return True
    np.add(whole, np.int16(intercept), out=whole)
    np.copyto(hu, whole)
    return True


def read_hu(image: ImageFile, hu: HuValues, decoder: DecoderProcess) -> None:
    """Decode one image alone, as :meth:`PixelReader.read_hu` does."""
    with quiet_pydicom():
        PixelReader(decoder).read_hu(image, hu)


@cache
def _uid(text: str) -> UID:
    return UID(text)


def read_pixel_data(path: Path) -> DataElement:
    """Return the element of the pixel data as it stands in a file.

    UnreadablePixels where there is none, or it cannot be read.
    """
    return _read_pixels(path)["PixelData"]


def _read_pixels(path: Path) -> Dataset:
    try:
        pixels = dcmread(path, force=True, specific_tags=["PixelData"])
        data = pixels.get("PixelData")
    except PARSER_ERRORS as error:
        raise UnreadablePixels(
            "The pixel data of a slice is damaged; send the file again."
        ) from error
    if not isinstance(data, bytes) or not data:
        raise UnreadablePixels("A slice has no pixel data; send complete CT images, not headers.")
    return pixels


def rescale(header: Dataset) -> tuple[float, float]:
    """Return Rescale Slope and Intercept of one slice."""
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if (
        slope is None
        or intercept is None
        or not 0 < slope <= LARGEST_SLOPE
        or abs(intercept) > LARGEST_INTERCEPT_HU
    ):
        raise MissingRescale(
            f"Rescale Slope is {slope} and Rescale Intercept {intercept} in at least one slice; a "
            f"slope above 0 up to {LARGEST_SLOPE:g} and an intercept within "
            f"{LARGEST_INTERCEPT_HU:g} HU are needed to obtain Hounsfield units.",
            rescale_slope=slope,
            rescale_intercept=intercept,
        )
    unit = text(header, "RescaleType")
    if unit is not None and unit.upper() not in _HU_NAMES:
        raise MissingRescale(
            "Rescale Type says that the rescaled values are no Hounsfield units; only HU (or "
            "unspecified) can be scored.",
            attribute="RescaleType",
        )
    return slope, intercept


@dataclass(frozen=True)
class Layout:
    """How the stored values of one slice lie in its pixel data."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool

    @classmethod
    def of(cls, header: Dataset, *, frame_count: int = 1) -> Layout:
        """Read the layout from a header; ``frame_count`` is what the file is known to hold."""
        samples = number(header, "SamplesPerPixel")
        photometric = text(header, "PhotometricInterpretation")
        frames = number(header, "NumberOfFrames") or 1
        if samples != 1 or photometric != "MONOCHROME2" or frames != frame_count:
            raise UnsupportedImageType(
                f"An image has {samples} samples a pixel, {frames:g} frames and photometric "
                f"interpretation {photometric}; CT slices have 1, 1 (more only as Enhanced CT, "
                "which says where each lies) and MONOCHROME2.",
                samples_per_pixel=samples,
                frame_count=frames,
            )
        values = [
            number(header, keyword)
            for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
        ]
        rows, columns, allocated, stored, representation = (
            -1 if value is None else int(value) for value in values
        )
        high_bit = int(number(header, "HighBit") or stored - 1)
        if (
            min(rows, columns) < 1
            or allocated not in {8, 16, 32}
            or not 1 <= stored <= high_bit + 1 <= allocated
            or representation not in {0, 1}
        ):
            raise UnreadablePixels(
                f"A slice claims {rows} x {columns} pixels of {stored} bits up to bit {high_bit} "
                f"in {allocated} with representation {representation}; that is impossible.",
                rows=rows,
                columns=columns,
                bits_allocated=allocated,
                bits_stored=stored,
                high_bit=high_bit,
            )
        return cls(rows, columns, allocated, stored, high_bit, representation == 1)

    @property
    def frame_bytes(self) -> int:
        """Length of one uncompressed frame."""
        return self.rows * self.columns * self.bits_allocated // 8

    def check_length(self, found_bytes: int, frame_count: int) -> None:
        """Refuse uncompressed pixel data of another length than these frames have."""
        expected_bytes = frame_count * self.frame_bytes
        # An odd length is padded to an even one.
        if found_bytes not in {expected_bytes, expected_bytes + expected_bytes % 2}:
            raise UnreadablePixels(
                f"{frame_count} x {self.rows} x {self.columns} pixels have {found_bytes} bytes of "
                f"pixel data; {expected_bytes} are needed. It was cut short or its header is "
                "wrong.",
                found_bytes=found_bytes,
                expected_bytes=expected_bytes,
            )

    def native_values(
        self, data: bytes | bytearray | memoryview, *, is_little_endian: bool
    ) -> StoredValues:
        """Return uncompressed values (row, column) in the byte order of this machine."""
        order = "<" if is_little_endian else ">"
        kind = f"{order}{'i' if self.is_signed else 'u'}{self.bits_allocated // 8}"
        values = np.frombuffer(data, dtype=kind, count=self.rows * self.columns)
        native: StoredValues = values.reshape(self.rows, self.columns).astype(
            values.dtype.newbyteorder("="), copy=False
        )
        return native

    def without_unused_bits(self, values: StoredValues) -> StoredValues:
        """Clear or sign-extend the bits above and below the stored ones."""
        above = self.bits_allocated - 1 - self.high_bit
        unused = self.bits_allocated - self.bits_stored
        return values if unused == 0 else (values << above) >> unused


def _is_padding(header: Dataset, stored: StoredValues) -> NDArray[np.bool_] | None:
    """Tell which stored values mean "no pixel here" (PS3.3 C.7.5.1.1.2); None if none can."""
    value = number(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = number(header, "PixelPaddingRangeLimit")
    bounds = [_as_stored(value, stored), _as_stored(value if limit is None else limit, stored)]
    low, high = min(bounds), max(bounds)
    return stored == low if low == high else (stored >= low) & (stored <= high)


def _as_stored(value: float, stored: StoredValues) -> int:
    """Return a padding value as the stored type has it: 63536 in a signed image is -2000."""
    bits = 8 * stored.dtype.itemsize
    unsigned = int(value) % (1 << bits)
    is_negative = stored.dtype.kind == "i" and unsigned >> (bits - 1)
    return unsigned - (1 << bits) if is_negative else unsigned


def _check_codestream_size(data: bytes, syntax: UID, layout: Layout, image: ImageFile) -> None:
    """Refuse a codestream whose own size is not that of the header, before it is decoded."""
    uncompressed_bytes = layout.frame_bytes * image.frame_count
    if len(data) > LARGEST_EXPANSION * uncompressed_bytes + _ENCAPSULATION_BYTES:
        raise UnreadablePixels(
            f"The compressed pixel data of a slice has {len(data)} bytes for an image of "
            f"{uncompressed_bytes}; compression does not grow data like this.",
            found_bytes=len(data),
            uncompressed_bytes=uncompressed_bytes,
        )
    if syntax == RLELossless:
        return
    try:
        codestream = get_frame(data, image.frame_index, number_of_frames=image.frame_count)
        size = (
            _j2k_size(codestream) if syntax in JPEG2000TransferSyntaxes else _jpeg_size(codestream)
        )
    except PARSER_ERRORS as error:
        raise UnreadablePixels(
            "The compressed pixel data of a slice is damaged; send the file again."
        ) from error
    if size != (layout.columns, layout.rows, 1):
        raise _size_contradiction(*size[:2], layout)


def _size_contradiction(columns: int, rows: int, layout: Layout) -> UnreadablePixels:
    return UnreadablePixels(
        f"The compressed image of a slice has {rows} x {columns} pixels, its header says "
        f"{layout.rows} x {layout.columns} in one colour channel; they must agree.",
        codestream_rows=rows,
        codestream_columns=columns,
        rows=layout.rows,
        columns=layout.columns,
    )


def _j2k_size(codestream: bytes) -> tuple[int, int, int]:
    """Return (columns, rows, components) of the SIZ marker (ITU-T T.800 A.5.1)."""
    # Some writers wrap the codestream in a JP2 file.
    at = codestream.index(_J2K_START)
    x_end, y_end, x_start, y_start = struct.unpack_from(">4I", codestream, at + 8)
    (components,) = struct.unpack_from(">H", codestream, at + 40)
    return x_end - x_start, y_end - y_start, components


def _jpeg_size(codestream: bytes) -> tuple[int, int, int]:
    """Return (columns, rows, components) of the frame header (ITU-T T.81 B.2.2, T.87 C.2.2)."""
    if not codestream.startswith(_JPEG_START):
        raise ValueError("no JPEG codestream")
    at = len(_JPEG_START)
    while True:
        mark, marker = struct.unpack_from(">BB", codestream, at)
        if mark != 0xFF or marker in _JPEG_SCAN_OR_END:
            raise ValueError("no frame header before the first scan")
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            at += 2
        elif marker in _JPEG_FRAME_HEADERS:
            rows, columns, components = struct.unpack_from(">HHB", codestream, at + 5)
            return columns, rows, components
        else:
            (length,) = struct.unpack_from(">H", codestream, at + 2)
            at += 2 + length
