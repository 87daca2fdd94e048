"""`cacscore score` writes the service's files without a service, and `verify` checks their record.

The series is the plaque volume of ``tests/fakes.py``: 2 x 25 mm2 x weight 2 = 100 Agatston.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, EncapsulatedPDFStorage

from service.cli.main import run
from tests.fakes import write_study_zip, write_threshold_model


@dataclass(frozen=True)
class Scan:
    """A series and a network, and the command that scores the one with the other."""

    series: Path
    model: Path

    def score(self, *options: str | Path) -> int:
        words = ["score", self.series, "--model", self.model, "--json", *options]
        return run([str(word) for word in words])


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scan:
    monkeypatch.setenv("CACSCORE_DATA_DIR", str(tmp_path / "data"))
    return Scan(
        write_study_zip(tmp_path / "series.zip"), write_threshold_model(tmp_path / "threshold.onnx")
    )


@pytest.fixture
def results(scan: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert scan.score("--artifacts-out", tmp_path / "results") == 0
    capsys.readouterr()
    return tmp_path / "results"


def verify(results: Path, scan: Scan, *options: str | Path) -> int:
    words = ["verify", results / "report.json", results / "mask.dcm", scan.series, "--json"]
    words += ["--provenance", results / "provenance.json", *options]
    return run([str(word) for word in words])


def test_each_suffix_of_a_report_says_what_is_written(scan: Scan, tmp_path: Path) -> None:
    sr, fhir = tmp_path / "a.dcm", tmp_path / "a.fhir.json"
    assert scan.score("--report-out", sr, "--fhir-out", fhir) == 0
    assert scan.score("--report-out", tmp_path / "a.pdf.dcm", "--mask-kind", "LABELMAP") == 0

    assert dcmread(sr).SOPClassUID == Comprehensive3DSRStorage
    Bundle.model_validate(json.loads(fhir.read_text()))
    wrapped = dcmread(tmp_path / "a.pdf.dcm")
    assert wrapped.SOPClassUID == EncapsulatedPDFStorage
    assert wrapped.EncapsulatedDocument.startswith(b"%PDF-")


def test_an_unknown_suffix_is_told_what_is_accepted_before_any_work(
    scan: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan.score("--report-out", tmp_path / "report.docx") == 2

    said = " ".join(capsys.readouterr().err.split())
    assert "must end in .json or .dcm or .pdf or .pdf.dcm or .csv" in said


def test_two_runs_write_the_same_files(scan: Scan, results: Path, tmp_path: Path) -> None:
    assert scan.score("--artifacts-out", tmp_path / "again") == 0

    for path in results.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_the_record_of_a_result_is_right(
    scan: Scan, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["key"]) == 0
    (tmp_path / "key.pem").write_text(capsys.readouterr().out)

    status = verify(results, scan, "--public-key", tmp_path / "key.pem")

    checked = json.loads(capsys.readouterr().out)["provenance"]
    assert checked["problems"] == []
    assert checked["checked"][1:] == ["10 input instances", "report.json", "mask.dcm", "network"]
    assert status == 0


def _swap_input(record: dict[str, Any]) -> None:
    record["inputs"][0]["sha256"] = "0" * 64


def _rename_model(record: dict[str, Any]) -> None:
    record["model"]["version"] = "9.9.9"


@pytest.mark.parametrize("change", [_swap_input, _rename_model])
def test_a_changed_record_is_found_out(
    scan: Scan,
    results: Path,
    change: Callable[[dict[str, Any]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = results / "provenance.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))

    status = verify(results, scan)

    problems = json.loads(capsys.readouterr().out)["provenance"]["problems"]
    assert "changed after it was signed" in problems[0]
    assert status == 4


def test_the_record_of_another_series_is_found_out(
    scan: Scan, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_study_zip(tmp_path / "other.zip", slice_count=12)

    status = verify(results, Scan(other, scan.model))

    # It is a mask of another series, too: refused before any record is looked at, or different.
    assert status in {3, 4}
    capsys.readouterr()


def test_a_signature_of_another_key_is_found_out(
    scan: Scan,
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CACSCORE_DATA_DIR", str(tmp_path / "elsewhere"))
    assert run(["key"]) == 0
    (tmp_path / "other.pem").write_text(capsys.readouterr().out)

    status = verify(results, scan, "--public-key", tmp_path / "other.pem")

    problems = json.loads(capsys.readouterr().out)["provenance"]["problems"]
    assert len(problems) == 1
    assert "not by the expected" in problems[0]
    assert status == 4
