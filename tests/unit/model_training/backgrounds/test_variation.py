"""One scan becomes many: what merging, softening and cutting do to a grid."""

from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.volume.ct_volume import AIR_HU
from calcium_scoring.volume.geometry import VolumeGeometry
from model_training.backgrounds.variation import (
    THICKEST_SPACING_MM,
    InsertionSettings,
    SliceMerge,
    merged,
    near_heart,
    sample_settings,
    softened,
)


def test_merged_slice_lies_in_the_middle_of_its_sources() -> None:
    geometry = VolumeGeometry.axial((6, 4, 4), (2.0, 1.0, 1.0), (0.0, 0.0, 100.0))
    merge = SliceMerge(first=1, step=2, width=2)

    # Slices 1 and 2 at 102 and 104 mm, slices 3 and 4 at 106 and 108 mm.
    assert merge.sources(6) == [range(1, 3), range(3, 5)]
    coarse = merge.geometry(geometry)
    assert coarse.shape == (2, 4, 4)
    assert coarse.spacing_between_slices_mm == pytest.approx(4.0)
    assert coarse.position_lps_mm((0, 0, 0))[2] == pytest.approx(103.0)


def test_two_slices_of_five_mm_that_overlap_by_half_cover_seven_and_a_half() -> None:
    assert SliceMerge(width=2).thickness_mm(5.0, 2.5) == pytest.approx(7.5)


def test_merged_slice_is_the_mean_of_its_sources() -> None:
    volume = np.zeros((3, 2, 2), dtype=np.float32)
    volume[1], volume[2] = 100.0, 200.0

    assert merged(volume, range(1, 3)) == pytest.approx(np.full((2, 2), 150.0))


@pytest.mark.parametrize(("spacing_mm", "thickness_mm"), [(1.25, 1.25), (2.5, 5.0), (5.0, 5.0)])
def test_drawn_slices_are_never_too_far_apart_to_be_scored(
    spacing_mm: float, thickness_mm: float
) -> None:
    geometry = VolumeGeometry.axial((80, 8, 8), (spacing_mm, 1.0, 1.0))

    for seed in range(60):
        drawn = sample_settings(geometry, thickness_mm, np.random.default_rng(seed))
        assert drawn.merge.step * spacing_mm <= THICKEST_SPACING_MM
        assert drawn.merge.first < drawn.merge.step


def test_softer_kernel_leaves_the_padding_of_the_field_of_view_as_it_is() -> None:
    image = np.full((20, 20), 40.0, dtype=np.float32)
    image[:, :5] = AIR_HU

    soft = softened(image, 1.5)

    assert (soft[:, :5] == AIR_HU).all()
    assert soft[10, 5] < 40.0


def test_box_around_the_heart_is_wider_by_the_margin() -> None:
    geometry = VolumeGeometry.axial((20, 40, 40), (5.0, 2.0, 2.0))
    heart = np.zeros(geometry.shape, dtype=np.bool_)
    heart[8:10, 15:20, 15:20] = True

    # 10 mm are two slices or five pixels, and the scan ends before 60 mm.
    assert near_heart(geometry, heart, (10.0, 10.0, 60.0)) == (
        slice(6, 12), slice(10, 25), slice(0, 50),
    )  # fmt: skip


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="Burden category '500' is unknown"):
        InsertionSettings(burden_category="500")
    with pytest.raises(ValueError, match="cannot be negative"):
        InsertionSettings(added_noise_hu=-1.0)
    with pytest.raises(ValueError, match="one or more at a time"):
        SliceMerge(step=0)
