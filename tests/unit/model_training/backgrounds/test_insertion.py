"""Inserted calcium: its mass, where it lies, what is labelled and what stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import Artery
from model_training.backgrounds.insertion import InsertedScan, insert_calcium, label_calcium
from model_training.backgrounds.scan import Background, background_of
from model_training.backgrounds.variation import InsertionSettings, SliceMerge
from tests.unit.model_training.backgrounds.straight_artery import TISSUE_HU, body

STILL = InsertionSettings(burden_category=">400", confuser_rate=0.0)


def inserted(
    background: Background, settings: InsertionSettings = STILL, seed: int = 3
) -> InsertedScan:
    return insert_calcium(background, settings=settings, seed=np.random.SeedSequence(seed))


def from_artery_mm() -> NDArray[np.float64]:
    """Distance of every pixel (row, column) from the artery at x = 15, y = 0 mm."""
    x = np.arange(64) - 31.5
    return np.asarray(np.hypot(x[np.newaxis] - 15.0, x[:, np.newaxis]))


def test_patient_without_calcium_is_the_scan_itself(background: Background) -> None:
    scan = inserted(background, replace(STILL, burden_category="0"))

    assert np.array_equal(scan.volume.hu, background.volume.hu)
    assert not scan.truth.labels.any()
    assert not scan.structures.any()
    assert scan.plaques == ()


def test_inserted_attenuation_is_that_of_the_deposits(background: Background) -> None:
    scan = inserted(background)

    added = float((scan.volume.hu - TISSUE_HU).sum()) * 2.5
    expected = sum(plaque.excess_hu * plaque.volume_mm3 for plaque in scan.plaques)
    assert added == pytest.approx(expected, rel=0.02)  # values are rounded to whole HU


def test_labelled_calcium_is_dense_and_lies_at_the_marked_artery(background: Background) -> None:
    scan = inserted(background)

    labelled = scan.truth.labels > 0
    assert set(np.unique(scan.truth.labels)) == {0, Artery.LAD}
    assert scan.volume.hu[labelled].min() >= 130.0
    assert np.broadcast_to(from_artery_mm(), labelled.shape)[labelled].max() <= 8.0


def test_far_from_the_artery_nothing_changes(background: Background) -> None:
    scan = inserted(background)

    assert (scan.volume.hu[:, from_artery_mm() > 12.0] == TISSUE_HU).all()


def test_plaque_in_fat_brings_the_wall_of_its_vessel(background: Background) -> None:
    fat = background_of(background.marks, body(-100.0))

    in_tissue, in_fat = inserted(background), inserted(fat)

    # The same plaque: without a wall its faint rim would stand in fat and be lost.
    tissue_count, fat_count = (int((one.truth.labels > 0).sum()) for one in (in_tissue, in_fat))
    assert 0.6 * tissue_count <= fat_count <= tissue_count


def test_confusers_are_labelled_by_kind_and_never_as_coronary_calcium(
    background: Background,
) -> None:
    settings = InsertionSettings(burden_category="0", confuser_rate=2.0)

    kinds: set[int] = set()
    for seed in range(8):
        scan = inserted(background, settings, seed)
        assert not scan.truth.labels.any()
        kinds |= set(np.unique(scan.structures).tolist())

    assert kinds >= {
        Structure.AORTIC_WALL_CALCIUM,
        Structure.AORTIC_VALVE_CALCIUM,
        Structure.MITRAL_ANNULUS_CALCIUM,
    }


def test_motion_spreads_calcium_but_takes_none_away(background: Background) -> None:
    still, moving = inserted(background), inserted(background, replace(STILL, motion_mm=5.0))

    totals = [float((scan.volume.hu - TISSUE_HU).sum()) for scan in (still, moving)]
    assert totals[1] == pytest.approx(totals[0], rel=0.1)
    assert moving.volume.hu.max() < still.volume.hu.max()


def test_merged_scan_lies_on_the_merged_grid_with_its_thickness(background: Background) -> None:
    scan = inserted(background, replace(STILL, merge=SliceMerge(first=0, step=2, width=2)))

    assert scan.volume.geometry.shape == (12, 64, 64)
    assert scan.volume.geometry.spacing_between_slices_mm == pytest.approx(5.0)
    assert scan.volume.acquisition.slice_thickness_mm == pytest.approx(5.0)
    assert scan.heart.shape == scan.structures.shape == scan.truth.labels.shape == (12, 64, 64)
    added = float((scan.volume.hu - TISSUE_HU).sum()) * 5.0
    expected = sum(plaque.excess_hu * plaque.volume_mm3 for plaque in scan.plaques)
    assert added == pytest.approx(expected, rel=0.02)


def test_added_noise_has_about_the_standard_deviation_that_was_asked_for(
    background: Background,
) -> None:
    settings = InsertionSettings(burden_category="0", confuser_rate=0.0, added_noise_hu=12.0)

    scan = inserted(background, settings)

    assert float(scan.volume.hu.std()) == pytest.approx(12.0, rel=0.25)


def test_scan_is_cut_to_the_heart_with_a_margin(background: Background) -> None:
    scan = inserted(background, replace(STILL, margin_mm=(0.0, 5.0, 5.0)))

    # The heart is a circle of 25 mm about the middle of 64 mm.
    _, rows, columns = scan.volume.geometry.shape
    assert rows == columns == pytest.approx(60, abs=2)
    assert scan.heart.any()


def test_same_seed_gives_the_same_bytes(background: Background) -> None:
    settings = replace(STILL, motion_mm=3.0, added_noise_hu=8.0, confuser_rate=2.0)

    first, second = inserted(background, settings), inserted(background, settings)

    assert np.array_equal(first.volume.hu, second.volume.hu)
    assert np.array_equal(first.truth.labels, second.truth.labels)


def test_padding_outside_the_field_of_view_stays_padding(background: Background) -> None:
    hu = body().hu.copy()
    hu[:, :4] = -1024.0
    padded = background_of(background.marks, CtVolume(body().geometry, hu))

    scan = inserted(padded, replace(STILL, added_noise_hu=10.0, softening_sigma_mm=0.7))

    assert (scan.volume.hu[:, :4] == -1024.0).all()


def test_rim_is_labelled_only_where_it_touches_a_dense_core() -> None:
    background = np.full((1, 7), 45.0, dtype=np.float32)
    # Excess of a core with its rim, a gap, and a faint spot alone.
    lad = np.array([[0.0, 90.0, 300.0, 90.0, 0.0, 55.0, 0.0]], dtype=np.float32)
    hu = background + lad + np.array([[0, 0, 0, 0, 0, 40, 0]], dtype=np.float32)

    labels = label_calcium(hu, background, {int(Artery.LAD): lad})

    # 135, 345 and 135 HU are connected; 140 HU with an excess below 60 HU is noise on soft plaque.
    assert labels.tolist() == [[0, 2, 2, 2, 0, 0, 0]]


def test_dense_neighbour_is_not_labelled_as_calcium() -> None:
    background = np.array([[45.0, 45.0, 400.0]], dtype=np.float32)
    rca = np.array([[200.0, 100.0, 30.0]], dtype=np.float32)

    labels = label_calcium(background + rca, background, {int(Artery.RCA): rca})

    assert labels.tolist() == [[4, 4, 0]]


def test_voxel_between_two_arteries_belongs_to_the_one_that_adds_more() -> None:
    background = np.full((1, 3), 45.0, dtype=np.float32)
    lad = np.array([[300.0, 150.0, 20.0]], dtype=np.float32)
    lcx = np.array([[10.0, 160.0, 250.0]], dtype=np.float32)

    labels = label_calcium(
        background + lad + lcx, background, {int(Artery.LAD): lad, int(Artery.LCX): lcx}
    )

    assert labels.tolist() == [[2, 3, 3]]
