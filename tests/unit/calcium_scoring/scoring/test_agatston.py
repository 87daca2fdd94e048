from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.scoring.agatston import density_weight
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from tests.builders import plaque_phantom, soft_tissue_volume


def score(volume: CtVolume, label_map: LabelMap, protocol: ScoringProtocol = LITERATURE) -> float:
    report = measure_calcium(volume, label_map, protocol=protocol, has_artery_labels=False)
    return report.total.agatston_score


def whole_grid(volume: CtVolume) -> LabelMap:
    return LabelMap(volume.geometry, np.full(volume.geometry.shape, CORONARY, dtype=np.uint8))


@pytest.mark.parametrize("spacing_between_slices_mm", [0.7, 1.5, 3.0, 5.0])
def test_score_is_scaled_to_three_millimetre_spacing(spacing_between_slices_mm: float) -> None:
    volume, label_map = plaque_phantom(
        peak_hu=250.0, spacing_between_slices_mm=spacing_between_slices_mm
    )

    # 2 slices x 25 mm2 x weight 2, scaled by spacing / 3 mm
    assert score(volume, label_map) == pytest.approx(100.0 * spacing_between_slices_mm / 3.0)


@pytest.mark.parametrize(
    ("peak_hu", "weight"),
    [
        (129.99, 0), (130.0, 1), (199.99, 1), (200.0, 2), (299.5, 2), (300.0, 3), (399.99, 3),
        (400.0, 4), (3071.0, 4),
    ],
)  # fmt: skip
def test_density_weight_changes_exactly_at_its_bounds(peak_hu: float, weight: int) -> None:
    assert density_weight(peak_hu, LITERATURE) == weight


def test_fractional_hu_just_below_the_threshold_does_not_count() -> None:
    volume, label_map = plaque_phantom(peak_hu=129.9)

    assert score(volume, label_map) == 0.0


def test_each_slice_is_weighed_by_its_own_peak_and_not_by_the_peak_of_the_lesion() -> None:
    volume, label_map = plaque_phantom(peak_hu=150.0)
    hu = volume.hu.copy()
    hu[2, 15, 15] = 450.0
    volume = CtVolume(volume.geometry, hu)

    # slice 1: 25 mm2 x weight 1; slice 2: 25 mm2 x weight 4. A 3D peak would give 200.
    assert score(volume, label_map) == pytest.approx(125.0)


def test_two_lesions_in_one_slice_are_weighed_apart() -> None:
    volume = soft_tissue_volume()
    hu = volume.hu.copy()
    hu[3, 2:6, 2:6] = 150.0
    hu[3, 20:24, 20:24] = 450.0
    volume = CtVolume(volume.geometry, hu)

    # 16 pixels of 0.25 mm2: 4 mm2 x 1 + 4 mm2 x 4
    assert score(volume, whole_grid(volume)) == pytest.approx(20.0)


def test_pixels_that_touch_at_a_corner_are_one_lesion_with_eight_connectivity() -> None:
    volume = soft_tissue_volume()
    hu = volume.hu.copy()
    hu[3, 2:4, 2:4] = 150.0
    hu[3, 4:6, 4:6] = 450.0
    volume = CtVolume(volume.geometry, hu)
    four = ScoringProtocol(name="four", in_plane_connectivity=4)

    assert score(volume, whole_grid(volume)) == pytest.approx(2.0 * 4)
    assert score(volume, whole_grid(volume), four) == pytest.approx(1.0 * 1 + 1.0 * 4)


def test_a_lesion_smaller_than_one_square_millimetre_is_noise() -> None:
    volume = soft_tissue_volume()  # pixels of 0.25 mm2
    hu = volume.hu.copy()
    hu[2, 5, 5:8] = 500.0  # 0.75 mm2
    hu[4, 5, 5:9] = 500.0  # 1.00 mm2
    volume = CtVolume(volume.geometry, hu)

    assert score(volume, whole_grid(volume)) == pytest.approx(4.0)


def test_pixel_area_comes_from_both_spacings_of_anisotropic_pixels() -> None:
    geometry = VolumeGeometry.axial((3, 20, 20), (3.0, 0.5, 0.8))
    hu = np.full(geometry.shape, 40.0, dtype=np.float32)
    hu[1, 5:10, 5:10] = 350.0
    volume = CtVolume(geometry, hu)

    # 25 pixels x 0.4 mm2 x weight 3
    assert score(volume, whole_grid(volume)) == pytest.approx(30.0)


def test_dense_voxels_outside_the_mask_do_not_count() -> None:
    volume, label_map = plaque_phantom()
    hu = volume.hu.copy()
    hu[:, 25:30, 25:30] = 900.0

    assert score(CtVolume(volume.geometry, hu), label_map) == pytest.approx(100.0)


def test_no_calcium_scores_exactly_zero() -> None:
    volume = soft_tissue_volume()

    assert score(volume, whole_grid(volume)) == 0.0
