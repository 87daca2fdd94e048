"""Arterial age, and the ten-year risk of coronary heart disease with calcium, both from MESA."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Final

from calcium_scoring.scoring.percentiles import NotApplicable, RaceOrEthnicity
from calcium_scoring.volume.patient import Sex

ARTERIAL_AGE_SOURCE: Final = (
    "McClelland et al., Am J Cardiol 2009;103:59-63: 39.1 + 7.25 ln(Agatston score + 1) years"
)

MESA_RISK_SOURCE: Final = (
    "McClelland et al., J Am Coll Cardiol 2015;66:1643-1653, doi 10.1016/j.jacc.2015.08.035, Table "
    "2, model with calcium: myocardial infarction, resuscitated cardiac arrest, death from "
    "coronary disease, and revascularization for angina"
)

MESA_RISK_AGES: Final = (45, 85)
"""Years for which the equation may be used."""


TOTAL_CHOLESTEROL_RANGE_MG_PER_DL: Final = (50.0, 800.0)
HDL_CHOLESTEROL_RANGE_MG_PER_DL: Final = (10.0, 200.0)
SYSTOLIC_BLOOD_PRESSURE_RANGE_MMHG: Final = (60.0, 300.0)
"""Values beyond are taken for slips, such as mmol/L in place of mg/dL; our choice."""


@dataclass(frozen=True)
class RiskFactors:
    """What the equation needs besides age, sex, race or ethnicity, and the Agatston score.

    Cholesterol is in mg/dL, blood pressure in mmHg. A value out of its range is a ValueError.
    """

    has_diabetes: bool
    is_current_smoker: bool
    total_cholesterol_mg_per_dl: float
    hdl_cholesterol_mg_per_dl: float
    takes_lipid_medication: bool
    systolic_blood_pressure_mmhg: float
    takes_blood_pressure_medication: bool
    has_family_history_of_heart_attack: bool

    def __post_init__(self) -> None:
        for name, value, (least, most), unit in (
            (
                "total cholesterol",
                self.total_cholesterol_mg_per_dl,
                TOTAL_CHOLESTEROL_RANGE_MG_PER_DL,
                "mg/dL",
            ),
            (
                "HDL cholesterol",
                self.hdl_cholesterol_mg_per_dl,
                HDL_CHOLESTEROL_RANGE_MG_PER_DL,
                "mg/dL",
            ),
            (
                "systolic blood pressure",
                self.systolic_blood_pressure_mmhg,
                SYSTOLIC_BLOOD_PRESSURE_RANGE_MMHG,
                "mmHg",
            ),
        ):
            if not least <= value <= most:
                raise ValueError(
                    f"A {name} of {value:g} {unit} is not plausible; {least:g} to {most:g} {unit} "
                    "is accepted."
                )
        if self.hdl_cholesterol_mg_per_dl >= self.total_cholesterol_mg_per_dl:
            raise ValueError("HDL cholesterol is a part of total cholesterol and lies below it.")


_BASELINE_SURVIVAL: Final = 0.99833
_OF_RACE_OR_ETHNICITY: Final = {
    RaceOrEthnicity.WHITE: 0.0,
    RaceOrEthnicity.CHINESE: -0.3475,
    RaceOrEthnicity.BLACK: 0.0353,
    RaceOrEthnicity.HISPANIC: -0.0222,
}


def arterial_age_years(agatston_score: float) -> float:
    """Return arterial age: at which the usual risk is that of this score, in years."""
    return 39.1 + 7.25 * log(agatston_score + 1.0)


def mesa_10_year_chd_risk(
    agatston_score: float,
    factors: RiskFactors,
    *,
    age_years: int,
    sex: Sex,
    race_or_ethnicity: RaceOrEthnicity,
) -> float | NotApplicable:
    """Return the probability (0 to 1) of a coronary event within ten years."""
    youngest, oldest = MESA_RISK_AGES
    if not youngest <= age_years <= oldest:
        return NotApplicable(
            f"The equation holds from {youngest} to {oldest} years; the patient is {age_years}."
        )
    predictor = (
        0.0172 * age_years
        + 0.4079 * (sex is Sex.MALE)
        + _OF_RACE_OR_ETHNICITY[race_or_ethnicity]
        + 0.3892 * factors.has_diabetes
        + 0.3717 * factors.is_current_smoker
        + 0.0043 * factors.total_cholesterol_mg_per_dl
        - 0.0114 * factors.hdl_cholesterol_mg_per_dl
        + 0.1206 * factors.takes_lipid_medication
        + 0.0066 * factors.systolic_blood_pressure_mmhg
        + 0.2278 * factors.takes_blood_pressure_medication
        + 0.3239 * factors.has_family_history_of_heart_attack
        + 0.2743 * log(agatston_score + 1.0)
    )
    return float(1.0 - _BASELINE_SURVIVAL ** exp(predictor))
