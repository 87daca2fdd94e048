"""Rules of a score and its meaning on the command line: what is chosen, printed and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calcium_scoring.dicom.write_series import SeriesAttributes
from service.cli.main import run
from tests.fakes import plaque_volume, write_study_zip, write_threshold_model

FACTORS = (
    "--total-cholesterol", "190", "--hdl", "50", "--systolic", "130", "--bp-medication",
    "--no-lipid-medication", "--no-diabetes", "--no-smoker", "--no-family-history",
)  # fmt: skip


@pytest.fixture
def series(tmp_path: Path) -> Path:
    attributes = SeriesAttributes(patient_name="Topsecret", patient_age="070Y", patient_sex="M")
    return write_study_zip(tmp_path / "series.zip", attributes=attributes)


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    file = tmp_path / "plaque.npy"
    np.save(file, plaque_volume().hu >= 130.0)
    return file


@pytest.fixture
def report(series: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(["measure", str(series), "--mask", str(mask), "--json"]) == 0
    file = tmp_path / "report.json"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    return file


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_reader_sees_what_the_score_means_and_what_others_would_score(
    series: Path, mask: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    assert run(["measure", str(series), "--mask", str(mask), "--race-or-ethnicity", "white"]) == 0

    shown = capsys.readouterr().out
    assert "70 years, male, white" in shown
    assert "25-50 of men, 70-74 years" in shown
    assert "the category is the same under all" in shown
    for name in ("ge", "siemens", "philips", "canon", "orcascore", "ai_cac", "deepcac"):
        assert name in shown
    assert "Topsecret" not in shown


def test_network_scores_by_the_chosen_rules(
    series: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_threshold_model(tmp_path / "threshold.onnx")
    arguments = ["--protocol", "siemens", "--tube-voltage-table", "grani_2018"]
    arguments += ["--mass-factor", "0.8", "--age", "52", "--sex", "female"]

    assert run(["score", str(series), "--model", str(model), "--json", *arguments]) == 0

    report = printed(capsys)
    assert report["protocol"]["name"] == "siemens"
    assert report["protocol"]["tube_voltage_table"] == "grani_2018"
    # 0.8 mg/(cm3 HU) x 250 HU x 0.15 cm3
    assert report["mass_score_mg"] == pytest.approx(30.0)
    assert report["series"]["mass_calibration_factor"] == 0.8
    assert report["categories"]["hoff_percentile"]["reference_group"] == "women, 50-54 years"


def test_rules_of_the_environment_hold_for_the_command_line_too(
    series: Path, mask: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACSCORE_PROTOCOL", "canon")
    monkeypatch.setenv("CACSCORE_MASS_CALIBRATION_FACTOR", "0.8")

    assert run(["measure", str(series), "--mask", str(mask), "--json"]) == 0

    report = printed(capsys)
    assert report["protocol"]["name"] == "canon"
    assert report["mass_score_mg"] == pytest.approx(30.0)


@pytest.mark.parametrize("factor", ["0", "-1", "750"])
def test_a_mass_factor_of_another_unit_is_a_mistake(
    factor: str, series: Path, mask: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["measure", str(series), "--mask", str(mask), "--mass-factor", factor]) == 2
    assert "mg/(cm3 HU)" in capsys.readouterr().err


def test_risk_of_a_report_is_that_of_the_service(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["risk", str(report), "--race-or-ethnicity", "hispanic", *FACTORS, "--json"]

    assert run(arguments) == 0

    risk = printed(capsys)["categories"]["mesa_10_year_chd_risk_percent"]
    assert risk["value"] == pytest.approx(10.43, abs=0.01)


def test_risk_is_printed_for_readers(
    report: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    assert run(["risk", str(report), "--race-or-ethnicity", "hispanic", *FACTORS]) == 0

    shown = capsys.readouterr().out
    assert "10.43 %" in shown
    assert "50-75 of Hispanic men, 70 years" in shown
    assert "Research use only" in shown


def test_some_risk_factors_are_not_taken_for_all(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["risk", str(report), "--race-or-ethnicity", "white", "--smoker"]) == 2
    assert "total cholesterol" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "risk_inputs_missing"),
        (("--race-or-ethnicity", "white", "--age", "44"), "risk_age_out_of_range"),
    ],
)
def test_a_risk_that_cannot_be_said_is_a_refusal(
    arguments: tuple[str, ...], code: str, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["risk", str(report), *arguments, *FACTORS, "--json"]) == 3
    assert printed(capsys)["code"] == code


def test_cholesterol_in_millimoles_is_a_mistake(
    report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["risk", str(report), "--race-or-ethnicity", "white", *FACTORS]
    arguments[arguments.index("190")] = "5.2"

    assert run(arguments) == 2
    assert "50 to 800 mg/dL" in capsys.readouterr().err


def test_a_file_that_is_no_report_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.json"
    file.write_text("[1]", encoding="utf-8")

    assert run(["risk", str(file)]) == 2
    assert "not a report of cacscore" in capsys.readouterr().err
