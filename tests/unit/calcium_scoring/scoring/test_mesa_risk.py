"""Arterial age and the ten-year risk, at values that others published."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import pytest

from calcium_scoring.scoring.mesa_risk import (
    RiskFactors,
    arterial_age_years,
    mesa_10_year_chd_risk,
)
from calcium_scoring.scoring.percentiles import NotApplicable, RaceOrEthnicity
from calcium_scoring.volume.patient import Sex

FACTORS = RiskFactors(
    has_diabetes=False,
    is_current_smoker=False,
    total_cholesterol_mg_per_dl=190.0,
    hdl_cholesterol_mg_per_dl=50.0,
    takes_lipid_medication=False,
    systolic_blood_pressure_mmhg=130.0,
    takes_blood_pressure_medication=True,
    has_family_history_of_heart_attack=False,
)


def risk(
    score: float = 0.0,
    factors: RiskFactors = FACTORS,
    *,
    age_years: int = 70,
    sex: Sex = Sex.MALE,
    group: RaceOrEthnicity = RaceOrEthnicity.HISPANIC,
) -> float:
    found = mesa_10_year_chd_risk(
        score, factors, age_years=age_years, sex=sex, race_or_ethnicity=group
    )
    assert isinstance(found, float)
    return found


def predictor(risk_value: float) -> float:
    """S of 1 - 0.99833 ** exp(S)."""
    return log(log(1.0 - risk_value) / log(0.99833))


@pytest.mark.parametrize(
    ("score", "age"), [(0, 39.1), (10, 56.5), (100, 72.6), (400, 82.6), (1000, 89.2)]
)
def test_arterial_age_of_a_score(score: float, age: float) -> None:
    assert arterial_age_years(score) == pytest.approx(age, abs=0.05)


def test_hispanic_man_of_seventy_without_calcium_has_a_risk_of_3_06_percent() -> None:
    # The example of the R package CVrisk: SBP 130, HDL 50, cholesterol 190, treated pressure.
    assert 100.0 * risk() == pytest.approx(3.06, abs=0.005)


def test_calcium_multiplies_the_hazard_by_the_score_plus_one_to_its_coefficient() -> None:
    assert predictor(risk(100.0)) - predictor(risk(0.0)) == pytest.approx(0.2743 * log(101.0))


@pytest.mark.parametrize(
    ("changed", "coefficient"),
    [
        ({"has_diabetes": True}, 0.3892),
        ({"is_current_smoker": True}, 0.3717),
        ({"takes_lipid_medication": True}, 0.1206),
        ({"takes_blood_pressure_medication": False}, -0.2278),
        ({"has_family_history_of_heart_attack": True}, 0.3239),
        ({"total_cholesterol_mg_per_dl": 200.0}, 0.043),
        ({"hdl_cholesterol_mg_per_dl": 60.0}, -0.114),
        ({"systolic_blood_pressure_mmhg": 140.0}, 0.066),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_each_risk_factor_has_its_published_coefficient(
    changed: dict[str, bool | float], coefficient: float
) -> None:
    factors = replace(FACTORS, **changed)  # type: ignore[arg-type]  # fields by name

    assert predictor(risk(0.0, factors)) - predictor(risk()) == pytest.approx(coefficient)


@pytest.mark.parametrize(
    ("group", "coefficient"),
    [(RaceOrEthnicity.WHITE, 0.0), (RaceOrEthnicity.CHINESE, -0.3475),
     (RaceOrEthnicity.BLACK, 0.0353), (RaceOrEthnicity.HISPANIC, -0.0222)],
)  # fmt: skip
def test_each_group_has_its_published_coefficient(
    group: RaceOrEthnicity, coefficient: float
) -> None:
    white = predictor(risk(group=RaceOrEthnicity.WHITE))

    assert predictor(risk(group=group)) - white == pytest.approx(coefficient)


def test_age_and_sex_have_their_published_coefficients() -> None:
    assert predictor(risk(age_years=71)) - predictor(risk()) == pytest.approx(0.0172)
    assert predictor(risk()) - predictor(risk(sex=Sex.FEMALE)) == pytest.approx(0.4079)
    # a white woman with nothing but age, cholesterol, HDL and pressure
    plain = replace(FACTORS, takes_blood_pressure_medication=False)
    terms = 0.0172 * 70 + 0.0043 * 190 - 0.0114 * 50 + 0.0066 * 130
    assert risk(0.0, plain, sex=Sex.FEMALE, group=RaceOrEthnicity.WHITE) == pytest.approx(
        1.0 - 0.99833 ** exp(terms)
    )


@pytest.mark.parametrize(("age_years", "holds"), [(44, False), (45, True), (85, True), (86, False)])
def test_equation_holds_from_45_to_85_years(age_years: int, holds: bool) -> None:
    found = mesa_10_year_chd_risk(
        0.0, FACTORS, age_years=age_years, sex=Sex.MALE, race_or_ethnicity=RaceOrEthnicity.WHITE
    )

    assert isinstance(found, NotApplicable) is not holds


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"total_cholesterol_mg_per_dl": 5.2}, "50 to 800 mg/dL"),
        ({"hdl_cholesterol_mg_per_dl": 1.3}, "10 to 200 mg/dL"),
        ({"systolic_blood_pressure_mmhg": 13.0}, "60 to 300 mmHg"),
        ({"hdl_cholesterol_mg_per_dl": 195.0}, "lies below it"),
        ({"total_cholesterol_mg_per_dl": float("nan")}, "not plausible"),
    ],
)
def test_values_of_another_unit_are_refused(changed: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(FACTORS, **changed)  # type: ignore[arg-type]  # fields by name
