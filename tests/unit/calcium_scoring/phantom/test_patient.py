from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from calcium_scoring.phantom.anatomy import build_anatomy
from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.patient import PhantomPatient, simulate_patient
from calcium_scoring.phantom.plaque import reference_agatston_score, sample_plaques
from calcium_scoring.phantom.settings import (
    PatientSettings,
    ScanSettings,
    sample_patient,
    sample_scan,
)
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.scoring.agatston import agatston_score
from calcium_scoring.scoring.categories import risk_category
from calcium_scoring.scoring.lesions import find_slice_lesions
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.label_map import Artery

SMALL_SCAN = ScanSettings(
    kind="gated",
    matrix_size=128,
    pixel_spacing_mm=1.6,
    spacing_between_slices_mm=3.0,
    slice_thickness_mm=3.0,
    z_extent_mm=30.0,
    z_centre_mm=8.0,
    noise_sd_hu=8.0,
    psf_sigma_mm=0.8,
)

ONE_SLICE = replace(SMALL_SCAN, matrix_size=64, pixel_spacing_mm=3.2, z_extent_mm=3.0)


@cache
def small_patient(burden_category: str, seed: int = 4) -> PhantomPatient:
    return simulate_patient(seed, scan_settings=SMALL_SCAN, burden_category=burden_category)


def measured_score(patient: PhantomPatient) -> float:
    lesions = find_slice_lesions(patient.volume, patient.truth, LITERATURE)
    return agatston_score(
        lesions,
        LITERATURE,
        spacing_between_slices_mm=patient.volume.geometry.spacing_between_slices_mm,
    )


def test_same_seed_and_settings_give_identical_bytes() -> None:
    first = small_patient("101-400")
    second = simulate_patient(4, scan_settings=SMALL_SCAN, burden_category="101-400")

    assert first.volume.hu.tobytes() == second.volume.hu.tobytes()
    assert first.truth.labels.tobytes() == second.truth.labels.tobytes()
    assert first.structures.tobytes() == second.structures.tobytes()
    assert first.patient_settings == second.patient_settings


def test_another_seed_is_another_patient() -> None:
    first, other = (
        simulate_patient(seed, scan_settings=ONE_SLICE, burden_category="0") for seed in (4, 5)
    )

    assert not np.array_equal(first.volume.hu, other.volume.hu)


def test_scan_has_whole_hu_in_a_circular_field_of_view() -> None:
    hu = small_patient("101-400").volume.hu

    assert np.array_equal(hu, np.rint(hu))
    assert (hu[:, 0, 0] == -1024.0).all()
    assert hu.min() == -1024.0
    assert hu.max() <= 3071.0


def test_every_voxel_of_the_truth_reaches_the_threshold() -> None:
    patient = small_patient(">400")

    assert patient.truth.calcium_mask.any()
    assert patient.volume.hu[patient.truth.calcium_mask].min() >= 130.0


def test_truth_lies_at_the_plaques() -> None:
    patient = small_patient(">400")
    geometry = patient.volume.geometry
    voxels = np.argwhere(patient.truth.calcium_mask)
    positions = (np.c_[voxels, np.ones(len(voxels))] @ geometry.affine.T)[:, :3]
    centres = np.array([plaque.centre_lps_mm for plaque in patient.plaques])
    nearest = np.linalg.norm(positions[:, None] - centres[None], axis=2).min(axis=1)

    # A plaque of at most 5 mm, two standard deviations of blur and half a slice.
    assert nearest.max() < 8.0


def test_patient_without_calcium_has_an_empty_truth() -> None:
    patient = small_patient("0")

    assert patient.plaques == ()
    assert not patient.truth.calcium_mask.any()
    assert measured_score(patient) == 0.0


@pytest.mark.parametrize("burden_category", ["0", "1-10", "11-100", "101-400", ">400"])
def test_reference_scores_of_the_plaques_sum_to_the_category_aimed_at(
    burden_category: str,
) -> None:
    settings = sample_patient(2, burden_category=burden_category)
    anatomy = build_anatomy(settings, np.random.SeedSequence(2).spawn(5))
    plaques = sample_plaques(
        anatomy.coronaries,
        burden_category=burden_category,
        body_scale=settings.body_scale,
        rng=np.random.default_rng(7),
    )

    assert risk_category(reference_agatston_score(plaques)) == burden_category


def test_severe_burden_scores_high_in_the_scan() -> None:
    scan = replace(SMALL_SCAN, z_extent_mm=90.0, z_centre_mm=-8.0)
    patient = simulate_patient(4, scan_settings=scan, burden_category=">400")

    # Pixels are coarse, and a little of the heart lies outside.
    assert measured_score(patient) > 100.0


def test_plaque_lies_in_the_wall_of_its_own_artery() -> None:
    patient = small_patient(">400")
    streams = np.random.SeedSequence([4, 3]).spawn(1)[0].spawn(5)
    anatomy = build_anatomy(patient.patient_settings, streams)
    scale = patient.patient_settings.body_scale

    for plaque in patient.plaques:
        courses = np.concatenate(
            [
                branch.lumen.points * scale
                for branch in anatomy.coronaries.branches
                if branch.artery is plaque.owner
            ]
        )
        distances = np.linalg.norm(courses - np.array(plaque.centre_lps_mm), axis=1)
        # A wall of at most 3 mm and half a step between the points of the centre line.
        assert distances.min() < 4.0


@pytest.mark.parametrize("seed", range(4))
def test_arteries_run_where_they_belong(seed: int) -> None:
    anatomy = build_anatomy(sample_patient(seed), np.random.SeedSequence(seed).spawn(5))
    valve = anatomy.aortic_valve
    course = {branch.name: branch.lumen.points - valve for branch in anatomy.coronaries.branches}

    # LPS: x to the left, y to posterior, z to superior, from the aortic valve.
    assert course["LM"][-1, 0] > 5.0  # left of the root
    assert course["LAD"][-1, 0] > 50.0  # at the apex: left,
    assert course["LAD"][-1, 1] < -8.0  # in front
    assert course["LAD"][-1, 2] < -20.0  # and low
    assert course["LCX"][:, 1].max() > 15.0  # round the back
    assert course["RCA"][:, 0].min() < -8.0  # round the right
    assert course["RCA"][:, 2].min() < -25.0  # and to the diaphragm
    assert np.linalg.norm(course["LAD"][0] - course["LM"][-1]) < 1e-6
    assert np.linalg.norm(course["LCX"][0] - course["LM"][-1]) < 1e-6


def test_bone_is_labelled_as_a_structure_and_never_as_calcium() -> None:
    patient = small_patient(">400")

    bone = patient.structures == Structure.BONE
    assert bone.any()
    assert np.median(patient.volume.hu[bone]) > 130.0  # cortex and spongy bone alike
    assert not (bone & patient.truth.calcium_mask).any()


@pytest.mark.parametrize(("spacing_mm", "slices"), [(1.25, 12), (2.5, 6), (5.0, 3)])
def test_extent_is_covered_at_every_spacing(spacing_mm: float, slices: int) -> None:
    patient = simulate_patient(
        1,
        kind="chest",
        matrix_size=64,
        z_extent_mm=15.0,
        spacing_between_slices_mm=spacing_mm,
        slice_thickness_mm=5.0,
        burden_category="0",
    )

    assert patient.volume.geometry.shape == (slices, 64, 64)
    assert patient.volume.geometry.spacing_between_slices_mm == pytest.approx(spacing_mm)
    assert patient.volume.acquisition.slice_thickness_mm == 5.0


def test_smaller_matrix_keeps_the_field_of_view() -> None:
    full, small = sample_scan(3), sample_scan(3, matrix_size=128)

    assert small.field_of_view_mm == pytest.approx(full.field_of_view_mm)


def test_unknown_setting_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'slice_spacing' is a field of neither"):
        simulate_patient(1, slice_spacing=3.0)


def test_unknown_burden_category_is_refused_with_those_accepted() -> None:
    with pytest.raises(ValueError, match="0, 1-10, 11-100, 101-400, >400"):
        PatientSettings(burden_category="mild")


def test_plaque_mass_is_density_times_volume() -> None:
    deposit = Deposit(Artery.LAD, (0.0, 0.0, 0.0), np.eye(3), (3.0, 2.0, 1.0), 500.0)

    # 4/3 pi 6 = 25.13 mm3; 500 HU x 0.77 = 385 mg/cm3
    assert deposit.volume_mm3 == pytest.approx(25.133, abs=1e-3)
    assert deposit.mass_mg == pytest.approx(25.133e-3 * 385.0, rel=1e-4)


def test_heart_holds_the_coronary_calcium_and_no_bone() -> None:
    patient = small_patient(">400")

    assert patient.heart.shape == patient.volume.hu.shape
    in_heart = patient.heart & patient.truth.calcium_mask
    # The ostia lie at the sac's edge, and a blurred voxel may stick out of it.
    assert in_heart.sum() > 0.8 * patient.truth.calcium_mask.sum()
    assert not (patient.heart & (patient.structures == Structure.BONE)).any()


@pytest.mark.parametrize("seed", range(3))
def test_heart_of_a_whole_chest_has_the_volume_of_a_heart(seed: int) -> None:
    patient = simulate_patient(
        seed, kind="chest", matrix_size=96, spacing_between_slices_mm=8.0, slice_thickness_mm=5.0,
        z_extent_mm=240.0, z_centre_mm=0.0, burden_category="0",
    )  # fmt: skip
    litres = patient.heart.sum() * patient.volume.geometry.voxel_volume_mm3 * 1e-6
    rows = np.flatnonzero(patient.heart.any(axis=(1, 2)))

    # Heart with its blood and fat: some 0.25 l in a small woman, 1.6 l in a huge one.
    assert 0.2 < litres < 1.8
    assert rows[0] > 0
    assert rows[-1] < len(patient.heart) - 1
    assert 60.0 < len(rows) * 8.0 < 200.0


@pytest.mark.parametrize("seed", range(40))
def test_drawn_scans_hold_most_of_the_heart_in_at_most_150_slices(seed: int) -> None:
    scan = sample_scan(seed)
    low = scan.z_centre_mm - 0.5 * scan.z_extent_mm
    high = scan.z_centre_mm + 0.5 * scan.z_extent_mm

    assert scan.slice_count <= 150
    assert 0.6 <= scan.spacing_between_slices_mm <= 5.0
    assert scan.slice_thickness_mm >= scan.spacing_between_slices_mm
    # A heart reaches from about -60 to 40 mm of the aortic valve.
    assert min(high, 40.0) - max(low, -60.0) > 60.0
