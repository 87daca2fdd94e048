"""MetaImage, NRRD and NIfTI: where their voxels lie and which of them are calcium."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.errors import MaskRejected, NotAxial, UnsupportedImageType
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, Artery
from model_training.importers.itk_images import read_labels, read_volume
from tests.series_builders import noise_volume
from tests.unit.model_training.importers.itk_files import write_itk

SUFFIXES = (".mhd", ".mha", ".nrrd", ".nii.gz")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("flipped", [(), (0,), (1, 2), (0, 1, 2)])
def test_volume_is_the_same_whichever_way_its_file_runs(
    tmp_path: Path, suffix: str, flipped: tuple[int, ...]
) -> None:
    volume = noise_volume(spacing_mm=(2.5, 0.6, 0.5))
    stored = volume.hu.astype(np.int16)

    read = read_volume(write_itk(tmp_path / f"a{suffix}", stored, volume.geometry, flipped=flipped))

    assert np.array_equal(read.hu, volume.hu)
    assert read.geometry.is_same_grid(volume.geometry, 0.001)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("flipped", [(), (0, 2)])
def test_label_map_lies_on_the_scan_whichever_way_it_runs(
    tmp_path: Path, suffix: str, flipped: tuple[int, ...]
) -> None:
    volume = noise_volume()
    values = np.zeros(volume.hu.shape, dtype=np.uint8)
    values[2, 10:14, 20:23] = 1
    path = write_itk(tmp_path / f"a{suffix}", values, volume.geometry, flipped=flipped)

    labels = read_labels(path, volume.geometry).labels

    assert np.array_equal(labels, values * CORONARY)


def test_label_map_is_turned_to_a_scan_whose_rows_run_to_anterior(tmp_path: Path) -> None:
    usual = noise_volume().geometry
    affine = usual.affine.copy()
    affine[:, 3] += affine[:, 1] * (usual.shape[1] - 1)
    affine[:, 1] *= -1.0
    values = np.zeros(usual.shape, dtype=np.uint8)
    values[2, 10, 20] = 1
    path = write_itk(tmp_path / "a.mha", values, usual)

    labels = read_labels(path, VolumeGeometry(usual.shape, affine)).labels

    assert np.argwhere(labels).tolist() == [[2, usual.shape[1] - 1 - 10, 20]]


def test_only_the_stated_values_are_calcium(tmp_path: Path) -> None:
    geometry = noise_volume().geometry
    values = np.zeros(geometry.shape, dtype=np.int16)
    values[3, 5, 5:9] = (1, 2, 3, 3)
    path = write_itk(tmp_path / "a.nrrd", values, geometry)

    labels = read_labels(path, geometry, {3: Artery.RCA}).labels

    assert labels[3, 5, 5:9].tolist() == [0, 0, Artery.RCA, Artery.RCA]
    with pytest.raises(MaskRejected, match=r"values \[1, 2, 3\]; state which"):
        read_labels(path, geometry)


@pytest.mark.parametrize("shift_mm", [(0.3, 0.0, 0.0), (0.0, 0.0, 1.5)])
def test_label_map_of_another_place_is_refused(
    tmp_path: Path, shift_mm: tuple[float, float, float]
) -> None:
    geometry = noise_volume().geometry
    affine = geometry.affine.copy()
    affine[:3, 3] += shift_mm
    path = write_itk(
        tmp_path / "a.mha",
        np.ones(geometry.shape, dtype=np.uint8),
        VolumeGeometry(geometry.shape, affine),
    )

    with pytest.raises(MaskRejected, match="mm away"):
        read_labels(path, geometry)


def test_label_map_of_another_size_is_refused(tmp_path: Path) -> None:
    other = VolumeGeometry.axial((4, 8, 8), (3.0, 0.5, 0.5))
    path = write_itk(tmp_path / "a.mha", np.ones(other.shape, dtype=np.uint8), other)

    with pytest.raises(MaskRejected, match="drawn on this scan"):
        read_labels(path, noise_volume().geometry)


def test_label_map_of_fractions_is_refused(tmp_path: Path) -> None:
    geometry = noise_volume().geometry
    path = write_itk(tmp_path / "a.mha", np.full(geometry.shape, 0.5, np.float32), geometry)

    with pytest.raises(MaskRejected, match="whole numbers"):
        read_labels(path, geometry)


def test_volume_whose_values_are_no_hu_is_refused(tmp_path: Path) -> None:
    volume = noise_volume()
    path = write_itk(tmp_path / "a.mha", (volume.hu + 1024.0).astype(np.int16), volume.geometry)

    with pytest.raises(UnsupportedImageType, match="air below -500 HU"):
        read_volume(path)


def test_oblique_volume_is_refused(tmp_path: Path) -> None:
    volume = noise_volume()
    angle = np.radians(10.0)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted = VolumeGeometry(volume.geometry.shape, turn @ volume.geometry.affine)

    with pytest.raises(NotAxial, match="not axial"):
        read_volume(write_itk(tmp_path / "a.mha", volume.hu, tilted))


def test_file_that_is_damaged_missing_or_flat_is_refused(tmp_path: Path) -> None:
    volume = noise_volume()
    whole = write_itk(tmp_path / "a.mhd", volume.hu, volume.geometry)
    whole.with_suffix(".raw").unlink()
    (tmp_path / "b.nrrd").write_bytes(b"NRRD0004\n")

    for path in (whole, tmp_path / "b.nrrd", tmp_path / "none.mha"):
        with pytest.raises(UnsupportedImageType, match="cannot be read"):
            read_volume(path)
    with pytest.raises(MaskRejected, match="cannot be read"):
        read_labels(whole, volume.geometry)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "calcium_voxels"), [("0187", 0), ("0506", 360), ("0909", 985), ("0987", 100)]
)
def test_expert_masks_in_nrrd_hold_the_calcium_that_their_list_says(
    real_data: Path, name: str, calcium_voxels: int
) -> None:
    path = real_data / "deepcac-masks" / f"{name}_msk.nrrd"
    with path.open("rb") as stream:
        header = dict(
            line.split(": ", 1)
            for line in stream.read(2000).split(b"\n\n")[0].decode().splitlines()
            if ": " in line and not line.startswith("#")
        )
    columns, rows, slices = (int(size) for size in header["sizes"].split())
    origin = [float(part) for part in header["space origin"].strip("()").split(",")]
    steps = [
        [float(part) for part in step.strip("()").split(",")]
        for step in header["space directions"].split()
    ]
    geometry = VolumeGeometry.axial(
        (slices, rows, columns),
        (steps[2][2], steps[1][1], steps[0][0]),
        (origin[0], origin[1], origin[2]),
    )

    labels = read_labels(path, geometry, {3: CORONARY})

    assert np.count_nonzero(labels.calcium_mask) == calcium_voxels
