"""Pixel data that lies about itself, and compressions that only test tools can write."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    MPEG4HP41,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from calcium_scoring.dicom.decoder_process import decoder_process
from calcium_scoring.dicom.headers import ImageFile, read_header
from calcium_scoring.dicom.pixels import has_whole_hu, read_hu
from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.errors import UnreadablePixels
from calcium_scoring.volume.ct_volume import CtVolume
from tests.series_builders import edit, noise_volume, set_attributes


def one_slice(folder: Path, syntax: str, volume: CtVolume | None = None) -> Path:
    return write_ct_series(volume or noise_volume(1), folder, seed=1, transfer_syntax_uid=syntax)[0]


def hu_of(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    header = read_header(path)
    hu = np.empty((int(header.Rows), int(header.Columns)), dtype=np.float32)
    with decoder_process() as decoder:
        read_hu(ImageFile(path, path.name, header), hu, decoder)
    return hu


def replace_codestream(path: Path, change: Callable[[bytes], bytes]) -> None:
    def replace(instance: Dataset, _: int) -> None:
        frame = get_frame(instance.PixelData, 0, number_of_frames=1)
        instance.PixelData = encapsulate([change(frame)])

    edit([path], replace)


def test_a_jpeg_2000_image_that_claims_to_be_huge_is_refused_before_decoding(
    tmp_path: Path,
) -> None:
    """30,000 x 30,000 pixels in a codestream of some hundred bytes took decoders 4 GB."""
    path = one_slice(tmp_path, JPEG2000Lossless)
    size_at = len(b"\xff\x4f\xff\x51") + 4
    replace_codestream(
        path,
        lambda stream: (
            stream[:size_at] + struct.pack(">2I", 30_000, 30_000) + stream[size_at + 8 :]
        ),
    )

    with pytest.raises(UnreadablePixels) as refusal:
        hu_of(path)

    assert refusal.value.evidence["codestream_rows"] == 30_000
    assert refusal.value.evidence["rows"] == 64


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
def test_a_codestream_of_another_size_than_the_header_is_refused(
    tmp_path: Path, syntax: str
) -> None:
    path = one_slice(tmp_path, syntax)
    set_attributes([path], Rows=32)

    with pytest.raises(UnreadablePixels, match="64 x 64 pixels, its header says 32 x 64"):
        hu_of(path)


@pytest.mark.parametrize(
    "syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless], ids=lambda uid: uid.name
)
@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"\0\0",
        lambda stream: stream[: len(stream) // 8],
        lambda stream: b"\xff\xd8\xff\xff" + stream,
        lambda stream: bytes(len(stream)),
    ],
    ids=["nothing", "cut short", "garbage in front", "zeros"],
)
def test_a_damaged_codestream_is_refused(
    tmp_path: Path, syntax: str, change: Callable[[bytes], bytes]
) -> None:
    path = one_slice(tmp_path, syntax)
    replace_codestream(path, change)

    with pytest.raises(UnreadablePixels):
        hu_of(path)


def test_compressed_data_that_is_longer_than_the_image_is_refused(tmp_path: Path) -> None:
    """Run lengths say nothing of their size: 64 MB of them inflate to 4 GB."""
    path = one_slice(tmp_path, RLELossless)
    replace_codestream(path, lambda stream: stream + bytes(100_000))

    with pytest.raises(UnreadablePixels, match="does not grow"):
        hu_of(path)


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    path = one_slice(tmp_path, RLELossless)

    def rename(instance: Dataset, _: int) -> None:
        instance.file_meta.TransferSyntaxUID = MPEG4HP41

    edit([path], rename)

    with pytest.raises(UnreadablePixels, match="compression that is not read"):
        hu_of(path)


def test_lossless_jpeg_gives_the_same_values_bit_for_bit(tmp_path: Path) -> None:
    volume = noise_volume(1)
    path = one_slice(tmp_path, "1.2.840.10008.1.2.1", volume)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1

    assert np.array_equal(hu_of(path), volume.hu[0])


def test_baseline_jpeg_is_read(tmp_path: Path) -> None:
    path = one_slice(tmp_path, "1.2.840.10008.1.2.1")
    gray = np.full((64, 64), 100, dtype=np.uint8)
    jpeg = BytesIO()
    Image.fromarray(gray).save(jpeg, format="JPEG", quality=95)

    def compress(instance: Dataset, _: int) -> None:
        instance.BitsAllocated = instance.BitsStored = 8
        instance.HighBit, instance.PixelRepresentation = 7, 0
        instance.PixelData = encapsulate([jpeg.getvalue()])
        instance["PixelData"].VR = "OB"
        instance["PixelData"].is_undefined_length = True
        instance.file_meta.TransferSyntaxUID = JPEGBaseline8Bit

    edit([path], compress)

    assert np.abs(hu_of(path) - (100 - 1024)).max() <= 1


@pytest.mark.parametrize(
    ("bits", "is_signed", "slope", "intercept", "expected"),
    [
        (12, 0, 1.0, -1024.0, True),
        (16, 1, 1.0, 0.0, True),
        (16, 1, 1.0, -1024.0, True),
        (16, 1, 1.0, 1.0, False),  # 32,767 + 1 has no place
        (16, 0, 1.0, -1024.0, False),  # 65,535 - 1024 neither: extended scales for metal
        (12, 0, 1.0, -1024.5, False),
        (12, 0, 0.5, -1024.0, False),
        (12, 0, 1.0, -32769.0, False),
    ],
)
def test_a_header_tells_whether_16_bits_hold_every_value(
    bits: int, is_signed: int, slope: float, intercept: float, *, expected: bool
) -> None:
    header = Dataset()
    header.Rows, header.Columns, header.SamplesPerPixel = 64, 64, 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, bits, bits - 1
    header.PixelRepresentation = is_signed
    header.RescaleSlope, header.RescaleIntercept = slope, intercept

    assert has_whole_hu(header) is expected


def test_values_that_16_bits_cannot_hold_are_refused_and_never_turned_round(
    tmp_path: Path,
) -> None:
    """65,534 would become -2 HU: air where there is metal."""
    volume = noise_volume(1)
    low = np.full(volume.hu.shape, -1026.0, dtype=np.float32)  # stored as -2, or 65,534 unsigned
    path = one_slice(tmp_path, RLELossless, CtVolume(volume.geometry, low, volume.acquisition))
    set_attributes([path], PixelRepresentation=0, RescaleIntercept=0)
    header = read_header(path)

    with decoder_process() as decoder, pytest.raises(UnreadablePixels, match="65534"):
        read_hu(ImageFile(path, path.name, header), np.empty((64, 64), np.int16), decoder)
