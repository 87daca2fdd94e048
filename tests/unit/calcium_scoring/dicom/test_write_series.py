"""Phantoms as CT series."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRBigEndian

from calcium_scoring.dicom.uids import is_valid_uid
from calcium_scoring.dicom.write_series import (
    ENCODING_PLUGINS,
    SeriesAttributes,
    write_ct_series,
    zip_files,
)
from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume, SeriesIdentity
from tests.dciodvfy import CT_IMAGE, errors_of_dciodvfy
from tests.series_builders import CALCIUM_SCAN, noise_volume

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, *ENCODING_PLUGINS])
def test_the_instances_are_valid_dicom(tmp_path: Path, syntax: str) -> None:
    for index, acquisition in enumerate([CALCIUM_SCAN, CtAcquisition()]):
        volume = noise_volume(1, acquisition=acquisition)
        (path,) = write_ct_series(volume, tmp_path / str(index), seed=1, transfer_syntax_uid=syntax)

        assert errors_of_dciodvfy(path, CT_IMAGE) == []


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_series(
    tmp_path: Path,
) -> None:
    volume = noise_volume()
    archives = [
        zip_files(
            write_ct_series(volume, tmp_path / name, seed=seed), tmp_path / f"{name}.zip"
        ).read_bytes()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]

    assert archives[0] == archives[1] != archives[2]
    first, other = (dcmread(tmp_path / name / "000001.dcm") for name in "ac")
    assert first.SeriesInstanceUID != other.SeriesInstanceUID
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert is_valid_uid(first.SOPInstanceUID)


def test_the_patient_is_obviously_synthetic(tmp_path: Path) -> None:
    instance = dcmread(write_ct_series(noise_volume(1), tmp_path, seed=7)[0])

    assert instance.PatientName == "Phantom^Seed0007"
    assert instance.PatientID == "PHANTOM-0007"
    assert "not a patient" in instance.StudyDescription


def test_attributes_and_uids_can_be_given(tmp_path: Path) -> None:
    identity = SeriesIdentity("1.2.1", "1.2.2", "1.2.3", ("1.2.4",))
    volume = replace(noise_volume(1), identity=identity)
    attributes = SeriesAttributes(patient_age="055Y", patient_sex="F", protocol_name="CaScore")

    instance = dcmread(write_ct_series(volume, tmp_path, seed="x", attributes=attributes)[0])

    assert (instance.StudyInstanceUID, instance.SeriesInstanceUID) == ("1.2.1", "1.2.2")
    assert (instance.FrameOfReferenceUID, instance.SOPInstanceUID) == ("1.2.3", "1.2.4")
    assert (instance.PatientAge, instance.PatientSex) == ("055Y", "F")


def test_hu_are_rounded_to_the_nearest_stored_value(tmp_path: Path) -> None:
    volume = noise_volume(1)
    hu = np.full(volume.hu.shape, 129.6, dtype=np.float32)

    instance = dcmread(write_ct_series(CtVolume(volume.geometry, hu), tmp_path, seed=1)[0])

    assert (instance.pixel_array == 130 + 1024).all()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    volume = noise_volume(1)

    with pytest.raises(ValueError, match="do not fit into 16 bits"):
        write_ct_series(volume, tmp_path, seed=1, rescales=[(0.01, 0.0)])
    with pytest.raises(ValueError, match="not written in Explicit VR Big Endian"):
        write_ct_series(volume, tmp_path, seed=1, transfer_syntax_uid=ExplicitVRBigEndian)
