"""The commands of the heart finder, from cases to the file that travels inside a model file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model_training.__main__ import app
from model_training.export_onnx import heart_model_of
from tests.unit.model_training.heart_finder.conftest import ball_case


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_help_names_every_command_of_the_heart_finder() -> None:
    assert "heart" in call("--help")
    output = call("heart", "--help")
    for command in ("simulate", "gather", "train", "export", "check"):
        assert command in output


def test_split_that_does_not_exist_is_answered_with_those_that_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["heart", "simulate", "--hearts", str(tmp_path), "--split", "holdout"]
    )

    assert isinstance(result.exception, ValueError)
    assert "'holdout' is none of train, validation, test" in str(result.exception)


@pytest.mark.slow
def test_cases_become_a_file_that_finds_hearts(tmp_path: Path) -> None:
    cases, hearts, run = tmp_path / "cases", tmp_path / "hearts", tmp_path / "run"
    out = tmp_path / "out" / "heart_finder.onnx"
    ball_case(cases, "t", "train", seed=1)
    ball_case(cases, "v", "validation", seed=2)
    ball_case(cases, "x", "test", seed=3)
    ball_case(cases, "unknown", "train", seed=4, is_heart_known=False)

    gathered = call("heart", "gather", "--cases", cases, "--hearts", hearts)
    call("heart", "train", "--hearts", hearts, "--run", run, "--steps", 1, "--workers", 0)
    checked = call("heart", "check", "--hearts", hearts, "--run", run)
    exported = call("heart", "export", "--model-version", "0.0.1", "--run", run, "--out", out)

    assert gathered.startswith("3 coarse volumes")
    assert "on 1 volumes; worst: test-x" in checked
    assert "probabilities differ by at most" in exported
    model = heart_model_of(out.read_bytes())
    assert model.spec.model_version == "0.0.1"
    assert model.predict(np.zeros((1, 1, 8, 8, 8), np.float32)).shape == (1, 1, 8, 8, 8)
