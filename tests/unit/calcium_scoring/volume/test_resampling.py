from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.resampling import in_plane_grid, resample_slice


def flipped(geometry: VolumeGeometry, axis: int) -> VolumeGeometry:
    affine = geometry.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (geometry.shape[axis] - 1)
    affine[:3, axis] *= -1
    return VolumeGeometry(geometry.shape, affine)


def test_a_value_stays_at_its_place_in_the_patient() -> None:
    source = VolumeGeometry.axial((1, 64, 64), (3.0, 0.5, 0.5), (-16.0, -16.0, 0.0))
    target = in_plane_grid(source, 0.7)
    rows, _ = np.mgrid[:64, :64]
    y_mm = (-16.0 + 0.5 * rows).astype(np.float32)  # posterior position as the value

    resampled = resample_slice(y_mm, source, target)

    for row in (1, 10, 30):
        expected = target.position_lps_mm((0, row, 5))[1]
        assert resampled[row, 5] == pytest.approx(expected, abs=1e-4)


def test_resampling_to_the_same_spacing_changes_nothing() -> None:
    source = VolumeGeometry.axial((1, 32, 48), (3.0, 0.7, 0.7))
    values = np.random.default_rng(0).normal(size=(32, 48)).astype(np.float32)

    target = in_plane_grid(source, 0.7)

    assert target.is_same_grid(source)
    assert np.array_equal(resample_slice(values, source, target), values)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_source_with_a_reversed_axis_gives_the_same_picture(axis: int) -> None:
    source = VolumeGeometry.axial((1, 40, 40), (3.0, 0.7, 0.7))
    values = np.random.default_rng(1).normal(size=(40, 40)).astype(np.float32)
    usual = resample_slice(values, source, in_plane_grid(source, 0.9))
    reversed_source = flipped(source, axis)

    resampled = resample_slice(
        np.flip(values, axis - 1), reversed_source, in_plane_grid(reversed_source, 0.9)
    )

    assert np.allclose(resampled, usual, atol=1e-5)


def test_beyond_the_edge_a_given_value_fills_in() -> None:
    source = VolumeGeometry.axial((1, 4, 4), (3.0, 1.0, 1.0))
    target = VolumeGeometry.axial((1, 4, 4), (3.0, 1.0, 1.0), (2.0, 0.0, 0.0))
    values = np.ones((4, 4), dtype=np.float32)

    assert resample_slice(values, source, target, outside=-5.0)[0].tolist() == [1, 1, -5, -5]
