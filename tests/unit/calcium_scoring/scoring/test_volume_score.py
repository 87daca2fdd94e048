"""Plain and interpolated volume of plaques that can be worked out on paper."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest

from calcium_scoring.phantom.cylinders import CylinderInsert, cylinder_phantom
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import CalciumReport, measure_calcium
from calcium_scoring.scoring.volume_score import slices_between
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import Artery, LabelMap
from tests.builders import plaque_phantom, soft_tissue_volume


def measured(volume: CtVolume, label_map: LabelMap) -> CalciumReport:
    return measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=True)


@pytest.mark.parametrize(
    ("spacing_mm", "parts"),
    [((3.0, 0.5, 0.5), 6), ((3.0, 0.7, 0.7), 4), ((0.5, 0.5, 0.5), 1), ((0.3, 0.5, 0.5), 1),
     ((2.0, 0.5, 0.8), 3)],
)  # fmt: skip
def test_a_gap_is_divided_to_about_the_size_of_a_pixel(
    spacing_mm: tuple[float, float, float], parts: int
) -> None:
    assert slices_between(VolumeGeometry.axial((2, 2, 2), spacing_mm)) == parts


@pytest.mark.parametrize(
    ("peak_hu", "thirds"),
    [
        # From 40 HU, 130 HU are reached after 90 / (peak - 40) of the 3 mm to the plaque, of
        # whose 6 samples those at 1, 3, 5, 7, 9, 11 twelfths beyond count, on both sides.
        (250.0, 3),  # beyond 0.43: three of six
        (600.0, 5),  # beyond 0.16: five of six
        (135.0, 0),  # beyond 0.95: none
    ],
)
def test_interpolation_reaches_towards_the_neighbouring_slices(peak_hu: float, thirds: int) -> None:
    scores = measured(*plaque_phantom(peak_hu=peak_hu)).total

    # 25 mm2: two slices of 3 mm, or the 3 mm between them and both sides in steps of 0.5 mm
    assert scores.volume_score_mm3 == pytest.approx(150.0)
    assert scores.interpolated_volume_score_mm3 == pytest.approx(25.0 * (3.0 + 2 * thirds * 0.5))


def test_a_lesion_at_the_end_of_the_scan_keeps_its_outer_half_slice() -> None:
    volume = soft_tissue_volume()
    hu = volume.hu.copy()
    hu[:, 10:20, 10:20] = 300.0  # 25 mm2 through all six slices
    volume = CtVolume(volume.geometry, hu)
    everywhere = LabelMap.from_mask(volume.geometry, np.ones(hu.shape, dtype=bool))

    scores = measured(volume, everywhere).total

    assert scores.interpolated_volume_score_mm3 == pytest.approx(25.0 * 18.0)
    assert scores.volume_score_mm3 == pytest.approx(25.0 * 18.0)


def test_beside_bone_a_lesion_reaches_half_way() -> None:
    volume, label_map = plaque_phantom(peak_hu=300.0, slice_count=1)
    hu = volume.hu.copy()
    hu[[0, 2], 10:20, 10:20] = 800.0  # dense, but outside the mask

    scores = measured(CtVolume(volume.geometry, hu), label_map).total

    assert scores.interpolated_volume_score_mm3 == pytest.approx(25.0 * 3.0)


def test_interpolated_volumes_of_arteries_add_up_to_the_total() -> None:
    volume, _ = plaque_phantom(peak_hu=300.0, slice_count=4)
    labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
    labels[1:3, 10:20, 10:20] = Artery.LM
    labels[3:5, 10:20, 10:20] = Artery.LAD

    report = measured(volume, LabelMap(volume.geometry, labels))

    assert report.arteries is not None
    assert [lesion.artery for lesion in report.lesions] == [Artery.LM, Artery.LAD]
    parts = [scores.interpolated_volume_score_mm3 for scores in report.arteries.values()]
    assert sum(parts) == pytest.approx(report.total.interpolated_volume_score_mm3)
    # Each holds the half of the gap that is nearer to it.
    assert parts[0] == pytest.approx(parts[1])


def test_interpolated_volume_of_a_cylinder_varies_less_with_the_place_of_its_slices() -> None:
    def volumes(shift_mm: float) -> tuple[float, float]:
        # 220 HU in 40 HU: the threshold lies half way up its edge
        insert = CylinderInsert((16.1, 15.2, 20.0 + shift_mm), 2.5, 7.0, 220.0)
        phantom = cylinder_phantom([insert], shape=(16, 64, 64))
        scores = measured(phantom.volume, phantom.truth).total
        return scores.volume_score_mm3, scores.interpolated_volume_score_mm3

    plain, interpolated = zip(*(volumes(shift) for shift in np.arange(0.0, 3.0, 0.5)), strict=True)

    assert np.std(interpolated) / np.mean(interpolated) < np.std(plain) / np.mean(plain)
    assert np.mean(interpolated) == pytest.approx(pi * 2.5**2 * 7.0, rel=0.05)
