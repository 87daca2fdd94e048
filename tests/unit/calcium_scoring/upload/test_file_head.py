"""The head of a DICOM file, read and written without a DICOM library; pydicom judges."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from calcium_scoring.dicom.uids import is_valid_uid
from calcium_scoring.upload.file_head import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    FileHead,
    _file_head,
    read_file_head,
)
from calcium_scoring.volume.derived_uid import derived_uid
from tests.series_builders import edit, write_series

UIDS = st.lists(st.integers(0, 10**6), min_size=2, max_size=8).map(lambda n: ".".join(map(str, n)))


@given(UIDS, UIDS, UIDS)
def test_what_is_written_is_read_back_by_pydicom_and_by_ourselves(
    tmp_path_factory: pytest.TempPathFactory, sop_class: str, sop_instance: str, syntax: str
) -> None:
    path = tmp_path_factory.mktemp("head") / "1.dcm"
    head = FileHead(sop_class, sop_instance, ExplicitVRLittleEndian, 0).to_bytes()
    path.write_bytes(head)

    meta = dcmread(path).file_meta

    assert meta.MediaStorageSOPClassUID == sop_class
    assert meta.MediaStorageSOPInstanceUID == sop_instance
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    # 12 bytes of the group length, which does not count itself, stand behind 128 + 4.
    assert meta.FileMetaInformationGroupLength == len(head) - 128 - 4 - 12
    path.write_bytes(FileHead(sop_class, sop_instance, syntax, 0).to_bytes() + b"data set")
    assert read_file_head(path) == FileHead(
        sop_class, sop_instance, syntax, path.stat().st_size - len(b"data set")
    )


def test_head_of_a_slice_ends_where_its_data_set_begins(tmp_path: Path) -> None:
    path = write_series(tmp_path)[0]
    instance = dcmread(path)

    head = read_file_head(path)

    assert head is not None
    assert (head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid) == (
        CTImageStorage,
        instance.SOPInstanceUID,
        instance.file_meta.TransferSyntaxUID,
    )
    # Group 0008 little endian.
    assert path.read_bytes()[head.data_set_at :][:2] == b"\x08\x00"


def test_private_information_in_the_head_does_not_hide_the_data_set(tmp_path: Path) -> None:
    path = write_series(tmp_path)[0]

    def say_more(instance: Dataset, _: int) -> None:
        instance.file_meta.PrivateInformationCreatorUID = UID("1.2.3")
        instance.file_meta.PrivateInformation = b"x" * 3000
        instance.file_meta.SourceApplicationEntityTitle = "SCANNER"

    plain = read_file_head(path)
    edit([path], say_more)
    with_more = read_file_head(path)

    assert plain is not None
    assert with_more is not None
    assert with_more.data_set_at > plain.data_set_at + 3000
    assert with_more.to_bytes() == plain.to_bytes()


@pytest.mark.parametrize("length", [0, 100, 131, 132, 140, 200])
def test_file_that_is_cut_short_has_no_head(tmp_path: Path, length: int) -> None:
    path = write_series(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:length])

    assert read_file_head(path) is None


@given(st.binary(max_size=400))
def test_any_bytes_behind_the_mark_are_a_head_or_none(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes
) -> None:
    path = tmp_path_factory.mktemp("noise") / "1.dcm"
    path.write_bytes(bytes(128) + b"DICM" + noise)

    with path.open("rb") as stream:
        head = _file_head(stream)

    assert head is None or 132 <= head.data_set_at <= 132 + len(noise)


def test_names_of_the_implementation_fit_into_their_fields() -> None:
    assert is_valid_uid(IMPLEMENTATION_CLASS_UID)
    assert derived_uid("implementation", "cacscore") == IMPLEMENTATION_CLASS_UID
    # PS3.7 D.3.3.2.4: one to sixteen characters.
    assert 1 <= len(IMPLEMENTATION_VERSION_NAME) <= 16
