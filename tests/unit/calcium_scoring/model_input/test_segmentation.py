"""A scan through both networks: the heart first, and words where it is not as it should be."""

from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.model_input.heart_region import HeartSpec
from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.segmentation import CalciumModel, HeartModel, segment_scan
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry

SPEC = ModelSpec(pixel_spacing_mm=3.0)
HEART_SPEC = HeartSpec(spacing_mm=6.0, smallest_shape=(8, 8, 8))
GEOMETRY = VolumeGeometry.axial((24, 50, 60), (5.0, 3.0, 3.0))
PLAQUE = np.s_[12, 20, 30]
RIB = np.s_[:, 4, 4:50]


def chest(*, heart_slices: tuple[int, int] = (6, 18)) -> CtVolume:
    """Lung, a heart of 60 mm a side (216 mL) with a plaque on it, and a rib 30 mm away."""
    hu = np.full(GEOMETRY.shape, -800.0, dtype=np.float32)
    hu[heart_slices[0] : heart_slices[1], 16:36, 20:40] = 40.0
    hu[PLAQUE] = 300.0
    hu[RIB] = 600.0
    return CtVolume(GEOMETRY, hu)


def everything_dense(ct_patch: ModelArray) -> ModelArray:
    """A calcium network that cannot tell bone from calcium."""
    return np.full((len(ct_patch), 1, *ct_patch.shape[2:]), 20.0, dtype=np.float32)


def soft_tissue(ct_coarse: ModelArray) -> ModelArray:
    return (1000.0 * (ct_coarse - 0.5)).astype(np.float32)


def nothing(ct_coarse: ModelArray) -> ModelArray:
    return np.full_like(ct_coarse, -5.0)


def test_bone_outside_the_heart_is_out_of_reach_whatever_it_looks_like() -> None:
    model = CalciumModel(SPEC, everything_dense, HeartModel(HEART_SPEC, soft_tissue))

    segmentation = segment_scan(chest(), model)

    assert np.argwhere(segmentation.label_map.calcium_mask).tolist() == [[12, 20, 30]]
    assert segmentation.warnings == ()
    assert segmentation.region is not None
    assert segmentation.region.heart_volume_ml == pytest.approx(216.0)


def test_a_scan_without_a_heart_is_searched_as_a_whole_and_says_so() -> None:
    model = CalciumModel(SPEC, everything_dense, HeartModel(HEART_SPEC, nothing))

    segmentation = segment_scan(chest(), model)

    assert segmentation.label_map.calcium_mask[RIB].all()
    assert segmentation.region is None
    (warning,) = segmentation.warnings
    assert warning.code == "heart_not_found"
    assert "at least 150 mL" in warning.message
    assert warning.evidence == {"smallest_heart_ml": 150.0}


def test_a_model_without_a_heart_finder_searches_the_whole_scan_without_a_word() -> None:
    segmentation = segment_scan(chest(), CalciumModel(SPEC, everything_dense))

    assert segmentation.label_map.calcium_mask[RIB].all()
    assert segmentation.region is None
    assert segmentation.warnings == ()


@pytest.mark.parametrize("heart_slices", [(0, 18), (12, 24)])
def test_a_heart_that_is_cut_is_scored_with_a_warning(heart_slices: tuple[int, int]) -> None:
    model = CalciumModel(SPEC, everything_dense, HeartModel(HEART_SPEC, soft_tissue))

    segmentation = segment_scan(chest(heart_slices=heart_slices), model)

    assert segmentation.label_map.calcium_mask[PLAQUE]
    (warning,) = segmentation.warnings
    assert warning.code == "heart_cut"
    # 18 slices of 5 mm and 60 mm x 60 mm are 324 mL, 12 slices 216 mL.
    expected_ml = 18.0 * (heart_slices[1] - heart_slices[0])
    assert warning.evidence == {"heart_volume_ml": pytest.approx(expected_ml)}
    assert f"({expected_ml:.0f} mL of it in the scan)" in warning.message


def test_progress_is_told_of_every_slice_of_the_scan() -> None:
    model = CalciumModel(SPEC, everything_dense, HeartModel(HEART_SPEC, soft_tissue))
    heard: list[tuple[int, int]] = []

    segment_scan(chest(), model, lambda done, total: heard.append((done, total)))

    assert heard == [(done, 24) for done in range(1, 25)]
