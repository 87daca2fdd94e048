"""The main job over HTTP: a study goes in, its score and masks come out."""

from __future__ import annotations

import base64
import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.rendering import render_overlay_png
from calcium_scoring.volume.label_map import LabelMap
from service.adapters.database.study_store import SqlStudyStore
from service.api.schemas import CalciumReportResponse
from service.application.delete_study import delete_study
from service.application.jobs import ScoreResult
from service.application.operations import WorkerBeat, WorkerState
from service.application.report_terms import SCHEMA_VERSION
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.fakes import THRESHOLD_HU, write_study_zip
from tests.integration.conftest import Service, running_gateway


def upload(service: Service, archive: Path) -> str:
    with archive.open("rb") as stream:
        response = service.client.post("/studies", files={"file": ("x.zip", stream)})
    assert response.status_code == 202, response.text
    study_id: str = response.json()["id"]
    assert response.headers["Location"] == f"/studies/{study_id}"
    return study_id


def test_upload_is_queued_then_scored(service: Service, study_zip: Path) -> None:
    study_id = upload(service, study_zip)
    pending = service.client.get(f"/studies/{study_id}/score")
    assert pending.status_code == 202
    assert int(pending.headers["Retry-After"]) > 0
    assert pending.json()["status"] == "queued"

    service.work()

    study = service.client.get(f"/studies/{study_id}").json()
    assert (study["status"], study["stage"], study["progress"]) == ("succeeded", "finished", 1.0)
    assert study["problem"] is None
    report = CalciumReportResponse.model_validate(
        service.client.get(f"/studies/{study_id}/score").json()
    )
    # 2 slices x 25 mm2 x weight 2 at 3 mm spacing
    assert report.agatston_score == pytest.approx(100.0)
    assert report.arteries.LAD is None
    assert [lesion.first_slice_index for lesion in report.lesions] == [1]
    assert len(report.lesions[0].sop_instance_uids) == 2
    assert report.model is not None
    assert report.model.name == "Threshold"
    assert "provisional_model" in [warning.code for warning in report.warnings]


def test_mask_is_dicom_by_default_and_nifti_when_asked_for(
    service: Service, study_zip: Path
) -> None:
    study_id = upload(service, study_zip)
    service.work()

    dicom = service.client.get(f"/studies/{study_id}/mask")
    nifti = service.client.get(f"/studies/{study_id}/mask", headers={"Accept": "application/gzip"})
    by_query = service.client.get(f"/studies/{study_id}/mask", params={"format": "nifti"})

    assert dicom.headers["Content-Type"] == "application/dicom"
    assert pydicom.dcmread(BytesIO(dicom.content)).Modality == "SEG"
    assert nifti.headers["Content-Type"] == "application/gzip"
    assert nifti.content == by_query.content
    image = nib.Nifti1Image.from_bytes(gzip.decompress(nifti.content))
    # 2 slices of 10 x 10 pixels
    assert np.count_nonzero(np.asarray(image.dataobj)) == 200


def test_mask_is_refused_in_a_type_that_it_has_not(service: Service, study_zip: Path) -> None:
    study_id = upload(service, study_zip)
    response = service.client.get(f"/studies/{study_id}/mask", headers={"Accept": "text/html"})
    assert response.status_code == 406
    assert response.json()["code"] == "not_acceptable"


def test_mask_of_a_study_that_waits_is_a_conflict(service: Service, study_zip: Path) -> None:
    study_id = upload(service, study_zip)
    response = service.client.get(f"/studies/{study_id}/mask")
    assert response.status_code == 409
    assert response.json()["code"] == "score_not_ready"
    assert int(response.headers["Retry-After"]) > 0


def test_picture_of_a_slice_is_the_one_drawn_from_the_volume(
    service: Service, study_zip: Path, tmp_path: Path
) -> None:
    study_id = upload(service, study_zip)
    service.work()
    volume = read_ct_series(study_zip, tmp_path / "unpacked").volume
    label_map = LabelMap.from_mask(volume.geometry, volume.hu >= THRESHOLD_HU)

    for index in (0, 1, 9):
        response = service.client.get(f"/studies/{study_id}/slices/{index}.png")
        assert response.headers["Content-Type"] == "image/png"
        served = np.asarray(Image.open(BytesIO(response.content)))
        drawn = np.asarray(Image.open(BytesIO(render_overlay_png(volume, label_map, index))))
        np.testing.assert_array_equal(served, drawn)


@pytest.mark.parametrize("index", [-1, 10, 10**6])
def test_slice_outside_the_series_is_not_found(
    service: Service, study_zip: Path, index: int
) -> None:
    study_id = upload(service, study_zip)
    service.work()
    response = service.client.get(f"/studies/{study_id}/slices/{index}.png")
    assert response.status_code == 404
    assert response.json()["code"] == "slice_not_found"


def test_same_bytes_are_the_same_study_and_no_second_job(service: Service, study_zip: Path) -> None:
    first = upload(service, study_zip)
    raw = service.client.post(
        "/studies", content=study_zip.read_bytes(), headers={"Content-Type": "application/zip"}
    )
    assert raw.status_code == 202
    assert raw.json()["id"] == first
    assert len(service.parts.store.due_for_announcement(announced_before=None)) == 1
    assert service.files() == [service.files()[0]]
    service.work()
    assert upload(service, study_zip) == first
    assert service.parts.store.due_for_announcement(announced_before=None) == []


def test_same_bytes_at_the_same_time_are_one_study(service: Service, study_zip: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: upload(service, study_zip), range(8)))
    assert len(ids) == 1
    assert len(service.client.get("/studies").json()["studies"]) == 1
    assert len(service.files()) == 1


def test_series_that_cannot_be_measured_fails_with_its_reason(
    service: Service, tmp_path: Path
) -> None:
    study_id = upload(service, write_study_zip(tmp_path / "short.zip", slice_count=4))

    service.work()

    study = service.client.get(f"/studies/{study_id}").json()
    assert study["status"] == "failed"
    assert study["problem"]["code"] == "too_few_slices"
    for path in ("score", "mask", "slices/0.png"):
        response = service.client.get(f"/studies/{study_id}/{path}")
        assert response.status_code == 422
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.json()["code"] == "too_few_slices"


def test_deleted_study_leaves_no_file_and_no_record(service: Service, study_zip: Path) -> None:
    study_id = upload(service, study_zip)
    service.work()
    # The upload, and the 14 files of a result with one lesion and one key image.
    assert len(service.files()) == 15

    assert service.client.delete(f"/studies/{study_id}").status_code == 204

    assert service.files() == []
    for path in ("", "/score", "/mask", "/slices/0.png"):
        response = service.client.get(f"/studies/{study_id}{path}")
        assert response.status_code == 404
        assert response.json()["code"] == "study_not_found"
    assert service.client.delete(f"/studies/{study_id}").status_code == 404


def test_deleted_study_may_be_sent_again(service: Service, study_zip: Path) -> None:
    study_id = upload(service, study_zip)
    service.work()
    service.client.delete(f"/studies/{study_id}")
    assert upload(service, study_zip) == study_id
    assert service.client.get(f"/studies/{study_id}").json()["status"] == "queued"
    service.work()
    assert service.client.get(f"/studies/{study_id}/score").status_code == 200


def test_studies_are_listed_page_by_page_newest_first(service: Service, tmp_path: Path) -> None:
    ids = [
        upload(service, write_study_zip(tmp_path / f"{seed}.zip", seed=seed)) for seed in range(5)
    ]
    listed: list[str] = []
    cursor = None
    for _ in range(3):
        page = service.client.get(
            "/studies", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        ).json()
        listed += [study["id"] for study in page["studies"]]
        cursor = page["next_cursor"]
    assert listed == ids[::-1]
    assert cursor is None


@pytest.mark.parametrize("text", ["nope", f"0001-01-01T00:00:00+14:00 {'a' * 26}"])
def test_foreign_cursor_is_refused(service: Service, text: str) -> None:
    cursor = base64.urlsafe_b64encode(text.encode()).decode()
    response = service.client.get("/studies", params={"cursor": cursor})
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_cursor"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("PUT", "/studies", 405, "method_not_allowed"),
        ("GET", "/studies?limit=0", 422, "invalid_request"),
        ("GET", "/studies/aaaaaaaaaaaaaaaaaaaaaaaaaa", 404, "study_not_found"),
        ("GET", "/studies/%00%ff", 404, "study_not_found"),
        # Whose study it is, is asked first.
        ("GET", "/studies/aaaaaaaaaaaaaaaaaaaaaaaaaa/slices/x.png", 404, "study_not_found"),
        ("GET", "/studies/aaaaaaaaaaaaaaaaaaaaaaaaaa/mask?format=jpg", 404, "study_not_found"),
    ],
)
def test_every_error_is_a_problem(
    service: Service, method: str, path: str, status: int, code: str
) -> None:
    response = service.client.request(method, path)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert set(problem) == {"type", "title", "status", "detail", "code", "evidence"}


def test_health_readiness_and_version_answer(service: Service) -> None:
    assert service.client.get("/healthz").json() == {"status": "ok"}
    version = service.client.get("/version").json()
    assert version["schema_version"] == SCHEMA_VERSION
    readiness = service.client.get("/readyz")
    # This gateway has no broker and no worker.
    assert readiness.status_code == 503
    checks = {check["name"]: check["is_ok"] for check in readiness.json()["checks"]}
    assert checks == {
        "database": True,
        "broker": False,
        "artefact_folder": True,
        "model_file": True,
        "worker": False,
    }


def test_readiness_fails_once_a_study_waits_and_no_worker_scores(
    settings: Settings, study_zip: Path
) -> None:
    settings = settings.model_copy(update={"unattended_s": 0.5})
    with running_gateway(settings) as client:
        # A worker that is alive, and yet takes nothing up.
        worker_parts(settings).operations.see_worker(WorkerBeat("w", WorkerState.READY))
        client.post("/studies", files={"file": study_zip.read_bytes()})

        def worker_check() -> dict[str, object]:
            checks = client.get("/readyz").json()["checks"]
            (check,) = [check for check in checks if check["name"] == "worker"]
            return dict(check)

        assert worker_check()["is_ok"] is True
        time.sleep(0.6)
        check = worker_check()

    assert check["is_ok"] is False
    assert "waited for more than 0.5 s" in str(check["detail"])


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version"])
def test_head_is_answered_as_get_without_a_body(service: Service, path: str) -> None:
    response = service.client.head(path)
    assert response.status_code == service.client.get(path).status_code
    assert response.content == b""


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/studies", "GET, POST"),
        ("PATCH", "/studies/aaaaaaaaaaaaaaaaaaaaaaaaaa", "DELETE, GET"),
        ("POST", "/healthz", "GET, HEAD"),
    ],
)
def test_refused_method_is_told_every_method_of_the_path(
    service: Service, method: str, path: str, allowed: str
) -> None:
    assert service.client.request(method, path).headers["Allow"] == allowed


def test_docs_need_no_internet(service: Service) -> None:
    response = service.client.get("/docs")
    assert response.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "POST /studies" in response.text


@pytest.mark.parametrize("path", ["slices/x.png", "mask?format=jpg"])
def test_parameter_that_is_not_valid_is_a_problem(
    service: Service, study_zip: Path, path: str
) -> None:
    response = service.client.get(f"/studies/{upload(service, study_zip)}/{path}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("path", ["score", "mask", "slices/0.png"])
def test_study_deleted_while_its_result_is_fetched_is_not_found(
    service: Service, study_zip: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id = upload(service, study_zip)
    service.work()
    find_result = SqlStudyStore.result

    def result_then_deleted(
        store: SqlStudyStore, wanted: str, version: int | None = None
    ) -> ScoreResult:
        result = find_result(store, wanted, version)
        delete_study(wanted, store=service.parts.store, artefacts=service.parts.artefacts)
        return result

    monkeypatch.setattr(SqlStudyStore, "result", result_then_deleted)

    response = service.client.get(f"/studies/{study_id}/{path}")

    assert response.status_code == 404
    assert response.json()["code"] == "study_not_found"


def test_file_that_is_gone_though_its_study_is_there_is_unavailable(
    service: Service, study_zip: Path
) -> None:
    study_id = upload(service, study_zip)
    service.work()
    service.parts.artefacts.remove(service.parts.store.result(study_id).result_key)
    response = service.client.get(f"/studies/{study_id}/score")
    assert response.status_code == 503
    assert response.json()["code"] == "artefact_unavailable"


def test_answers_are_not_kept_by_caches(service: Service) -> None:
    response = service.client.get("/studies")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
