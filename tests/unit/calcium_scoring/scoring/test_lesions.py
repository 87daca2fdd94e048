from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.scoring.lesions import (
    SliceLesion,
    find_slice_lesions,
    join_across_slices,
)
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import Artery, LabelMap
from tests.builders import plaque_phantom, soft_tissue_volume


def test_slices_of_one_plaque_are_one_lesion_with_its_place_and_size() -> None:
    volume, label_map = plaque_phantom(slice_count=3)

    (lesion,) = join_across_slices(find_slice_lesions(volume, label_map, LITERATURE))

    assert (lesion.first_slice_index, lesion.last_slice_index) == (1, 3)
    assert lesion.voxel_count == 300
    assert lesion.area_mm2 == pytest.approx(75.0)
    assert lesion.centroid_index == pytest.approx((2.0, 14.5, 14.5))


def test_plaques_with_a_free_slice_between_them_are_two_lesions() -> None:
    volume = soft_tissue_volume()
    hu = volume.hu.copy()
    hu[[1, 3], 5:10, 5:10] = 300.0
    volume = CtVolume(volume.geometry, hu)
    everywhere = LabelMap.from_mask(volume.geometry, np.ones(hu.shape, dtype=bool))

    lesions = join_across_slices(find_slice_lesions(volume, everywhere, LITERATURE))

    assert [lesion.first_slice_index for lesion in lesions] == [1, 3]


def test_two_branches_that_meet_in_a_higher_slice_are_one_lesion() -> None:
    volume = soft_tissue_volume()
    hu = volume.hu.copy()
    hu[1, 5:8, 5:8] = hu[1, 5:8, 20:23] = 300.0
    hu[2, 5:8, 5:23] = 300.0
    volume = CtVolume(volume.geometry, hu)
    everywhere = LabelMap.from_mask(volume.geometry, np.ones(hu.shape, dtype=bool))

    assert len(join_across_slices(find_slice_lesions(volume, everywhere, LITERATURE))) == 1


def test_branches_of_different_arteries_that_overlap_stay_two_lesions() -> None:
    volume = soft_tissue_volume()
    hu = volume.hu.copy()
    hu[1:3, 5:10, 5:10] = 300.0
    labels = np.zeros(hu.shape, dtype=np.uint8)
    labels[1], labels[2] = Artery.LM, Artery.LAD

    lesions = join_across_slices(
        find_slice_lesions(
            CtVolume(volume.geometry, hu), LabelMap(volume.geometry, labels), LITERATURE
        )
    )

    assert [lesion.artery for lesion in lesions] == [Artery.LM, Artery.LAD]


@pytest.mark.timeout(20)
def test_forty_thousand_specks_of_noise_are_joined_in_seconds() -> None:
    """Time must not grow with the square of their number: a noisy scan would never end."""
    specks = [
        SliceLesion(slice_index, None, np.array([[0], [2 * column]]), 0.25, 200.0, 200.0)
        for slice_index in range(400)
        for column in range(100)
    ]

    lesions = join_across_slices(specks)

    assert [lesion.voxel_count for lesion in lesions] == [400] * 100
    assert [lesion.slice_lesions[0].pixels[1, 0] for lesion in lesions] == list(range(0, 200, 2))


def test_a_lesion_over_the_border_of_two_arteries_goes_to_the_larger_part() -> None:
    volume, _ = plaque_phantom(slice_count=1)
    labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
    labels[1, 10:20, 10:13] = Artery.LM
    labels[1, 10:20, 13:20] = Artery.LAD

    report = measure_calcium(
        volume, LabelMap(volume.geometry, labels), protocol=LITERATURE, has_artery_labels=True
    )

    assert report.arteries is not None
    assert report.arteries[Artery.LAD].agatston_score == pytest.approx(50.0)
    assert report.arteries[Artery.LM].agatston_score == 0.0
    assert report.vessel_count == 1


def test_the_total_does_not_depend_on_how_calcium_is_shared_between_arteries() -> None:
    volume, binary = plaque_phantom()
    rng = np.random.default_rng(0)
    labels = np.where(binary.calcium_mask, rng.integers(1, 5, binary.labels.shape), 0)
    by_artery = LabelMap(volume.geometry, labels.astype(np.uint8))

    def total(label_map: LabelMap) -> float:
        report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
        return report.total.agatston_score

    assert total(by_artery) == total(binary)


def test_scores_per_artery_are_never_invented_for_a_binary_mask() -> None:
    volume, label_map = plaque_phantom()

    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)

    assert report.arteries is None
    assert report.vessel_count is None
    assert report.lesions[0].artery is None


def test_a_label_map_on_another_grid_is_an_error() -> None:
    volume, label_map = plaque_phantom()
    shifted = VolumeGeometry.axial(volume.geometry.shape, (3.0, 0.5, 0.5), (1.0, 0.0, 0.0))

    with pytest.raises(ValueError, match="grid"):
        find_slice_lesions(volume, LabelMap(shifted, label_map.labels), LITERATURE)


def test_mass_needs_a_calibration_factor_and_volume_does_not() -> None:
    volume, label_map = plaque_phantom(peak_hu=250.0)
    calibrated = CtVolume(volume.geometry, volume.hu, mass_calibration_factor=0.8)

    without = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
    with_factor = measure_calcium(
        calibrated, label_map, protocol=LITERATURE, has_artery_labels=False
    )

    # 2 slices x 25 mm2 x 3 mm
    assert without.total.volume_score_mm3 == pytest.approx(150.0)
    assert without.total.mass_score_mg is None
    # 0.8 mg/(cm3 HU) x 250 HU x 0.15 cm3
    assert with_factor.total.mass_score_mg == pytest.approx(30.0)
