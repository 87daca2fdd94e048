from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from calcium_scoring.phantom.anatomy import Anatomy, build_anatomy
from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.plaque import (
    mass_by_plaque,
    reference_agatston_score,
    sample_plaques,
)
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.volume.label_map import Artery


@cache
def anatomy() -> Anatomy:
    return build_anatomy(PatientSettings(), np.random.SeedSequence(1).spawn(5))


@cache
def plaques(burden_category: str, seed: int = 0) -> tuple[Deposit, ...]:
    return sample_plaques(
        anatomy().coronaries,
        burden_category=burden_category,
        body_scale=1.0,
        rng=np.random.default_rng(seed),
    )


def plate(x_mm: float = 0.0, excess_hu: float = 500.0, radius_mm: float = 4.0) -> Deposit:
    # 30 mm long in z: the slices in its middle see a disc.
    return Deposit(
        Artery.LAD, (x_mm, 0.0, 0.0), np.eye(3)[[2, 0, 1]], (15.0, radius_mm, radius_mm), excess_hu
    )


def test_reference_score_of_a_large_deposit_is_near_its_area_times_weight() -> None:
    # Slices 3 mm apart through an ellipsoid of half length 15: the areas are pi 16 (1 - z2/225);
    # z = 0, 3, ... 12 twice sum to 9 - 2 (9 + 36 + 81 + 144) / 225 = 6.6. The edge of 45 + 170 HU
    # is crossed half way up; the peak of 215 HU has the weight 2.
    score = reference_agatston_score([plate(excess_hu=170.0)])

    assert score == pytest.approx(2 * np.pi * 16.0 * 6.6, rel=0.15)


def test_reference_scores_of_deposits_apart_add_up() -> None:
    first, second = plate(-20.0), plate(20.0)

    together = reference_agatston_score([first, second])

    alone = reference_agatston_score([first]) + reference_agatston_score([second])
    assert together == pytest.approx(alone, rel=1e-6)


def test_deposit_too_faint_for_the_threshold_scores_nothing() -> None:
    # 45 + 60 HU of tissue and calcium stay below 130 HU.
    assert reference_agatston_score([plate(excess_hu=60.0)]) == 0.0
    assert reference_agatston_score([]) == 0.0


def test_mass_of_a_plaque_is_the_sum_of_its_deposits() -> None:
    drawn = plaques(">400")

    masses = mass_by_plaque(drawn)

    assert sum(masses.values()) == pytest.approx(sum(deposit.mass_mg for deposit in drawn))
    assert len(masses) < len(drawn)  # severe plaque is made of several deposits
    assert min(masses) >= 1


def test_deposits_of_a_plaque_belong_to_one_artery() -> None:
    owners: dict[int, set[int]] = {}
    for deposit in plaques(">400"):
        owners.setdefault(deposit.plaque, set()).add(int(deposit.owner))

    assert all(len(arteries) == 1 for arteries in owners.values())


def test_severe_burden_mixes_small_and_large_plaques_faint_and_dense() -> None:
    drawn = [deposit for seed in range(2) for deposit in plaques(">400", seed)]
    volumes = [deposit.volume_mm3 for deposit in drawn]
    densities = [deposit.density_mg_per_cm3 for deposit in drawn]

    assert max(volumes) > 10.0 * min(volumes)
    assert min(densities) < 250.0
    assert max(densities) > 900.0


def test_patient_without_calcium_has_no_plaque() -> None:
    assert plaques("0") == ()
