from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.model_input.preprocessing import (
    prepare_slices,
    slice_window,
    to_native_slice,
    window_indices,
)
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.model_input.tiling import segment_volume
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from tests.builders import soft_tissue_volume

SPEC = ModelSpec()


def test_model_units_run_from_zero_to_one_over_the_hu_range() -> None:
    geometry = VolumeGeometry.axial((1, 16, 16), (3.0, 0.7, 0.7))
    hu = np.full(geometry.shape, -1024.0, dtype=np.float32)
    hu[0, 0, :3] = (-300.0, 300.0, 2000.0)

    slices = prepare_slices(CtVolume(geometry, hu), SPEC).slices

    assert slices[0, 0, :4] == pytest.approx([0.0, 0.5, 1.0, 0.0])


def test_rows_and_columns_are_padded_with_air_to_the_stride_of_the_network() -> None:
    volume = soft_tissue_volume((2, 40, 50), (3.0, 0.7, 0.7))

    model_input = prepare_slices(volume, SPEC)

    assert model_input.slices.shape == (2, 48, 64)
    assert model_input.slices[:, 40:, :].max() == 0.0
    assert model_input.geometry.shape == (2, 40, 50)


def test_edge_slices_are_repeated_beyond_the_ends() -> None:
    assert window_indices(0, 20, 9).tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 4]
    assert window_indices(18, 20, 9).tolist() == [14, 15, 16, 17, 18, 19, 19, 19, 19]


def test_a_window_can_leave_slices_out_as_of_a_scan_with_fewer() -> None:
    assert window_indices(5, 20, 9, step=2).tolist() == [0, 0, 1, 3, 5, 7, 9, 11, 13]


def test_the_middle_of_a_window_is_its_slice() -> None:
    slices = np.arange(12, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)

    assert slice_window(slices, 7, SPEC)[4, 0, 0] == 7.0


@pytest.mark.parametrize("spacing_mm", [0.4, 0.7, 0.97])
def test_probabilities_come_back_to_the_place_they_stand_for(spacing_mm: float) -> None:
    volume = soft_tissue_volume((1, 128, 128), (3.0, spacing_mm, spacing_mm))
    model_input = prepare_slices(volume, SPEC)
    rows, columns = model_input.slices.shape[1:]
    blob = np.zeros((rows, columns), dtype=np.float32)
    row, column = 30, 50
    blob[row - 2 : row + 3, column - 2 : column + 3] = 1.0

    native = to_native_slice(blob, model_input)

    centre = np.argwhere(native > 0.5).mean(axis=0)
    expected_mm = model_input.geometry.position_lps_mm((0, row, column))
    found_mm = volume.geometry.position_lps_mm((0, centre[0], centre[1]))
    assert found_mm == pytest.approx(expected_mm, abs=0.5 * spacing_mm)


def test_voxels_below_130_hu_are_never_calcium_however_sure_the_network_is() -> None:
    volume = soft_tissue_volume((10, 32, 32), (3.0, 0.7, 0.7))
    hu = volume.hu.copy()
    hu[4, 10:12, 10:12] = 130.0
    volume = CtVolume(volume.geometry, hu)

    label_map = segment_volume(
        volume, SPEC, lambda patch: np.full((1, 1, *patch.shape[2:]), 20.0, dtype=np.float32)
    )

    assert np.argwhere(label_map.calcium_mask).tolist() == [
        [4, 10, 10], [4, 10, 11], [4, 11, 10], [4, 11, 11],
    ]  # fmt: skip
