"""Masks of any tool on the grid of a series."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import ArrayLike

from calcium_scoring.errors import MaskRejected
from calcium_scoring.nifti import read_mask, read_numpy_mask, write_nifti
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap

SHAPE = (5, 7, 9)
GEOMETRY = VolumeGeometry.axial(SHAPE, (2.5, 0.7, 0.6), (-170.0, -150.0, 33.0))


def label_map(geometry: VolumeGeometry = GEOMETRY) -> LabelMap:
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1, 2, 3] = Artery.LAD
    labels[4, 6, 8] = Artery.RCA
    labels[0, 0, 1] = CORONARY
    return LabelMap(geometry, labels)


def save(path: Path, values: ArrayLike, affine: ArrayLike) -> Path:
    nib.save(nib.Nifti1Image(values, affine), path)  # type: ignore[no-untyped-call]
    return path


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
def test_a_written_label_map_reads_back_as_it_was(tmp_path: Path, name: str) -> None:
    path = write_nifti(label_map(), tmp_path / name)

    assert np.array_equal(read_mask(path, GEOMETRY).labels, label_map().labels)


def test_voxels_lie_where_other_tools_look_for_them(tmp_path: Path) -> None:
    """NIfTI counts (column, row, slice) and is RAS: x and y have the other sign."""
    image: Any = nib.load(write_nifti(label_map(), tmp_path / "mask.nii.gz"))

    assert image.shape == (9, 7, 5)
    assert image.dataobj[3, 2, 1] == Artery.LAD
    x, y, z = GEOMETRY.position_lps_mm((1, 2, 3))
    assert (image.affine @ (3, 2, 1, 1))[:3] == pytest.approx((-x, -y, z))
    assert image.get_qform() == pytest.approx(image.get_sform(), abs=1e-4)
    assert image.header.get_zooms() == pytest.approx((0.6, 0.7, 2.5))
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.uint8
    assert b"research use only" in bytes(image.header["descrip"].tobytes())


def test_the_same_map_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_nifti(label_map(), tmp_path / "first.nii.gz").read_bytes()
    second = write_nifti(label_map(), tmp_path / "second.nii.gz").read_bytes()

    assert first == second


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=3)))
def test_any_order_and_direction_of_the_axes_is_the_same_mask(
    tmp_path: Path, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    values = label_map().labels
    affine = GEOMETRY.affine_ras.copy()
    for axis, is_flipped in enumerate(flips):
        if is_flipped:
            affine[:3, 3] += affine[:3, axis] * (values.shape[axis] - 1)
            affine[:3, axis] *= -1
            values = np.flip(values, axis)
    path = save(tmp_path / "mask.nii", np.transpose(values, order), affine[:, [*order, 3]])

    read = read_mask(path, GEOMETRY, has_artery_labels=True)

    assert np.array_equal(read.labels, label_map().labels)


def test_a_grid_with_turned_axes_is_matched_too(tmp_path: Path) -> None:
    """The series itself may run upwards in y, as feet-first prone ones do."""
    affine = GEOMETRY.affine.copy()
    affine[:3, 1] *= -1
    geometry = VolumeGeometry(SHAPE, affine)
    path = write_nifti(label_map(geometry), tmp_path / "mask.nii.gz")

    assert np.array_equal(read_mask(path, geometry).labels, label_map().labels)
    with pytest.raises(MaskRejected, match="away from those of the series"):
        read_mask(path, GEOMETRY)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("value", [1, 3, 255])
def test_any_value_of_a_foreign_mask_is_calcium_of_an_unknown_artery(
    tmp_path: Path, dtype: type, value: int
) -> None:
    values = (label_map().labels.transpose(2, 1, 0) > 0).astype(dtype) * dtype(value)
    path = save(tmp_path / "mask.nii.gz", values, GEOMETRY.affine_ras[:, [2, 1, 0, 3]])

    read = read_mask(path, GEOMETRY)

    assert np.array_equal(read.labels == CORONARY, label_map().labels > 0)
    assert set(np.unique(read.labels)) == {0, CORONARY}


def test_a_trailing_dimension_of_one_is_ignored(tmp_path: Path) -> None:
    values = label_map().labels.transpose(2, 1, 0)[..., np.newaxis]
    path = save(tmp_path / "mask.nii", values, GEOMETRY.affine_ras[:, [2, 1, 0, 3]])

    assert read_mask(path, GEOMETRY).calcium_mask.sum() == 3


AFFINE = GEOMETRY.affine_ras[:, [2, 1, 0, 3]]
SHIFTED, TURNED, STRETCHED = AFFINE.copy(), AFFINE.copy(), AFFINE.copy()
SHIFTED[0, 3] += 0.3
TURNED[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ TURNED[:3, :3]
STRETCHED[2, 2] = 3.0


@pytest.mark.parametrize(
    ("shape", "affine", "complaint"),
    [
        ((9, 7, 6), AFFINE, r"has \(9, 7, 6\) voxels"),
        ((9, 7, 5, 2), AFFINE, "voxels"),
        ((7, 9, 5), AFFINE, "along the axes"),
        ((9, 7, 5), SHIFTED, "0.300 mm away"),
        ((9, 7, 5), TURNED, "away from"),
        ((9, 7, 5), STRETCHED, "away from"),
    ],
    ids=["another size", "two channels", "rows for columns", "shifted", "turned", "stretched"],
)
def test_a_mask_of_another_grid_is_refused_and_it_is_said_why(
    tmp_path: Path, shape: tuple[int, ...], affine: ArrayLike, complaint: str
) -> None:
    path = save(tmp_path / "mask.nii", np.ones(shape, dtype=np.uint8), affine)

    with pytest.raises(MaskRejected, match=complaint):
        read_mask(path, GEOMETRY)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_values_that_are_no_labels_are_refused(tmp_path: Path, value: float) -> None:
    path = save(tmp_path / "mask.nii", np.full((9, 7, 5), value, dtype=np.float32), AFFINE)

    with pytest.raises(MaskRejected, match="no labels"):
        read_mask(path, GEOMETRY)


@pytest.mark.parametrize("value", [6, 2.5])
def test_artery_labels_must_be_known(tmp_path: Path, value: float) -> None:
    path = save(tmp_path / "mask.nii", np.full((9, 7, 5), value, dtype=np.float32), AFFINE)

    with pytest.raises(MaskRejected, match="artery labels are whole numbers"):
        read_mask(path, GEOMETRY, has_artery_labels=True)


def test_a_file_that_claims_more_voxels_than_the_series_is_refused_unread(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.nii", np.ones((9, 7, 5), dtype=np.uint8), AFFINE)
    content = bytearray(path.read_bytes())
    content[42:48] = (30_000).to_bytes(2, "little") * 3  # dim[1..3] of the header
    path.write_bytes(content)

    with pytest.raises(MaskRejected, match="30000"):
        read_mask(path, GEOMETRY)


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
@pytest.mark.parametrize("content", [b"", b"no mask", bytes(400)])
def test_what_is_no_nifti_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(MaskRejected):
        read_mask(path, GEOMETRY)


def test_a_nifti_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_nifti(label_map(), tmp_path / "mask.nii")
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(MaskRejected):
        read_mask(path, GEOMETRY)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
def test_a_numpy_mask_has_slices_in_ascending_z(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "mask.npy", label_map().labels.astype(dtype))

    read = read_numpy_mask(tmp_path / "mask.npy", GEOMETRY)

    assert np.array_equal(read.calcium_mask, label_map().calcium_mask)


def test_a_numpy_mask_may_hold_artery_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", label_map().labels)

    read = read_numpy_mask(tmp_path / "mask.npy", GEOMETRY, has_artery_labels=True)

    assert np.array_equal(read.labels, label_map().labels)


def test_a_numpy_mask_of_another_shape_or_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.npy"
    np.save(path, np.zeros((9, 7, 5)))
    with pytest.raises(MaskRejected, match=r"the series has \(5, 7, 9\)"):
        read_numpy_mask(path, GEOMETRY)
    np.save(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(MaskRejected, match="cannot be read"):
        read_numpy_mask(path, GEOMETRY)
    path.write_bytes(b"no array")
    with pytest.raises(MaskRejected, match="cannot be read"):
        read_numpy_mask(path, GEOMETRY)
