"""Headers of files that may be anything."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from calcium_scoring.dicom.headers import (
    NotReadable,
    number,
    numbers,
    read_header,
    read_image_file,
    text,
    texts,
    transfer_syntax,
)
from tests.series_builders import edit, write_series


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_series(tmp_path)[0]


def test_pixel_data_and_private_attributes_are_not_kept(path: Path) -> None:
    def add_private(instance: Dataset, _: int) -> None:
        instance.private_block(0x0029, "VENDOR", create=True).add_new(1, "LO", "secret")

    edit([path], add_private)

    header = read_header(path)

    assert "PixelData" not in header
    assert not [tag for tag in header if tag.tag.is_private]


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\x08\x00", bytes(200), b"\x08\x00" * 100, b"GIF89a" + bytes(300)],
    ids=["empty", "short", "group 8 only", "zeros", "group 8 again and again", "picture"],
)
def test_what_is_not_dicom_is_not_read(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)

    with pytest.raises(NotReadable):
        read_header(file)


def test_sequences_nested_without_end_are_not_read(path: Path) -> None:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
    content = path.read_bytes()
    patient_at = content.index(b"\x10\x00\x10\x00PN")
    path.write_bytes(content[:patient_at] + (sequence + item) * 5_000)

    with pytest.raises(NotReadable):
        read_header(path)


def test_a_deflated_header_that_inflates_too_far_is_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calcium_scoring.dicom.headers.LARGEST_INFLATED_BYTES", 2_000_000)
    instance = dcmread(path)
    instance.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    instance.save_as(path)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    bomb = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(content[:start] + bomb.compress(bytes(20_000_000)) + bomb.flush())

    with pytest.raises(NotReadable, match="inflates to more than 2000000 bytes"):
        read_header(path)


def test_values_that_are_malformed_are_none() -> None:
    header = Dataset()
    header.add_new("KVP", "LO", "many")
    header.add_new("SliceThickness", "LO", "nan")
    header.add_new("PixelSpacing", "DS", ["0.5", "0.5", "0.5"])
    header.add_new("ImageType", "CS", ["ORIGINAL", "", " PRIMARY "])
    header.add_new("PatientName", "PN", "")

    assert number(header, "KVP") is None
    assert number(header, "SliceThickness") is None
    assert number(header, "GantryDetectorTilt") is None
    assert numbers(header, "PixelSpacing", 2) is None
    assert texts(header, "ImageType") == ("ORIGINAL", "PRIMARY")
    assert text(header, "PatientName") is None


def test_the_transfer_syntax_is_found_where_it_is_not_stated(path: Path) -> None:
    content = path.read_bytes()
    meta_bytes = int.from_bytes(content[140:144], "little")
    path.write_bytes(content[144 + meta_bytes :])

    assert transfer_syntax(read_header(path)) == "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("size", [10, 5_000, 20_000, 200_000])
def test_headers_of_any_length_are_read_to_the_pixels(path: Path, size: int) -> None:
    """Some scanners put tables of many kilobytes into private attributes."""
    usual = read_image_file(path, "a")

    def lengthen(instance: Dataset, _: int) -> None:
        block = instance.private_block(0x0029, "VENDOR", create=True)
        block.add_new(1, "OB", bytes(2 * size))
        instance.PatientName = "Müller^Änne"

    edit([path], lengthen)

    image = read_image_file(path, "b", 7)

    assert (image.name, image.file_number) == ("b", 7)
    assert str(image.header.PatientName) == "Müller^Änne"
    assert image.header.keys() == usual.header.keys()
    assert image.pixel_data_at is not None
    at = image.pixel_data_at
    assert path.read_bytes()[at : at + 4] == b"\xe0\x7f\x10\x00"
