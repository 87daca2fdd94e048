"""The main job through the running service: real series in, reports and masks out."""

from __future__ import annotations

import gzip
import json
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from tests.dciodvfy import errors_of_dciodvfy
from tests.e2e.running_service import CACSCORE, RunningService, eventually

SCORED = ("LIDC-0002", "Lung-Dx A0001", "QRM phantom", "simulated patient")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.timeout(1800),
]


def report_of(service: RunningService, study_id: str) -> dict[str, Any]:
    service.wait_until_final(study_id)
    answer = service.curl(f"/studies/{study_id}/score")
    assert answer.status == 200, answer
    return answer.document


def source_headers(archive: Path) -> list[Dataset]:
    """The headers of the CT images of an archive, from the lowest slice upwards."""
    with zipfile.ZipFile(archive) as files:
        headers = [
            dcmread(BytesIO(files.read(name)), stop_before_pixels=True, force=True)
            for name in files.namelist()
            if not name.endswith("/")
        ]
    images = [header for header in headers if "ImagePositionPatient" in header]
    return sorted(images, key=lambda header: float(header.ImagePositionPatient[2]))


@pytest.mark.parametrize("name", SCORED)
def test_series_is_scored_with_a_complete_report(
    name: str, service: RunningService, study_ids: dict[str, str], archives: dict[str, Path]
) -> None:
    report = report_of(service, study_ids[name])

    assert report["agatston_score"] >= 0.0
    assert report["agatston_score"] == pytest.approx(
        sum(lesion["agatston_score"] for lesion in report["lesions"])
    )
    assert report["risk_category"] in ("0", "1-10", "11-100", "101-400", ">400")
    assert set(report["arteries"]) == {"LM", "LAD", "LCX", "RCA"}
    assert report["agatston_score"] == pytest.approx(
        sum(scores["agatston_score"] for scores in report["arteries"].values())
    )
    assert "Research use only" in report["intended_use"]
    assert len(report["model"]["sha256"]) == 64
    headers = source_headers(archives[name])
    assert report["series"]["slice_count"] == len(headers)
    assert report["series"]["series_instance_uid"] == headers[0].SeriesInstanceUID


@pytest.mark.parametrize("name", ["LIDC-0002", "Lung-Dx A0001"])
def test_scan_without_visible_coronary_calcium_scores_zero(
    name: str, service: RunningService, study_ids: dict[str, str]
) -> None:
    assert report_of(service, study_ids[name])["agatston_score"] == 0.0


@pytest.mark.parametrize("name", SCORED)
def test_mask_is_a_valid_segmentation_on_the_grid_of_its_source(
    name: str,
    service: RunningService,
    study_ids: dict[str, str],
    archives: dict[str, Path],
    tmp_path: Path,
) -> None:
    report = report_of(service, study_ids[name])
    answer = service.curl(
        f"/studies/{study_ids[name]}/mask", "--header", "Accept: application/dicom"
    )
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/dicom"
    file = tmp_path / "mask.dcm"
    file.write_bytes(answer.body)

    assert errors_of_dciodvfy(file) == []

    segmentation = hd.seg.segread(file)
    sources = source_headers(archives[name])
    first = sources[0]
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert (segmentation.Rows, segmentation.Columns) == (first.Rows, first.Columns)
    assert segmentation.StudyInstanceUID == first.StudyInstanceUID
    assert segmentation.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert np.allclose(shared.PixelMeasuresSequence[0].PixelSpacing, first.PixelSpacing)
    assert np.allclose(orientation, first.ImageOrientationPatient)
    positions = np.array([header.ImagePositionPatient for header in sources], dtype=float)
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        assert np.abs(positions - position).max(axis=1).min() < 0.01

    # Lesions of the report are in the mask.
    if report["lesions"]:
        assert segmentation.pixel_array.any()


@pytest.mark.parametrize("name", SCORED)
def test_nifti_mask_and_pictures_can_be_fetched(
    name: str, service: RunningService, study_ids: dict[str, str]
) -> None:
    series = report_of(service, study_ids[name])["series"]
    path = f"/studies/{study_ids[name]}"

    nifti = service.curl(f"{path}/mask?format=nifti")
    header = gzip.decompress(nifti.body)[:348]
    assert nifti.headers["content-type"] == "application/gzip"
    assert tuple(np.frombuffer(header[40:56], dtype="<i2")[1:4]) == (
        series["columns"],
        series["rows"],
        series["slice_count"],
    )
    picture = service.curl(f"{path}/slices/{series['slice_count'] // 2}.png")
    assert picture.headers["content-type"] == "image/png"
    with Image.open(BytesIO(picture.body)) as image:
        image.verify()
    assert service.curl(f"{path}/slices/{series['slice_count']}.png").status == 404


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("tilted head", {"gantry_tilt", "irregular_geometry"}),
        ("contrast", {"contrast_enhanced"}),
        # JPEG 2000 without UIDs: what it is refused for is the contrast agent of its header.
        ("JPEG 2000", {"contrast_enhanced"}),
    ],
)
def test_series_that_must_not_be_scored_is_refused_with_its_reason(
    name: str, codes: set[str], service: RunningService, study_ids: dict[str, str]
) -> None:
    study = service.wait_until_final(study_ids[name])
    answer = service.curl(f"/studies/{study_ids[name]}/score")

    assert study["status"] == "failed"
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.document["code"] in codes
    assert service.curl(f"/studies/{study_ids[name]}/mask").status == 422
    # The record speaks first, the files go right after.
    eventually(lambda: not list(service.data_folder.rglob(f"*{study_ids[name]}*")), timeout_s=10.0)


def test_report_and_truth_of_a_simulated_patient_speak_of_the_same_scan_by_the_same_rules(
    service: RunningService, study_ids: dict[str, str], phantom_folder: Path
) -> None:
    report = report_of(service, study_ids["simulated patient"])
    truth = json.loads((phantom_folder / "truth.json").read_text())["report"]

    # Every UID, spacing and attribute of the scan, and every rule; the provisional network, whose
    # calcium is not that of the truth, is not judged here.
    assert report["series"] == truth["series"]
    assert report["protocol"] == truth["protocol"]
    assert report["schema_version"] == truth["schema_version"]
    assert truth["model"] is None
    assert truth["agatston_score"] > 0.0


def test_same_bytes_again_are_the_same_study_whichever_way_they_come(
    service: RunningService, study_ids: dict[str, str], archives: dict[str, Path]
) -> None:
    count = len(service.curl("/studies?limit=200").document["studies"])

    for answer in (
        service.upload(archives["simulated patient"]),
        service.upload_raw(archives["simulated patient"]),
    ):
        assert answer.status == 202
        assert answer.document["id"] == study_ids["simulated patient"]
        assert answer.headers["location"] == f"/studies/{study_ids['simulated patient']}"
    assert len(service.curl("/studies?limit=200").document["studies"]) == count


def test_command_line_gets_the_same_report(
    service: RunningService, study_ids: dict[str, str], archives: dict[str, Path]
) -> None:
    report = report_of(service, study_ids["simulated patient"])

    printed = subprocess.run(
        [*CACSCORE, "submit", service.url, str(archives["simulated patient"]), "--wait", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(printed.stdout) == report


def bad_uploads(folder: Path) -> dict[str, tuple[Path, str]]:
    """Uploads that must leave nothing, with the code of their refusal."""

    def archive(name: str, **entries: bytes) -> Path:
        file = folder / name
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as writer:
            for entry, content in entries.items():
                writer.writestr(entry, content)
        return file

    text = folder / "letter.zip"
    text.write_text("Dear colleague, please find enclosed nothing.")
    whole = archive("whole.zip", **{"a.txt": b"not DICOM" * 1000})
    cut = folder / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-30])
    empty = folder / "empty.zip"
    empty.write_bytes(b"")
    return {
        "a letter": (text, "not_a_zip"),
        "a cut archive": (cut, "not_a_zip"),
        "an empty body": (empty, "not_a_zip"),
        "no DICOM inside": (whole, "no_dicom_found"),
        "a path upwards": (archive("up.zip", **{"../../evil.dcm": b"x"}), "unsafe_archive"),
        "a bomb": (archive("bomb.zip", **{"a.dcm": bytes(60 << 20)}), "unsafe_archive"),
    }


def test_bad_upload_is_refused_and_leaves_nothing(
    service: RunningService, study_ids: dict[str, str], tmp_path: Path
) -> None:
    for study_id in study_ids.values():
        service.wait_until_final(study_id)
    artefacts = service.data_folder / "artefacts"
    # A worker cleans up after it has said that the study is done.
    eventually(lambda: not any((artefacts / "scratch").iterdir()))
    files = sorted(artefacts.rglob("*"))
    studies = service.curl("/studies?limit=200").document["studies"]

    for what, (upload, code) in bad_uploads(tmp_path).items():
        for answer in (service.upload(upload), service.upload_raw(upload)):
            assert 400 <= answer.status < 500, (what, answer)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.document["code"] == code, (what, answer)

    assert sorted(artefacts.rglob("*")) == files
    assert service.curl("/studies?limit=200").document["studies"] == studies


def test_deleted_study_is_gone_with_its_files(
    service: RunningService, phantom_folder: Path
) -> None:
    # The same files in another archive: a study of its own.
    archive = phantom_folder / "again.zip"
    with (
        zipfile.ZipFile(phantom_folder / "ct.zip") as source,
        zipfile.ZipFile(archive, "w") as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    study_id = service.upload(archive).document["id"]

    assert service.curl(f"/studies/{study_id}", "--request", "DELETE").status == 204

    assert service.curl(f"/studies/{study_id}").status == 404
    assert service.curl(f"/studies/{study_id}/score").status == 404
    left = [path for path in service.data_folder.rglob("*") if study_id in path.name]
    assert left == []


def test_logs_name_no_patient_and_carry_no_uid(
    service: RunningService, study_ids: dict[str, str], archives: dict[str, Path]
) -> None:
    for study_id in study_ids.values():
        service.wait_until_final(study_id)
    said = service.logs + service.words

    for name, archive in archives.items():
        header = source_headers(archive)[0]
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
            value = str(header.get(keyword, ""))
            # A value of a few letters ("00") is found in any log.
            assert len(value) < 5 or value not in said, (name, keyword)
    assert "attempt_succeeded" in said
