"""Every data set that can be imported can be evaluated on, and learned from if it has masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.write_segmentation import write_segmentation
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import Artery, LabelMap
from model_training.__main__ import app
from model_training.evaluation import write_evaluation
from model_training.export_onnx import export_onnx
from tests.series_builders import write_series
from tests.unit.model_training.finetuning.test_starting_point import trained_network
from tests.unit.model_training.importers.coca_files import (
    LAD,
    calcium_volume,
    roi,
    square,
    write_patient,
    write_scores,
)
from tests.unit.model_training.importers.itk_files import write_itk
from tests.unit.model_training.importers.test_pairs import Reader

PATIENTS = (1, 2, 3, 4, 5, 6)

SMALL_SETTINGS = """
name = "small"
batch_size = 2
[network]
block_layers = [1, 1, 1, 1]
growth_rate = 8
stem_channels = 16
skip_channels = [8, 8, 8]
decoder_channels = [8, 8, 8]
head_channels = 8
edb_layers = 3
edb_growth_rate = 16
edb_bottleneck_factor = 2
[sampling]
crop_size = 32
[optimizer]
kind = "adamw"
"""
"""Those of the small network."""


def plaque_labels(volume: CtVolume, value: int) -> LabelMap:
    labels = np.zeros(volume.hu.shape, dtype=np.uint8)
    labels[2:4, 20:28, 30:38] = value
    return LabelMap(volume.geometry, labels)


def write_gated(root: Path) -> str:
    plaque = roi(LAD, square(30, 20, 8, 8), pixels=64, mean=400.0)
    for number in PATIENTS:
        write_patient(root, number, {2: [plaque], 3: [plaque]}, volume=calcium_volume(seed=number))
    return f"coca-gated={root}"


def write_nongated(root: Path) -> str:
    for number in PATIENTS:
        write_series(root / str(number) / str(number), calcium_volume(seed=number), seed=number)
    write_scores(root / "scores.xlsx", [(number, 0, 128, 0, 0, 128) for number in PATIENTS])
    return f"coca-nongated={root}"


def write_orcascore(root: Path) -> str:
    for number in PATIENTS:
        volume = calcium_volume(seed=number)
        write_itk(root / f"TRV{number}P{number}CTI.mha", volume.hu, volume.geometry)
        labels = plaque_labels(volume, 1).labels
        write_itk(root / f"TRV{number}P{number}R.mha", labels, volume.geometry)
    return f"orcascore={root}"


def write_pairs(root: Path, mask: str) -> str:
    lines = ["case_id,patient,series,mask,labels"]
    for number in PATIENTS:
        volume = calcium_volume(seed=number)
        write_series(root / f"ct{number}", volume, seed=number)
        name = f"m{number}.{mask}"
        meaning = ""
        if mask == "npy":
            np.save(root / name, plaque_labels(volume, 1).labels)
        elif mask == "nrrd":
            write_itk(root / name, plaque_labels(volume, 3).labels, volume.geometry)
            meaning = "3=LAD"
        lines.append(f"c{number},p{number},ct{number},{name},{meaning}")
    (root / "pairs.csv").write_text("\n".join(lines) + "\n")
    return f"pairs={root / 'pairs.csv'}"


def write_segmented(root: Path) -> str:
    lines = ["case_id,series,mask"]
    for number in PATIENTS:
        write_series(root / f"ct{number}", calcium_volume(seed=number), seed=number)
        series = read_ct_series(root / f"ct{number}", root / f"work{number}")
        labels = plaque_labels(series.volume, Artery.LAD)
        write_segmentation(labels, series, Reader(), root / f"m{number}.dcm")
        lines.append(f"c{number},ct{number},m{number}.dcm")
    (root / "pairs.csv").write_text("\n".join(lines) + "\n")
    return f"pairs={root / 'pairs.csv'}"


MASKED: dict[str, Callable[[Path], str]] = {
    "coca-gated": write_gated,
    "orcascore": write_orcascore,
    "pairs, NumPy": lambda root: write_pairs(root, "npy"),
    "pairs, NRRD": lambda root: write_pairs(root, "nrrd"),
    "pairs, DICOM SEG": write_segmented,
}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    export_onnx(trained_network(), ModelSpec(model_version="0.0.1"), path)
    return path


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked at elsewhere and take longer than all the rest."""
    monkeypatch.setattr(write_evaluation, "write_plots", lambda *_: {})


def call(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def evaluated(data: str, model_file: Path, tmp_path: Path) -> dict[str, Any]:
    call(
        "evaluate", "--data", data, "--model", model_file, "--out", tmp_path / "evaluation",
        "--cache", tmp_path / "cache", "--resamples", 100, "--pictures", 1,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads((tmp_path / "evaluation" / "figures.json").read_text())
    return figures


@pytest.mark.slow
@pytest.mark.parametrize("kind", MASKED)
def test_scans_with_masks_are_evaluated_on_and_learned_from(
    tmp_path: Path, model_file: Path, kind: str
) -> None:
    data = MASKED[kind](tmp_path)
    figures = evaluated(data, model_file, tmp_path)
    told = call(
        "finetune", "--data", data, "--from", model_file, "--run", tmp_path / "run", "--steps", 1,
        "--config", settings_file(tmp_path), "--workers", 0, "--resamples", 100,
        "--pictures", 0,
    )  # fmt: skip

    assert len(figures["cases"]) == len(PATIENTS)
    # 8 x 8 pixels of 0.25 mm2 x weight 4, in each of two slices of 3 mm
    assert {case["reference_agatston_score"] for case in figures["cases"]} == {128.0}
    counts = [case["voxels"] for case in figures["cases"]]
    assert {one["true_positives"] + one["false_negatives"] for one in counts} == {128}
    assert "patients to learn from" in told
    after = json.loads((tmp_path / "run" / "after" / "figures.json").read_text())
    assert after["model"]["version"] == "0.0.1+run"


@pytest.mark.slow
def test_scans_with_scores_are_evaluated_on_but_not_learned_from(
    tmp_path: Path, model_file: Path
) -> None:
    data = write_nongated(tmp_path)

    figures = evaluated(data, model_file, tmp_path)
    refused = CliRunner().invoke(
        app,
        [
            "finetune",
            "--data",
            data,
            "--from",
            str(model_file),
            "--run",
            str(tmp_path / "run"),
            "--config",
            str(settings_file(tmp_path)),
        ],
    )

    assert {case["reference_agatston_score"] for case in figures["cases"]} == {128.0}
    assert {case["voxels"] for case in figures["cases"]} == {None}
    assert "no case with a usable mask" in str(refused.exception)


def settings_file(folder: Path) -> Path:
    path = folder / "settings.toml"
    path.write_text(SMALL_SETTINGS)
    return path
