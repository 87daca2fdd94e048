"""Whether the phantom's body is a body: organs on their side, tissues at their attenuation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.anatomy import Anatomy, build_anatomy
from calcium_scoring.phantom.painting import PlanePainter
from calcium_scoring.phantom.settings import ScanSettings, sample_patient, sample_scan
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.label_map import Artery

PIXEL_MM = 2.0
SCAN = ScanSettings(
    matrix_size=220,
    pixel_spacing_mm=PIXEL_MM,
    spacing_between_slices_mm=1.0,
    slice_thickness_mm=1.0,
    z_extent_mm=1.0,
)


@cache
def anatomy_of(seed: int) -> Anatomy:
    settings = sample_patient(seed, roll_deg=0.0, body_scale=1.0, arms_down=False, is_prone=False)
    return build_anatomy(settings, np.random.SeedSequence(seed).spawn(5))


def plane_at(
    seed: int, z_mm: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_]]:
    """A plane of 440 mm around x = 0, y = -35."""
    scanner = Scanner(SCAN, (0.0, -35.0, z_mm))
    return PlanePainter(anatomy_of(seed), scanner).plane(0)


def area_mm2(mask: NDArray[np.bool_]) -> float:
    return float(mask.sum()) * PIXEL_MM**2


@pytest.mark.parametrize("seed", range(3))
def test_same_plane_is_painted_twice_alike(seed: int) -> None:
    hu, structures, heart = plane_at(seed, 10.0)
    hu_again, structures_again, heart_again = plane_at(seed, 10.0)

    assert np.array_equal(hu, hu_again)
    assert np.array_equal(structures, structures_again)
    assert np.array_equal(heart, heart_again)


@pytest.mark.parametrize("seed", range(4))
def test_lungs_fill_the_chest_and_end_above_and_below(seed: int) -> None:
    def lung_mm2(z_mm: float) -> float:
        hu, _, _ = plane_at(seed, z_mm)
        middle = hu[60:150, 50:170]
        aerated = (middle > -950.0) & (middle < -600.0)
        # Without the edges of gas and skin, which are as thin as a pixel.
        return area_mm2(ndimage.binary_opening(aerated, iterations=2))

    assert lung_mm2(25.0) > 10_000.0
    assert lung_mm2(175.0) < 500.0
    assert lung_mm2(-170.0) < 500.0


@pytest.mark.parametrize("seed", range(4))
def test_heart_lies_in_front_of_the_spine_more_to_the_left(seed: int) -> None:
    _, _, heart = plane_at(seed, -10.0)
    rows, columns = np.nonzero(heart)

    assert area_mm2(heart) > 3000.0
    assert (columns.mean() - 109.5) * PIXEL_MM > 0.0
    assert (rows.mean() - 109.5) * PIXEL_MM - 35.0 < -30.0
    assert not plane_at(seed, 150.0)[2].any()
    assert not plane_at(seed, -150.0)[2].any()


@pytest.mark.parametrize(("z_mm", "least_mm2"), [(-120.0, 1000.0), (0.0, 1500.0), (140.0, 1500.0)])
def test_every_level_has_bones_that_are_labelled(z_mm: float, least_mm2: float) -> None:
    hu, structures, _ = plane_at(1, z_mm)
    bone = structures == Structure.BONE

    assert area_mm2(bone) > least_mm2
    assert np.median(hu[bone]) > 100.0
    dense = (hu > 400.0) & (structures == Structure.NONE)
    assert area_mm2(dense) < 50.0


def test_liver_lies_on_the_right_and_stomach_or_spleen_on_the_left() -> None:
    anatomy = anatomy_of(2)
    centres = {organ.name: organ.parts[0].centre for organ in anatomy.organs}

    # LPS: x grows to the left.
    assert centres["liver"][0] < -40.0
    assert centres["spleen"][0] > 60.0
    assert centres["stomach"][0] > 30.0
    assert centres["right kidney"][0] < 0.0 < centres["left kidney"][0]
    assert centres["thyroid"][2] > 120.0


def test_pericardium_is_where_the_heart_image_ends() -> None:
    anatomy = anatomy_of(3)
    points, normals = anatomy.pericardium(np.random.default_rng(1), 200)
    near = np.abs(points[:, 2] - 0.5 * round(points[0, 2] / 0.5)) < 1.0
    assert np.linalg.norm(normals, axis=1) == pytest.approx(np.ones(len(points)))
    assert 50 < len(points) < 200
    for point, normal in zip(points[near][:4], normals[near][:4], strict=True):
        _, _, heart = plane_at(3, float(point[2]))

        def is_inside(place: NDArray[np.float64], image: NDArray[np.bool_] = heart) -> bool:
            column = round(float(place[0] / PIXEL_MM + 109.5))
            row = round(float((place[1] + 35.0) / PIXEL_MM + 109.5))
            return bool(image[row, column])

        assert is_inside(point - 8.0 * normal * [1.0, 1.0, 0.0])


@pytest.mark.parametrize("seed", range(4))
def test_pericardium_is_nowhere_in_the_blood_of_a_great_vessel(seed: int) -> None:
    anatomy = anatomy_of(seed)
    points, _ = anatomy.pericardium(np.random.default_rng(seed), 200)
    for tube in (anatomy.aorta, *anatomy.great_vessels):
        for x, y, z in points[:40].tolist():
            distance = tube.distance(np.array([[x]]), np.array([[y]]), z, 5.0)
            assert float(distance[0, 0]) > 0.5


@pytest.mark.parametrize("seed", range(6))
def test_arteries_taper_and_belong_to_their_branch(seed: int) -> None:
    names = [branch.name for branch in anatomy_of(seed).coronaries.branches]

    assert {"LM", "LAD", "LCX", "RCA"} <= set(names)
    assert len(names) == len(set(names))
    for branch in anatomy_of(seed).coronaries.branches:
        assert branch.artery in (Artery.LM, Artery.LAD, Artery.LCX, Artery.RCA)
        assert np.median(branch.lumen.radii[-5:]) < 1.2 * np.median(branch.lumen.radii[:5])
        assert 0.2 < branch.lumen.radii.min() < branch.lumen.radii.max() < 6.0


def test_lung_vessels_thin_out_from_hilum_to_pleura() -> None:
    vessels = anatomy_of(1).lungs.vessels
    radii = np.array([tube.radii[-1] for tube in vessels])

    assert len(vessels) > 2000
    assert radii.max() > 5.0 * np.median(radii)
    assert np.median(radii) < 1.2


def test_patients_differ_in_fat_heart_and_blood() -> None:
    patients = [sample_patient(seed) for seed in range(200)]
    fat = np.array([patient.subcutaneous_fat_mm for patient in patients])
    epicardial = np.array([patient.epicardial_fat_mm for patient in patients])
    heart = np.array([patient.heart_scale for patient in patients])
    blood = np.array([patient.blood_hu for patient in patients])
    muscle = np.array([patient.muscle_hu for patient in patients])

    assert fat.min() < 5.0
    assert fat.max() > 35.0
    assert epicardial.min() < 1.0
    assert epicardial.max() > 7.0
    assert heart.max() / heart.min() > 1.4
    assert 26.0 <= blood.min() < 34.0
    assert (blood > muscle).mean() > 0.03  # nearly iso-dense, either may be brighter
    assert {patient.sex for patient in patients} == {"female", "male"}


def test_scans_cover_thin_thick_whole_partial_and_overlapping_ones() -> None:
    scans = [sample_scan(seed) for seed in range(300)]
    chest = [scan for scan in scans if scan.kind == "chest"]
    spacings = np.array([scan.spacing_between_slices_mm for scan in chest])
    extents = np.array([scan.z_extent_mm for scan in chest])
    overlap = np.array([s.slice_thickness_mm / s.spacing_between_slices_mm for s in chest])

    assert spacings.min() <= 0.6
    assert 0.1 < (spacings == 5.0).mean() < 0.3
    assert (extents > 260.0).mean() > 0.3
    assert (extents < 200.0).mean() > 0.2
    assert 0.1 < (overlap >= 1.25).mean() < 0.5


def test_prone_patient_lies_on_the_front() -> None:
    settings = sample_patient(4, roll_deg=0.0, body_scale=1.0, is_prone=True)
    anatomy = build_anatomy(settings, np.random.SeedSequence(4).spawn(5))
    scan = replace(SCAN, pixel_spacing_mm=2.4)
    _, structures, _ = PlanePainter(anatomy, Scanner(scan, (0.0, -35.0, 0.0))).plane(0)
    rows = np.nonzero(structures == Structure.TABLE)[0]

    # The table is in front: in the upper half of the picture.
    assert rows.size > 0
    assert rows.max() < 110
