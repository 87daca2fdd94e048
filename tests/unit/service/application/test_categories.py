"""What a score means: every entry with its source, null only with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from calcium_scoring.scoring.mesa_risk import RiskFactors
from calcium_scoring.scoring.percentiles import RaceOrEthnicity
from calcium_scoring.volume.patient import PatientFacts, Sex
from service.api.schemas import CategoriesResponse
from service.application.categories import (
    NOTHING_GIVEN,
    GivenFacts,
    categories_document,
    facts_of_report,
)
from service.application.errors import RiskAgeOutOfRange, RiskInputsMissing

MAN_OF_70 = PatientFacts(70, Sex.MALE, "PatientAge (0010,1010)", "PatientSex (0010,0040)")
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


def entries(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: entry for name, entry in document.items() if name != "patient"}


@pytest.mark.parametrize(
    ("patient", "given"),
    [
        (PatientFacts(), NOTHING_GIVEN),
        (MAN_OF_70, NOTHING_GIVEN),
        (MAN_OF_70, GivenFacts(race_or_ethnicity=RaceOrEthnicity.WHITE)),
        (PatientFacts(25, Sex.FEMALE), GivenFacts(race_or_ethnicity=RaceOrEthnicity.WHITE)),
        (
            MAN_OF_70,
            GivenFacts(race_or_ethnicity=RaceOrEthnicity.HISPANIC, risk_factors=FACTORS),
        ),
    ],
)
def test_every_entry_has_a_source_and_either_a_value_or_a_reason(
    patient: PatientFacts, given: GivenFacts
) -> None:
    document = categories_document(123.4, None, patient, given)

    for name, entry in entries(document).items():
        assert entry["source"], name
        assert (entry["value"] is None) is bool(entry["reason"]), name
    text = json.dumps(document, allow_nan=False)
    assert CategoriesResponse.model_validate_json(text).model_dump(mode="json") == document


def test_nothing_is_guessed_about_an_unknown_patient() -> None:
    document = categories_document(150.0, 3, PatientFacts())

    assert document["risk_category"]["value"] == "101-400"
    assert document["cac_drs"]["value"] == "A2/N3"
    assert document["arterial_age_years"]["value"] == pytest.approx(39.1 + 7.25 * 5.01728, abs=1e-4)
    for name in ("hoff_percentile", "mesa_percentile", "mesa_10_year_chd_risk_percent"):
        assert document[name]["value"] is None
    assert "age (not given)" in document["hoff_percentile"]["reason"]
    assert "race or ethnicity" in document["mesa_percentile"]["reason"]


def test_vessels_are_not_counted_where_arteries_are_not_told_apart() -> None:
    document = categories_document(150.0, None, MAN_OF_70)

    assert document["cac_drs"]["value"] is None
    assert "arteries" in document["cac_drs"]["reason"]


def test_what_is_given_goes_before_the_header_and_says_so() -> None:
    document = categories_document(100.0, None, MAN_OF_70, GivenFacts(52, Sex.FEMALE))

    assert document["patient"]["age_years"] == 52
    assert document["patient"]["age_source"] == "given by the user"
    # women of 50 to 54: 0/0/5/55
    assert document["hoff_percentile"]["reference_group"] == "women, 50-54 years"
    assert document["hoff_percentile"]["value"] == "90-100"


def test_percentiles_of_the_header_need_nothing_given() -> None:
    document = categories_document(310.0, None, MAN_OF_70)

    hoff = document["hoff_percentile"]
    assert hoff["value"] == "25-50"
    assert [one["agatston_score"] for one in hoff["reference_scores"]] == [64, 310, 892, 1774]
    assert document["patient"]["race_or_ethnicity"] is None


def test_risk_is_said_in_percent() -> None:
    given = GivenFacts(race_or_ethnicity=RaceOrEthnicity.HISPANIC, risk_factors=FACTORS)

    document = categories_document(0.0, None, MAN_OF_70, given)

    assert document["mesa_10_year_chd_risk_percent"]["value"] == pytest.approx(3.06, abs=0.005)


def test_risk_factors_without_age_sex_and_group_are_refused_with_what_lacks() -> None:
    with pytest.raises(RiskInputsMissing) as refused:
        categories_document(0.0, None, PatientFacts(70), GivenFacts(risk_factors=FACTORS))

    assert refused.value.evidence == {"missing": ["sex", "race_or_ethnicity"]}


@pytest.mark.parametrize("age_years", [44, 86])
def test_risk_beyond_the_ages_of_the_equation_is_refused(age_years: int) -> None:
    given = GivenFacts(age_years, None, RaceOrEthnicity.WHITE, FACTORS)

    with pytest.raises(RiskAgeOutOfRange, match="45 to 85"):
        categories_document(0.0, None, MAN_OF_70, given)


def test_facts_of_a_report_survive_it_and_an_old_report_has_none() -> None:
    report = {"categories": categories_document(0.0, None, MAN_OF_70)}

    assert facts_of_report(report) == MAN_OF_70
    assert facts_of_report({}) == PatientFacts()
