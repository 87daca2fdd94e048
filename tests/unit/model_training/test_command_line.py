"""The command line, from cases to a model that is evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_training.__main__ import app
from tests.unit.model_training.conftest import make_case

TINY_SETTINGS = """
name = "tiny"
epochs = 1
steps_per_epoch = 6
batch_size = 4
validation_crops = 4
checkpoint_steps = 6
[network]
growth_rate = 8
block_layers = [1, 1, 1, 1]
stem_channels = 16
skip_channels = [8, 8, 8]
edb_layers = 1
decoder_channels = [8, 8, 8]
head_channels = 8
[sampling]
crop_size = 32
[optimizer]
kind = "adamw"
"""


@pytest.mark.slow
def test_cases_become_a_model_that_is_evaluated(tmp_path: Path) -> None:
    cases, run = tmp_path / "cases", tmp_path / "run"
    settings, model = tmp_path / "tiny.toml", tmp_path / "model.onnx"
    settings.write_text(TINY_SETTINGS)
    make_case(cases, "t", "train")
    make_case(cases, "v", "validation")
    make_case(cases, "x", "test")

    def call(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    call("train", "--run", run, "--config", settings, "--cases", cases, "--workers", 0)
    exported = call(
        "export", "--checkpoint", run / "best.pt", "--model-version", "0.0.1", "--out", model
    )
    evaluated = call(
        "evaluate", "--model", model, "--cases", cases, "--out", tmp_path / "evaluation",
        "--cache", tmp_path / "cache", "--resamples", 100,
    )  # fmt: skip

    assert "probabilities differ by at most" in exported.replace("\n", " ")
    assert "0.0.1" in evaluated
    figures = json.loads((tmp_path / "evaluation" / "figures.json").read_text())
    assert [case["case_id"] for case in figures["cases"]] == ["x"]
    assert "--split test" in (tmp_path / "evaluation" / "README.md").read_text()


def test_help_names_every_command() -> None:
    output = CliRunner().invoke(app, ["--help"]).output

    for command in ("simulate", "train", "export", "evaluate"):
        assert command in output
