"""What a score means for a patient, as part of the report and as the answer about a risk.

Every entry has its source; where an input lacks or a study does not cover the patient, its value
is null and ``reason`` says why. Nothing of the patient but age, sex, and the race or ethnicity
that was given, appears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from calcium_scoring.scoring.categories import (
    CAC_DRS_SOURCE,
    RISK_CATEGORIES_SOURCE,
    cac_drs,
    risk_category,
)
from calcium_scoring.scoring.mesa_risk import (
    ARTERIAL_AGE_SOURCE,
    MESA_RISK_AGES,
    MESA_RISK_SOURCE,
    RiskFactors,
    arterial_age_years,
    mesa_10_year_chd_risk,
)
from calcium_scoring.scoring.percentiles import (
    HOFF_SOURCE,
    MESA_PERCENTILE_SOURCE,
    PERCENTILES,
    NotApplicable,
    RaceOrEthnicity,
    ReferencePercentile,
    hoff_percentile,
    mesa_percentile,
)
from calcium_scoring.volume.patient import UNKNOWN_PATIENT, PatientFacts, Sex
from service.application.errors import RiskAgeOutOfRange, RiskInputsMissing

CategoriesDocument: TypeAlias = dict[str, Any]
"""JSON values only; ``CategoriesResponse`` of the API is its schema."""

GIVEN: Final = "given by the user"


@dataclass(frozen=True)
class GivenFacts:
    """What a user says about the patient; what is None is taken from the header."""

    age_years: int | None = None
    sex: Sex | None = None
    race_or_ethnicity: RaceOrEthnicity | None = None
    risk_factors: RiskFactors | None = None


NOTHING_GIVEN: Final = GivenFacts()


def categories_document(
    agatston_score: float,
    vessel_count: int | None,
    patient: PatientFacts,
    given: GivenFacts = NOTHING_GIVEN,
) -> CategoriesDocument:
    """Return every category of an unrounded score, each with its source.

    Raises
    ------
    RiskInputsMissing, RiskAgeOutOfRange
        Risk factors are given, and the ten-year risk cannot be said all the same.
    """
    patient = _told(patient, given)
    return {
        "patient": {
            "age_years": patient.age_years,
            "age_source": patient.age_source,
            "sex": None if patient.sex is None else patient.sex.value,
            "sex_source": patient.sex_source,
            "race_or_ethnicity": (
                None if given.race_or_ethnicity is None else given.race_or_ethnicity.value
            ),
        },
        "risk_category": _entry(risk_category(agatston_score), RISK_CATEGORIES_SOURCE),
        "cac_drs": _entry(
            cac_drs(agatston_score, vessel_count),
            CAC_DRS_SOURCE,
            "The number of vessels is not known: the mask does not tell arteries apart.",
        ),
        "hoff_percentile": _percentile(_hoff(agatston_score, patient), HOFF_SOURCE),
        "mesa_percentile": _percentile(
            _mesa(agatston_score, patient, given.race_or_ethnicity), MESA_PERCENTILE_SOURCE
        ),
        "arterial_age_years": _entry(arterial_age_years(agatston_score), ARTERIAL_AGE_SOURCE),
        "mesa_10_year_chd_risk_percent": _risk(agatston_score, patient, given),
    }


def facts_of_report(report: Mapping[str, Any]) -> PatientFacts:
    """Return age and sex as a report document has them from the header; unknown where it is old."""
    patient = report.get("categories", {}).get("patient")
    if patient is None:
        return UNKNOWN_PATIENT
    return PatientFacts(
        patient["age_years"],
        None if patient["sex"] is None else Sex(patient["sex"]),
        patient["age_source"],
        patient["sex_source"],
    )


def _told(patient: PatientFacts, given: GivenFacts) -> PatientFacts:
    if given.age_years is not None:
        patient = replace(patient, age_years=given.age_years, age_source=GIVEN)
    if given.sex is not None:
        patient = replace(patient, sex=given.sex, sex_source=GIVEN)
    return patient


def _hoff(agatston_score: float, patient: PatientFacts) -> ReferencePercentile | NotApplicable:
    if patient.age_years is None or patient.sex is None:
        return _not_known(_unknown_facts(patient))
    return hoff_percentile(agatston_score, patient.age_years, patient.sex)


def _mesa(
    agatston_score: float, patient: PatientFacts, group: RaceOrEthnicity | None
) -> ReferencePercentile | NotApplicable:
    if patient.age_years is None or patient.sex is None or group is None:
        return _not_known(_unknown_facts(patient, group, needs_group=True))
    return mesa_percentile(agatston_score, patient.age_years, patient.sex, group)


def _unknown_facts(
    patient: PatientFacts, group: RaceOrEthnicity | None = None, *, needs_group: bool = False
) -> dict[str, str]:
    """Return what is not known of a patient, and why."""
    unknown = {}
    if patient.age_years is None:
        unknown["age_years"] = patient.age_source
    if patient.sex is None:
        unknown["sex"] = patient.sex_source
    if needs_group and group is None:
        unknown["race_or_ethnicity"] = "not given; it is never taken from the header"
    return unknown


_WORDS_OF_FACTS: Final = {
    "age_years": "age",
    "sex": "sex",
    "race_or_ethnicity": "race or ethnicity",
}


def _not_known(facts: Mapping[str, str]) -> NotApplicable:
    words = ", ".join(f"{_WORDS_OF_FACTS[name]} ({why})" for name, why in facts.items())
    return NotApplicable(f"Not known: {words}.")


def _percentile(found: ReferencePercentile | NotApplicable, source: str) -> dict[str, Any]:
    if isinstance(found, NotApplicable):
        return {
            **_entry(None, source, found.reason),
            "reference_group": None,
            "reference_scores": None,
            "age_method": None,
        }
    return {
        **_entry(found.band, source),
        "reference_group": found.reference_group,
        "reference_scores": [
            {"percentile": percentile, "agatston_score": float(score)}
            for percentile, score in zip(PERCENTILES, found.reference_scores, strict=True)
        ],
        "age_method": found.age_method,
    }


def _risk(agatston_score: float, patient: PatientFacts, given: GivenFacts) -> dict[str, Any]:
    if given.risk_factors is None:
        return _entry(
            None,
            MESA_RISK_SOURCE,
            "Risk factors were not given: POST /studies/{id}/risk or `cacscore risk`.",
        )
    if patient.age_years is None or patient.sex is None or given.race_or_ethnicity is None:
        raise RiskInputsMissing(_unknown_facts(patient, given.race_or_ethnicity, needs_group=True))
    risk = mesa_10_year_chd_risk(
        agatston_score,
        given.risk_factors,
        age_years=patient.age_years,
        sex=patient.sex,
        race_or_ethnicity=given.race_or_ethnicity,
    )
    if isinstance(risk, NotApplicable):
        raise RiskAgeOutOfRange(patient.age_years, MESA_RISK_AGES)
    return _entry(100.0 * risk, MESA_RISK_SOURCE)


def _entry(value: str | float | None, source: str, reason: str = "") -> dict[str, Any]:
    return {"value": value, "source": source, "reason": reason if value is None else None}
