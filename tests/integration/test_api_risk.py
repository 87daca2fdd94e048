"""What a score means, over HTTP: percentiles, the ten-year risk, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from calcium_scoring.dicom.write_series import SeriesAttributes
from service.api.schemas import RiskResponse
from tests.fakes import write_study_zip
from tests.integration.conftest import Service

NAME = "Topsecret^Patient"
PATIENT = SeriesAttributes(
    patient_name=NAME,
    patient_id="PID-4711",
    patient_birth_date="19560102",
    patient_sex="M",
    patient_age="070Y",
    study_date="20260201",
)

FACTORS: dict[str, Any] = {
    "has_diabetes": False,
    "is_current_smoker": False,
    "total_cholesterol_mg_per_dl": 190,
    "hdl_cholesterol_mg_per_dl": 50,
    "takes_lipid_medication": False,
    "systolic_blood_pressure_mmhg": 130,
    "takes_blood_pressure_medication": True,
    "has_family_history_of_heart_attack": False,
}


@pytest.fixture
def study_id(service: Service, tmp_path: Path) -> str:
    archive = write_study_zip(tmp_path / "patient.zip", attributes=PATIENT)
    with archive.open("rb") as stream:
        response = service.client.post("/studies", files={"file": ("x.zip", stream)})
    service.work()
    identifier: str = response.json()["id"]
    return identifier


def ask(service: Service, study_id: str, **known: object) -> httpx.Response:
    return service.client.post(f"/studies/{study_id}/risk", json=known)


def test_report_compares_the_score_by_age_and_sex_of_the_header(
    service: Service, study_id: str
) -> None:
    report = service.client.get(f"/studies/{study_id}/score").json()

    # Agatston score 100 among men of 70 to 74: 64/310/892/1774
    hoff = report["categories"]["hoff_percentile"]
    assert (hoff["value"], hoff["reference_group"]) == ("25-50", "men, 70-74 years")
    assert len(report["conventions"]) == 7


def test_neither_name_nor_number_nor_birth_date_is_in_any_answer_or_file(
    service: Service, study_id: str, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = {**FACTORS, "total_cholesterol_mg_per_dl": 187.654321}
    answers = [
        service.client.get(f"/studies/{study_id}").text,
        service.client.get(f"/studies/{study_id}/score").text,
        ask(service, study_id, race_or_ethnicity="white", risk_factors=odd).text,
    ]
    logged = capfd.readouterr()

    for text in (*answers, logged.out, logged.err):
        for secret in ("Topsecret", "PID-4711", "19560102"):
            assert secret not in text
    assert "187.654321" not in logged.out + logged.err  # nor what was sent about the patient


def test_hispanic_man_with_his_risk_factors_has_his_ten_year_risk(
    service: Service, study_id: str
) -> None:
    response = ask(service, study_id, race_or_ethnicity="hispanic", risk_factors=FACTORS)

    assert response.status_code == 200
    answer = RiskResponse.model_validate(response.json())
    assert answer.agatston_score == pytest.approx(100.0)
    risk = answer.categories.mesa_10_year_chd_risk_percent
    # 1 - 0.99833 ** exp(S) of the example with 3.06 %, and 0.2743 ln(101) more in S
    assert risk.value == pytest.approx(10.43, abs=0.01)
    # Hispanic men of 70: 1/56/247/666
    assert answer.categories.mesa_percentile.value == "50-75"
    assert answer.categories.patient.age_source == "PatientAge (0010,1010)"


def test_without_anything_known_the_answer_is_that_of_the_report(
    service: Service, study_id: str
) -> None:
    report = service.client.get(f"/studies/{study_id}/score").json()

    assert ask(service, study_id).json()["categories"] == report["categories"]


def test_age_and_sex_of_the_request_go_before_those_of_the_header(
    service: Service, study_id: str
) -> None:
    answer = ask(service, study_id, age_years=52, sex="female").json()

    assert answer["categories"]["hoff_percentile"]["reference_group"] == "women, 50-54 years"


@pytest.mark.parametrize(
    ("known", "code"),
    [
        ({"risk_factors": FACTORS}, "risk_inputs_missing"),
        (
            {"age_years": 44, "race_or_ethnicity": "white", "risk_factors": FACTORS},
            "risk_age_out_of_range",
        ),
        (
            {"age_years": 86, "race_or_ethnicity": "white", "risk_factors": FACTORS},
            "risk_age_out_of_range",
        ),
        ({"race_or_ethnicity": "martian"}, "invalid_request"),
        ({"age_years": 200}, "invalid_request"),
        ({"weight_kg": 80}, "invalid_request"),
        ({"risk_factors": {**FACTORS, "total_cholesterol_mg_per_dl": 5.2}}, "invalid_request"),
        ({"risk_factors": {**FACTORS, "hdl_cholesterol_mg_per_dl": 195}}, "invalid_request"),
        ({"risk_factors": {"has_diabetes": True}}, "invalid_request"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_reason(
    service: Service, study_id: str, known: dict[str, Any], code: str
) -> None:
    response = ask(service, study_id, **known)

    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == code


def test_risk_of_a_study_that_is_not_scored_or_not_there(service: Service, study_zip: Path) -> None:
    with study_zip.open("rb") as stream:
        waiting = service.client.post("/studies", files={"file": ("x.zip", stream)}).json()["id"]

    assert ask(service, waiting).status_code == 409
    assert ask(service, "a" * 26).status_code == 404
