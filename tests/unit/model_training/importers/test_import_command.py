"""``python -m model_training.importers``: what is kept, what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from calcium_scoring.volume.label_map import CORONARY, Artery
from model_training.cases import find_cases
from model_training.importers.__main__ import app, roi_meanings
from tests.unit.model_training.importers.coca_files import LAD, roi, square, write_patient

PLAQUE = roi(LAD, square(30, 20, 8, 8), pixels=64, mean=400.0)
STRANGE = roi("ROI 1", square(30, 20, 8, 8), pixels=64, mean=400.0)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "400"})
    return result.exit_code, result.output


def test_cases_are_kept_and_problems_reported(tmp_path: Path) -> None:
    write_patient(tmp_path / "coca", 1, {2: [PLAQUE, roi(LAD, [])]})
    write_patient(tmp_path / "coca", 2, {2: [STRANGE]})
    report = tmp_path / "report.json"

    code, output = run(
        f"coca-gated={tmp_path / 'coca'}",
        "--cases",
        str(tmp_path / "cases"),
        "--report",
        str(report),
    )

    assert code == 0, output
    assert [case.case_id for case in find_cases(tmp_path / "cases")] == ["coca-gated-1"]
    entries = json.loads(report.read_text())
    assert [(one["case_id"], one["split"] is None) for one in entries] == [
        ("coca-gated-1", False),
        ("coca-gated-2", True),
    ]
    assert [one["code"] for one in entries[1]["problems"]] == [
        "unknown_roi_name",
        "incomplete_reference",
    ]
    assert "2 cases: 1 left out, 1 " in output
    assert "empty_roi (1), as coca-gated-1: ROI 1" in output


def test_options_say_what_only_the_holder_of_the_data_knows(tmp_path: Path) -> None:
    write_patient(tmp_path / "coca", 1, {2: [STRANGE]})
    write_patient(tmp_path / "coca", 2, None)

    code, output = run(
        f"coca-gated={tmp_path / 'coca'}",
        "--cases",
        str(tmp_path / "cases"),
        "--roi-name",
        "ROI 1=RCA",
        "--no-annotation-means-zero",
    )

    assert code == 0, output
    labels = [int(case.labels.max()) for case in find_cases(tmp_path / "cases")]
    assert labels == [Artery.RCA, 0]


def test_wrong_data_set_is_told_in_a_sentence(tmp_path: Path) -> None:
    code, output = run(f"coca-gated={tmp_path}")

    assert code == 2
    assert "Gated_release_final" in output
    assert "Traceback" not in output


def test_names_of_regions_are_taken_up_to_the_last_equals_sign() -> None:
    assert roi_meanings(["a=b=lad", "x=CORONARY", "aorta=none"]) == {
        "a=b": Artery.LAD,
        "x": CORONARY,
        "aorta": None,
    }
    for text in ("LAD", "=LAD", "x=HEART", "x="):
        with pytest.raises(ValueError, match="write NAME=LABEL"):
            roi_meanings([text])
