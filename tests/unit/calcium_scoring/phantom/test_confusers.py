from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from calcium_scoring.phantom.anatomy import Anatomy, build_anatomy
from calcium_scoring.phantom.confusers import (
    CONFUSER_KINDS,
    _mitral_annulus,
    sample_confusers,
)
from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.structures import Structure

COUNT = 40


@cache
def anatomy(rate: float = 1.0) -> Anatomy:
    settings = PatientSettings(confuser_rate=rate, burden_category="11-100")
    return build_anatomy(settings, np.random.SeedSequence(1).spawn(5))


def confusers(seed: int, rate: float = 1.0) -> tuple[Deposit, ...]:
    streams = np.random.SeedSequence(seed).spawn(CONFUSER_KINDS)
    return sample_confusers(anatomy(rate), body_scale=1.0, streams=streams)


@cache
def drawn() -> tuple[tuple[Deposit, ...], ...]:
    return tuple(confusers(seed) for seed in range(COUNT))


@pytest.mark.parametrize(
    "kind",
    [
        Structure.AORTIC_WALL_CALCIUM,
        Structure.AORTIC_VALVE_CALCIUM,
        Structure.MITRAL_ANNULUS_CALCIUM,
        Structure.PERICARDIAL_CALCIUM,
        Structure.NODE_CALCIUM,
        Structure.BRONCHIAL_CARTILAGE,
        Structure.COSTAL_CARTILAGE_CALCIUM,
        Structure.VESSEL_WALL_CALCIUM,
        Structure.ORGAN_CALCIUM,
        Structure.ENTERIC_CONTRAST,
    ],
)
def test_every_kind_is_seen_in_about_a_tenth_of_the_patients_or_more(kind: Structure) -> None:
    patients = sum(any(deposit.owner is kind for deposit in patient) for patient in drawn())

    # The rarest have odds of 0.15: fewer than 2 of 40 would be a chance of 1 in 50.
    assert patients >= 2


def test_patient_whose_rate_is_zero_has_no_confusers() -> None:
    assert confusers(3, rate=0.0) == ()


def test_mitral_annulus_reaches_from_a_spot_to_ten_millilitres() -> None:
    drawn_rings = (
        _mitral_annulus(anatomy(), 1.0, 9.0, np.random.default_rng(seed)) for seed in range(150)
    )
    volumes = [sum(deposit.volume_mm3 for deposit in ring) for ring in drawn_rings if ring]

    assert min(volumes) < 60.0
    assert max(volumes) > 10_000.0


def test_mitral_annulus_calcium_lies_on_the_annulus() -> None:
    centre, normal = anatomy().mitral_annulus
    normal = normal / np.linalg.norm(normal)
    offsets = np.array(
        [
            np.array(deposit.centre_lps_mm) - centre
            for patient in drawn()
            for deposit in patient
            if deposit.owner is Structure.MITRAL_ANNULUS_CALCIUM
        ]
    )

    from_plane = offsets @ normal
    distances = np.linalg.norm(offsets - np.outer(from_plane, normal), axis=1)
    assert np.median(distances) == pytest.approx(16.5, abs=1.5)
    assert np.abs(from_plane).max() < 8.0


def test_aortic_wall_calcium_lies_at_the_wall_of_the_aorta_at_all_heights() -> None:
    aorta = anatomy().aorta
    centres = np.array(
        [
            deposit.centre_lps_mm
            for patient in drawn()
            for deposit in patient
            if deposit.owner is Structure.AORTIC_WALL_CALCIUM
        ]
    )
    apart = np.linalg.norm(centres[:, None] - aorta.points[None], axis=2)
    nearest = apart.argmin(axis=1)
    to_wall = apart.min(axis=1) - aorta.radii[nearest]

    assert np.abs(to_wall).max() < 4.0
    assert centres[:, 2].min() < -80.0  # abdominal
    assert centres[:, 2].max() > 70.0  # arch


def test_more_coronary_calcium_goes_with_more_calcium_elsewhere() -> None:
    def count(burden_category: str) -> int:
        settings = replace(anatomy().settings, burden_category=burden_category)
        patient = replace(anatomy(), settings=settings)
        streams = (np.random.SeedSequence(seed).spawn(CONFUSER_KINDS) for seed in range(12))
        return sum(
            len({deposit.owner for deposit in sample_confusers(patient, body_scale=1.0, streams=s)})
            for s in streams
        )

    assert count(">400") > count("0")
