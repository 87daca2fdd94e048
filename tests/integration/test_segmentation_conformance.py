"""Masks for real series, judged by programs that nobody here wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from calcium_scoring.dicom.read_segmentation import read_segmentation
from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.dicom.write_segmentation import write_segmentation
from calcium_scoring.nifti import read_mask, write_nifti
from calcium_scoring.upload.archive import unpack_upload
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from tests.dciodvfy import errors_of_dciodvfy

pytestmark = pytest.mark.real_data

SCORABLE = {
    "LIDC-0002": "lidc-idri/LIDC-IDRI-0002_i70-i150.zip",
    "Lung-Dx A0001, implicit VR, 5 mm": "lung-pet-ct-dx/Lung_Dx-A0001_5mm_kernelB_full.zip",
    "QRM phantom, blank ends": "molloilab-cac-stanford-data/canon_Large_rep1.zip",
    "TCGA, overlapping": "tcga-thca/TCGA-DE-A4MA_i140-i239.zip",
    "JPEG 2000 without UIDs": "totalsegmentator/example_ct_dicom_j2k_no_sopclass.zip",
}


@dataclass(frozen=True)
class Model:
    name: str = "calcium-segmenter"
    version: str = "1.2.3"
    sha256: str = "ab" * 32


@pytest.fixture(scope="module", params=SCORABLE)
def series(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> CtSeries:
    folder = tmp_path_factory.mktemp("series")
    upload = real_data / SCORABLE[request.param]
    if "totalsegmentator" in upload.as_posix():
        upload = _plain(upload, folder)
    return read_ct_series(upload, folder / "unpacked")


def _plain(upload: Path, folder: Path) -> Path:
    """The headers say contrast agent; without that word the series stands for a UID-less one."""
    for file in unpack_upload(upload, folder / "plain"):
        instance = dcmread(file.path)
        instance.pop("ContrastBolusAgent", None)
        instance.save_as(file.path)
    return folder / "plain"


def dense_labels(series: CtSeries, *labels: int) -> LabelMap:
    """Whatever is dense in the middle slices, dealt out to these labels by columns."""
    array = np.zeros(series.volume.geometry.shape, dtype=np.uint8)
    middle = len(array) // 2
    dense = series.volume.hu[middle - 2 : middle + 2] >= 130
    columns = np.linspace(0, 0.999, array.shape[2]) * len(labels)
    dealt = np.array(labels, dtype=np.uint8)[columns.astype(int)]
    array[middle - 2 : middle + 2] = np.where(dense, dealt, 0)
    return LabelMap(series.volume.geometry, array)


@pytest.mark.parametrize(
    "labels", [(CORONARY,), tuple(Artery)], ids=["binary", "one segment an artery"]
)
def test_the_mask_is_valid_and_lies_on_the_grid_of_its_source(
    series: CtSeries, tmp_path: Path, labels: tuple[int, ...]
) -> None:
    label_map = dense_labels(series, *labels)

    path = write_segmentation(label_map, series, Model(), tmp_path / "mask.dcm")

    assert errors_of_dciodvfy(path) == []
    assert np.array_equal(read_segmentation(path, series).labels, label_map.labels)
    # highdicom, on its own: each source instance has the pixels of its slice.
    segmentation = hd.seg.segread(path)
    pixels = segmentation.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in series.instances],
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    number_of_label = {label: number for number, label in enumerate(sorted(labels), start=1)}
    expected = np.zeros_like(label_map.labels)
    for label, number in number_of_label.items():
        expected[label_map.labels == label] = number
    assert np.array_equal(pixels, expected)


def test_a_mask_without_calcium_is_valid(series: CtSeries, tmp_path: Path) -> None:
    empty = LabelMap(series.volume.geometry, np.zeros(series.volume.geometry.shape, dtype=np.uint8))

    path = write_segmentation(empty, series, Model(), tmp_path / "mask.dcm")

    assert errors_of_dciodvfy(path) == []
    assert not read_segmentation(path, series).calcium_mask.any()


def test_nifti_and_segmentation_say_the_same(series: CtSeries, tmp_path: Path) -> None:
    label_map = dense_labels(series, Artery.LAD, Artery.RCA)

    nifti = write_nifti(label_map, tmp_path / "mask.nii.gz")

    assert np.array_equal(read_mask(nifti, series.volume.geometry).labels, label_map.labels)
    image: Any = nib.load(nifti)
    # Columns run to the patient's left, rows to posterior, slices upwards; x and y are RAS.
    assert np.sign(np.diag(image.affine)[:3]).tolist() == [-1.0, -1.0, 1.0]
    first = np.array(series.instances[0].ImagePositionPatient, dtype=float)
    assert image.affine[:3, 3] == pytest.approx(first * (-1, -1, 1), abs=1e-3)
