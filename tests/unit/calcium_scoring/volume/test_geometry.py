from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.volume.geometry import VolumeGeometry


def test_axial_grid_runs_to_superior_posterior_and_left() -> None:
    geometry = VolumeGeometry.axial((4, 5, 6), (2.5, 0.5, 0.75), (-100.0, -90.0, -300.0))

    assert geometry.position_lps_mm((2, 1, 3)) == pytest.approx((-97.75, -89.5, -295.0))
    assert geometry.index_at((-97.75, -89.5, -295.0)) == pytest.approx((2, 1, 3))
    assert geometry.spacing_mm == (2.5, 0.5, 0.75)
    assert geometry.pixel_area_mm2 == 0.375
    assert geometry.voxel_volume_mm3 == pytest.approx(0.9375)


def test_ras_affine_differs_from_lps_in_the_signs_of_x_and_y() -> None:
    geometry = VolumeGeometry.axial((2, 2, 2), (1.0, 1.0, 1.0), (10.0, 20.0, 30.0))

    assert geometry.affine_ras[:3, 3] == pytest.approx([-10.0, -20.0, 30.0])


def test_grids_differ_when_a_far_corner_differs() -> None:
    near = VolumeGeometry.axial((100, 512, 512), (3.0, 0.5, 0.5))
    far = VolumeGeometry.axial((100, 512, 512), (3.0, 0.5, 0.5001))

    assert near.is_same_grid(near)
    assert not near.is_same_grid(far)  # 511 x 0.0001 mm = 0.05 mm


def test_an_affine_without_three_axes_is_an_error() -> None:
    with pytest.raises(ValueError, match="axes"):
        VolumeGeometry((1, 1, 1), np.zeros((4, 4)))


def test_voxels_of_a_box_stay_where_they_are() -> None:
    geometry = VolumeGeometry.axial((10, 20, 30), (2.5, 0.5, 0.75), (-100.0, -90.0, -300.0))

    box = geometry.cropped(np.s_[2:6, 5:, -10:])

    assert box.shape == (4, 15, 10)
    assert box.position_lps_mm((1, 2, 3)) == pytest.approx(geometry.position_lps_mm((3, 7, 23)))


def test_a_box_with_gaps_is_an_error() -> None:
    with pytest.raises(ValueError, match="step of 2"):
        VolumeGeometry.axial((4, 4, 4), (1.0, 1.0, 1.0)).cropped(np.s_[::2, :, :])
