"""The study of a file, as pydicom writes it in every uncompressed transfer syntax."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from calcium_scoring.upload.file_head import read_file_head
from calcium_scoring.upload.study_uid import read_study_instance_uid

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


def write(path: Path, syntax: str, *, is_undefined_length: bool, study: str | None) -> None:
    decoy = Dataset()
    decoy.StudyInstanceUID = "9.9.9"
    inner = Dataset()
    inner.ReferencedStudySequence = [decoy]
    instance = Dataset()
    instance.SOPClassUID, instance.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    instance.ReferencedPerformedProcedureStepSequence = [inner, decoy]
    instance.PatientName = "Phantom"
    if study is not None:
        instance.StudyInstanceUID = study
    instance.SeriesInstanceUID = "1.2.3.5"
    for tag in (instance.ReferencedPerformedProcedureStepSequence, inner.ReferencedStudySequence):
        tag.is_undefined_length = is_undefined_length
    instance["ReferencedPerformedProcedureStepSequence"].is_undefined_length = is_undefined_length
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = UID(syntax)
    instance.file_meta.MediaStorageSOPClassUID = CTImageStorage
    instance.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    instance.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("is_undefined_length", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_study_is_that_of_the_instance_and_not_of_one_it_refers_to(
    tmp_path: Path, syntax: str, is_undefined_length: bool
) -> None:
    path = tmp_path / "one.dcm"
    write(path, syntax, is_undefined_length=is_undefined_length, study="1.2.840.1")
    head = read_file_head(path)
    assert head is not None

    assert read_study_instance_uid(path, head) == "1.2.840.1"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_instance_without_a_study_has_none(tmp_path: Path, syntax: str) -> None:
    path = tmp_path / "one.dcm"
    write(path, syntax, is_undefined_length=True, study=None)
    head = read_file_head(path)
    assert head is not None

    assert read_study_instance_uid(path, head) is None
