"""A report is checked against its mask and series: equal, or exactly where not.

The series is the plaque volume of ``tests/fakes.py``: two slices of 25 mm2 at 250 HU, 3 mm apart,
which is 2 x 25 x 2 = 100 Agatston.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.write_segmentation import write_segmentation
from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap
from service.application.jobs import ModelIdentity
from service.cli.main import run
from tests.fakes import plaque_volume, write_study_zip, write_threshold_model
from tests.integration.conftest import Service


@dataclass(frozen=True)
class Scored:
    """What `cacscore score` left: a report, a mask, and the series that it read."""

    report: Path
    mask: Path
    series: Path

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.report.read_text())
        return document

    def arguments(self, *, report: Path | None = None, mask: Path | None = None) -> list[str]:
        return ["verify", str(report or self.report), str(mask or self.mask), str(self.series)]

    def tampered(self, change: Callable[[dict[str, Any]], None]) -> Path:
        document = self.document
        change(document)
        path = self.report.with_name("tampered.json")
        path.write_text(json.dumps(document))
        return path


def score(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Scored:
    series = write_study_zip(folder / "series.zip")
    model = write_threshold_model(folder / "threshold.onnx")
    mask, report = folder / "mask.dcm", folder / "report.json"
    command = ["score", str(series), "--model", str(model), "--mask-out", str(mask), "--json"]
    assert run([*command, *options]) == 0
    report.write_text(capsys.readouterr().out)
    return Scored(report, mask, series)


@pytest.fixture
def scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scored:
    return score(tmp_path, capsys)


def compared(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    status = run([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def fields(comparison: dict[str, Any]) -> list[str]:
    return [one["field"] for one in comparison["differences"]]


def test_a_report_follows_from_its_own_mask_and_series(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    status, comparison = compared(scored.arguments(), capsys)

    assert status == 0
    assert comparison["is_equal"]
    assert comparison["differences"] == []
    # Scores, 18 of a lesion and 2 x 7 of its slices, the series, the protocol, the SEG's origin.
    assert comparison["compared_count"] > 60
    assert {one["field"] for one in comparison["not_recomputed"]} >= {"warnings", "components"}


@pytest.mark.parametrize(
    "options",
    [
        ("--protocol", "siemens"),
        ("--protocol", "orcascore"),
        ("--tube-voltage-table", "grani_2018"),
        ("--mass-factor", "0.8"),
        ("--age", "55", "--sex", "male", "--race-or-ethnicity", "white"),
    ],
)
def test_what_a_user_chose_or_gave_is_taken_from_the_report(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, comparison = compared(score(tmp_path, capsys, *options).arguments(), capsys)

    assert comparison["differences"] == []
    assert status == 0


def test_what_is_equal_is_said_in_a_sentence(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scored.arguments()) == 0

    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("Equal: all ")
    assert "Not decided by mask and series alone: service_version" in text


@pytest.mark.parametrize("field", ["agatston_score", "volume_score_mm3", "lesion_count"])
def test_a_changed_number_is_named_with_both_values(
    field: str, scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    right = scored.document[field]
    report = scored.tampered(lambda document: document.update({field: right + 1}))

    status, comparison = compared(scored.arguments(report=report), capsys)

    assert status == 4
    (difference,) = comparison["differences"]
    assert difference["field"] == field
    assert difference["reported"] == pytest.approx(right + 1)
    assert difference["recomputed"] == pytest.approx(right)


def test_a_peak_within_a_slice_is_found_at_its_place(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    def raise_peak(document: dict[str, Any]) -> None:
        document["lesions"][0]["slices"][1]["peak_hu"] = 450.0

    status, comparison = compared(scored.arguments(report=scored.tampered(raise_peak)), capsys)

    assert status == 4
    assert fields(comparison) == ["lesions[0].slices[1].peak_hu"]


def test_a_lesion_that_was_taken_out_is_missed(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    report = scored.tampered(lambda document: document["lesions"].clear())

    status, comparison = compared(scored.arguments(report=report), capsys)

    assert status == 4
    (difference,) = comparison["differences"]
    assert (difference["field"], difference["kind"]) == ("lesions[0]", "absent_from_report")
    assert difference["recomputed"]["agatston_score"] == pytest.approx(100.0)


def test_a_category_a_field_too_many_and_a_field_too_few_are_differences(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["risk_category"] = "0"
        document["percentile"] = 50
        del document["cac_drs_category"]

    status, comparison = compared(scored.arguments(report=scored.tampered(change)), capsys)

    assert status == 4
    assert {one["field"]: one["kind"] for one in comparison["differences"]} == {
        "risk_category": "value",
        "percentile": "only_in_report",
        "cac_drs_category": "absent_from_report",
    }


def test_a_threshold_that_was_not_used_is_a_difference(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    def lower(document: dict[str, Any]) -> None:
        document["protocol"]["threshold_hu"] = 100.0

    status, comparison = compared(scored.arguments(report=scored.tampered(lower)), capsys)

    assert status == 4
    assert fields(comparison) == ["protocol.threshold_hu"]


def test_a_rejected_component_that_was_taken_out_breaks_the_sums(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    def add(document: dict[str, Any]) -> None:
        document["components"]["rejected_voxel_count"] += 5

    status, comparison = compared(scored.arguments(report=scored.tampered(add)), capsys)

    assert status == 4
    assert fields(comparison) == ["components.rejected_voxel_count"]


def test_an_interval_that_was_changed_is_a_difference(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    def narrow(document: dict[str, Any]) -> None:
        document["uncertainty"]["high"] *= 0.9
        document["uncertainty"]["low"] *= 1.001

    status, comparison = compared(scored.arguments(report=scored.tampered(narrow)), capsys)

    # The draws behind it may be rounded otherwise elsewhere: 2 % are allowed, 10 % are not.
    assert status == 4
    assert fields(comparison) == ["uncertainty.high"]


def test_a_report_of_another_model_than_the_mask_is_different(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    def claim(document: dict[str, Any]) -> None:
        document["model"]["sha256"] = "00" * 32

    status, comparison = compared(scored.arguments(report=scored.tampered(claim)), capsys)

    assert status == 4
    assert fields(comparison) == ["model.sha256"]


def test_a_mask_that_lost_a_slice_is_told_by_its_scores(
    scored: Scored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work").mkdir()
    series = read_ct_series(scored.series, tmp_path / "work")
    labels = (series.volume.hu >= 200.0).astype("uint8") * 5
    labels[2] = 0
    model = ModelIdentity(**scored.document["model"])
    changed = tmp_path / "changed.dcm"
    write_segmentation(LabelMap(series.volume.geometry, labels), series, model, changed)

    status, comparison = compared(scored.arguments(mask=changed), capsys)

    assert status == 4
    by_field = {one["field"]: one for one in comparison["differences"]}
    # One slice of 25 mm2 x weight 2
    assert by_field["agatston_score"]["recomputed"] == pytest.approx(50.0)
    assert "lesions[0].slices[1]" in by_field
    assert "components.kept_voxel_count" in by_field


def test_another_series_on_the_same_grid_is_told_by_its_uids(
    scored: Scored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_study_zip(tmp_path / "other.zip", seed=2)

    status, comparison = compared(
        ["verify", str(scored.report), str(scored.mask), str(other)], capsys
    )

    assert status == 4
    assert "segmentation.referenced_series_instance_uid" in fields(comparison)
    assert "series.series_instance_uid" in fields(comparison)
    assert "agatston_score" not in fields(comparison)


def test_a_series_that_lost_its_upper_slices_is_told_by_its_size(
    scored: Scored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The mask lies within the first eight slices, so that it still fits.
    shorter = write_study_zip(tmp_path / "short.zip", slice_count=8)

    arguments = ["verify", str(scored.report), str(scored.mask), str(shorter)]
    status, comparison = compared(arguments, capsys)

    assert status == 4
    assert "series.slice_count" in fields(comparison)
    assert "agatston_score" not in fields(comparison)


def test_a_series_on_another_grid_is_refused(
    scored: Scored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    here = plaque_volume()
    coarser = VolumeGeometry.axial(here.geometry.shape, (3.0, 0.6, 0.6))
    write_ct_series(CtVolume(coarser, here.hu.copy(), here.acquisition), elsewhere, seed=5)

    arguments = ["verify", str(scored.report), str(scored.mask), str(elsewhere)]
    status, problem = compared(arguments, capsys)

    assert status == 3
    assert problem["code"] == "mask_rejected"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dear colleague", "not JSON"),
        ("[1, 2]", "no object"),
        ('{"schema_version": 0}', "schema version 0"),
        ('{"code": "gantry_tilt"}', "schema version None"),
    ],
)
def test_a_file_that_is_no_report_is_refused(
    text: str, words: str, scored: Scored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = tmp_path / "letter.json"
    letter.write_text(text)

    status, problem = compared(scored.arguments(report=letter), capsys)

    assert status == 3
    assert problem["code"] == "report_rejected"
    assert words in problem["detail"]


def test_a_protocol_that_is_not_known_is_refused(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    def invent(document: dict[str, Any]) -> None:
        document["protocol"]["name"] = "house rules"

    status, problem = compared(scored.arguments(report=scored.tampered(invent)), capsys)

    assert status == 3
    assert "house rules" in problem["detail"]


def test_a_mask_that_is_no_segmentation_is_refused(
    scored: Scored, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = tmp_path / "letter.dcm"
    letter.write_text("Dear colleague")

    status, problem = compared(scored.arguments(mask=letter), capsys)

    assert status == 3
    assert problem["code"] == "mask_rejected"


def test_differences_are_shown_with_both_values(
    scored: Scored, capsys: pytest.CaptureFixture[str]
) -> None:
    report = scored.tampered(lambda document: document.update({"agatston_score": 90.5}))

    assert run(scored.arguments(report=report)) == 4

    (line,) = [line for line in capsys.readouterr().out.splitlines() if "agatston_score" in line]
    assert "90.5" in line
    assert "100.0" in line


def test_report_and_segmentation_of_the_service_verify(
    service: Service, study_zip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload = {"file": ("study.zip", study_zip.read_bytes())}
    location = service.client.post("/studies", files=upload).headers["Location"]
    service.work()
    report, mask = tmp_path / "report.json", tmp_path / "mask.dcm"
    report.write_bytes(service.client.get(f"{location}/score").content)
    mask.write_bytes(
        service.client.get(f"{location}/mask", headers={"Accept": "application/dicom"}).content
    )

    status, comparison = compared(["verify", str(report), str(mask), str(study_zip)], capsys)

    assert (status, comparison["differences"]) == (0, [])
