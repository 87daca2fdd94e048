"""The commands on real files: what they print, write and answer, and how they end.

The series is the plaque volume of ``tests/fakes.py``: two slices of 25 mm2 at 250 HU, 3 mm apart,
which is 2 x 25 x 2 = 100 Agatston.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calcium_scoring.phantom.patient import simulate_patient
from service.cli.main import app, run
from service.cli.phantom import write_phantom
from tests.fakes import plaque_volume, write_study_zip, write_threshold_model

COMMANDS = (
    "score",
    "measure",
    "verify",
    "key",
    "risk",
    "serve",
    "submit",
    "cancel",
    "retry",
    "rerun",
    "push",
    "dicom-node",
    "doctor",
    "phantom",
    "demo",
    "version",
)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_study_zip(tmp_path / "series.zip")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_threshold_model(tmp_path / "threshold.onnx")


@pytest.fixture
def plaque_mask(tmp_path: Path) -> Path:
    file = tmp_path / "plaque.npy"
    np.save(file, plaque_volume().hu >= 130.0)
    return file


def printed_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """All of stdout as one JSON document."""
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_score_prints_the_report_as_json_and_nothing_else_on_stdout(
    archive: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", str(archive), "--model", str(model), "--json"]) == 0

    report = printed_json(capsys)
    assert report["agatston_score"] == pytest.approx(100.0)
    assert report["volume_score_mm3"] == pytest.approx(150.0)
    assert report["model"]["name"] == "Threshold"
    assert report["engine"]["providers"] == ["CPUExecutionProvider"]
    assert report["arteries"] == {"LM": None, "LAD": None, "LCX": None, "RCA": None}
    assert "Research use only" in report["intended_use"]


def test_score_prints_a_table_for_readers(
    archive: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", str(archive), "--model", str(model)]) == 0

    table = capsys.readouterr().out
    assert "100.000" in table
    assert "Research use only" in table
    assert "provisional" in table


def test_score_of_a_folder_is_that_of_its_zip(
    archive: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = []
    for path in (archive, archive.with_suffix("")):
        assert run(["score", str(path), "--model", str(model), "--json"]) == 0
        reports.append(printed_json(capsys))

    assert reports[0]["agatston_score"] == reports[1]["agatston_score"]
    assert reports[0]["series"] == reports[1]["series"]


@pytest.mark.parametrize("name", ["mask.dcm", "mask.nii.gz", "mask.nii"])
def test_mask_of_score_measures_to_the_same_score(
    name: str, archive: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tmp_path / name
    assert run(["score", str(archive), "--model", str(model), "--mask-out", str(mask)]) == 0
    capsys.readouterr()

    assert run(["measure", str(archive), "--mask", str(mask), "--json"]) == 0

    report = printed_json(capsys)
    assert report["agatston_score"] == pytest.approx(100.0)
    assert report["model"] is None


def test_score_writes_a_picture(archive: Path, model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "overlay.png"

    assert run(["score", str(archive), "--model", str(model), "--overlay-out", str(picture)]) == 0

    assert picture.read_bytes().startswith(b"\x89PNG")


def test_scoring_leaves_no_trace_on_the_machine(archive: Path, model: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # ONNX Runtime keeps quiet by itself where it sees a CI machine.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}

    subprocess.run(
        [sys.executable, "-m", "service.cli.main", "score", str(archive), "--model", str(model)],
        check=True,
        capture_output=True,
        env={**environment, "HOME": str(home), "TMPDIR": str(home)},
        timeout=120,
    )

    # Neither unpacked files nor the identifier and event store of the runtime's telemetry.
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize(
    "options",
    [
        ("--mask-out", "mask.jpg"),
        ("--overlay-out", "overlay.dcm"),
        ("--mask-out", "no-such-folder/mask.dcm"),
    ],
)
def test_output_that_cannot_be_written_is_told_before_the_work(
    options: tuple[str, str],
    archive: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    option, name = options

    status = run(["score", str(archive), "--model", str(model), option, str(tmp_path / name)])

    assert status == 2
    assert option in capsys.readouterr().err


def test_artery_labels_give_a_score_for_each_artery(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.where(plaque_volume().hu >= 130.0, 2, 0).astype(np.uint8)
    np.save(tmp_path / "labels.npy", labels)

    mask = ("--mask", str(tmp_path / "labels.npy"), "--artery-labels")
    status = run(["measure", str(archive), *mask, "--json"])

    arteries = printed_json(capsys)["arteries"]
    assert status == 0
    assert arteries["LAD"]["agatston_score"] == pytest.approx(100.0)
    assert arteries["RCA"]["agatston_score"] == 0.0


def test_numbers_in_a_mask_name_no_artery_unless_it_is_said(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "labels.npy", (plaque_volume().hu >= 130.0).astype(np.uint8))

    assert run(["measure", str(archive), "--mask", str(tmp_path / "labels.npy"), "--json"]) == 0

    assert set(printed_json(capsys)["arteries"].values()) == {None}


def test_mask_of_another_shape_is_refused_with_its_code(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "mask.npy", np.zeros((10, 32, 32), dtype=bool))

    assert run(["measure", str(archive), "--mask", str(tmp_path / "mask.npy"), "--json"]) == 3

    assert printed_json(capsys)["code"] == "mask_rejected"


def test_mask_of_an_unknown_kind_is_a_mistake_of_usage(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mask.mha").write_bytes(b"")

    assert run(["measure", str(archive), "--mask", str(tmp_path / "mask.mha"), "--json"]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert ".nii.gz" in captured.err


def test_letter_instead_of_a_zip_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = tmp_path / "letter.zip"
    letter.write_text("Dear colleague")

    assert run(["score", str(letter), "--model", str(model), "--json"]) == 3

    assert printed_json(capsys)["code"] == "not_a_zip"


def test_damaged_model_file_is_no_refusal_of_the_series(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not a model")

    assert run(["score", str(archive), "--model", str(damaged), "--json"]) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "damaged.onnx" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "no-such-file.zip"],
        ["score"],
        ["unheard-of"],
        ["measure", ".", "--mask"],
        ["phantom", "--out", "x", "--n", "0"],
    ],
)
def test_mistake_in_the_command_line_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


@pytest.mark.parametrize(
    ("name", "value"),
    [("ONNX_THREADS", "-1"), ("LEASE_S", "1"), ("LOG_LEVEL", "LOUD")],
)
@pytest.mark.parametrize("arguments", [["score", "."], ["serve", "--data-dir", "nowhere"]])
def test_impossible_setting_is_a_mistake_of_usage_that_names_the_variable(
    arguments: list[str],
    name: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"CACSCORE_{name}", value)

    assert run(arguments) == 2

    words = capsys.readouterr().err
    assert f"CACSCORE_{name}" in words
    assert "Traceback" not in words


def test_phantom_into_a_file_is_a_mistake_of_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter").write_text("Dear colleague")

    assert run(["phantom", "--out", str(tmp_path / "letter")]) == 2

    words = capsys.readouterr().err
    assert "--out" in words
    assert "Traceback" not in words


def test_phantom_below_a_file_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter").write_text("Dear colleague")

    assert run(["phantom", "--out", str(tmp_path / "letter" / "phantoms")]) == 1

    words = " ".join(capsys.readouterr().err.split())
    assert "phantoms cannot be written: Not a directory" in words
    assert "Traceback" not in words


@pytest.mark.parametrize("option", ["--mask-out=mask.nii.gz", "--overlay-out=overlay.png"])
def test_output_that_the_disk_refuses_is_a_failure_without_a_stack_trace(
    option: str,
    archive: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, file = option.split("=")
    (tmp_path / file).symlink_to(tmp_path / "no-such-folder" / file)

    status = run(["score", str(archive), "--model", str(model), name, str(tmp_path / file)])

    words = " ".join(capsys.readouterr().err.split())
    assert status == 1
    assert f"{file} cannot be written" in words
    assert "Traceback" not in words


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_names_the_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0

    assert "3 refusal" in " ".join(capsys.readouterr().out.split())


def test_no_command_is_missing_from_these_tests() -> None:
    names = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    }

    assert names == set(COMMANDS)


def test_version_is_printed_with_the_intended_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0

    printed = capsys.readouterr().out
    assert printed.startswith("cacscore ")
    assert "Research use only" in printed


@pytest.mark.parametrize("as_zip", [False, True])
def test_truth_of_a_phantom_is_what_its_own_mask_measures_to(
    as_zip: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patient = simulate_patient(
        39, kind="gated", matrix_size=128, z_extent_mm=36.0, burden_category=">400"
    )
    written = write_phantom(patient, tmp_path / "patient", as_zip=as_zip)
    truth = json.loads((tmp_path / "patient" / "truth.json").read_text())

    assert run(["measure", str(written.series), "--mask", str(written.truth_mask), "--json"]) == 0

    report = printed_json(capsys)
    assert report["agatston_score"] > 0.0
    assert report["agatston_score"] == truth["report"]["agatston_score"]
    assert report["arteries"] == truth["report"]["arteries"]
    assert truth["seed"] == 39
