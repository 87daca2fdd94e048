"""The client library against a running gateway and a real worker: every method, both clients."""

from __future__ import annotations

import csv
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from pydicom import dcmread

from cacscore_client import (
    AsyncCacscoreClient,
    CacscoreClient,
    Conflict,
    NotFound,
    Refused,
    ScoreNotReady,
    WaitTimedOut,
)
from service.settings import Settings
from tests.integration.conftest import Service, running_gateway

SCORE = 100.0


@pytest.fixture
def url(service: Service) -> str:
    return str(service.client.base_url)


@pytest.fixture
def client(url: str) -> Iterator[CacscoreClient]:
    with CacscoreClient(url) as one:
        yield one


@contextmanager
def working_meanwhile(service: Service) -> Iterator[None]:
    """Let the worker make its attempts while somebody waits."""
    worker = threading.Thread(target=service.work)
    worker.start()
    try:
        yield
    finally:
        worker.join()


def test_series_is_sent_awaited_and_fetched_in_every_form(
    service: Service, client: CacscoreClient, study_zip: Path, tmp_path: Path
) -> None:
    sent: list[int] = []
    heard: list[tuple[str, float]] = []

    study = client.submit(study_zip, on_bytes=sent.append)
    with working_meanwhile(service):
        report = client.wait_for_score(
            study["id"],
            timeout_s=60,
            on_progress=lambda state: heard.append((state["status"], state["progress"])),
        )

    assert sum(sent) == study_zip.stat().st_size == study["upload_size_bytes"]
    assert report["agatston_score"] == pytest.approx(SCORE)
    assert heard[0][0] == "queued"
    assert heard[-1] == ("succeeded", 1.0)
    assert client.score(study["id"]) == report

    assert json.loads(client.report(study["id"])) == report
    assert client.report(study["id"], "pdf").startswith(b"%PDF")
    assert dcmread(io.BytesIO(client.report(study["id"], "sr"))).Modality == "SR"
    assert json.loads(client.report(study["id"], "fhir"))["resourceType"] == "Bundle"
    (row,) = csv.DictReader(io.StringIO(client.report(study["id"], "csv").decode()))
    assert float(row["agatston_score"]) == pytest.approx(SCORE)
    assert dcmread(io.BytesIO(client.mask(study["id"]))).Modality == "SEG"
    assert client.mask(study["id"], "nifti")[:2] == b"\x1f\x8b"  # gzip
    assert client.slice_picture(study["id"], 0).startswith(b"\x89PNG")

    files = client.save_artefacts(study["id"], tmp_path / "files")
    assert {"report.json", "mask.dcm", "provenance.json"} <= {file.name for file in files}
    assert json.loads((tmp_path / "files" / "report.json").read_bytes()) == report
    client.save_export(tmp_path / "all.csv")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text()))
    assert float(row["agatston_score"]) == pytest.approx(SCORE)


def test_series_as_a_folder_or_as_bytes_is_sent_too(
    client: CacscoreClient, study_zip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(bytes(128) + b"DICM")

    as_bytes = client.submit(study_zip.read_bytes(), priority="stat")
    as_folder = client.submit(folder)

    assert client.study(as_bytes["id"])["priority"] == "stat"
    assert [study["id"] for study in client.all_studies()] == [as_folder["id"], as_bytes["id"]]
    assert client.submit(study_zip)["id"] == as_bytes["id"]


def test_study_is_cancelled_repeated_scored_anew_and_deleted(
    service: Service, client: CacscoreClient, study_zip: Path
) -> None:
    study_id = client.submit(study_zip)["id"]
    with pytest.raises(ScoreNotReady):
        client.score(study_id)
    with pytest.raises(WaitTimedOut):
        client.wait_for_score(study_id, timeout_s=0.2, by="polling")

    assert client.cancel(study_id)["status"] == "cancelled"
    with pytest.raises(Conflict) as cancelled:
        client.wait_for_score(study_id, timeout_s=5)
    assert cancelled.value.code == "study_cancelled"

    assert client.retry(study_id)["job_number"] == 2
    service.work()
    assert client.wait_for_score(study_id, timeout_s=5)["protocol"]["name"] == "literature"
    with pytest.raises(Conflict):
        client.cancel(study_id)

    client.rerun(study_id, {"protocol": "ge"})
    service.work()
    # The stream tells all three jobs; the report is that of the last.
    assert client.wait_for_score(study_id, timeout_s=5)["protocol"]["name"] == "ge"
    assert [one["version"] for one in client.results(study_id)] == [3, 2]
    assert client.score(study_id, version=2)["protocol"]["name"] == "literature"

    client.delete(study_id)
    with pytest.raises(NotFound) as gone:
        client.study(study_id)
    assert gone.value.code == "study_not_found"


def test_refused_series_is_told_with_its_code_and_evidence(
    service: Service, client: CacscoreClient, tmp_path: Path
) -> None:
    archive = tmp_path / "text.zip"
    archive.write_text("Dear colleague, please find enclosed nothing.")

    with pytest.raises(Refused) as upload:
        client.submit(archive)

    assert (upload.value.code, upload.value.status) == ("not_a_zip", 422)
    folder = tmp_path / "no-ct"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(bytes(128) + b"DICM")
    study_id = client.submit(folder)["id"]
    service.work()
    with pytest.raises(Refused) as series:
        client.wait_for_score(study_id, timeout_s=5)
    assert series.value.code == client.study(study_id)["problem"]["code"]  # type: ignore[index]


def test_score_means_something_for_a_patient(
    service: Service, client: CacscoreClient, study_zip: Path
) -> None:
    study_id = client.submit(study_zip)["id"]
    service.work()

    risk = client.risk(study_id, {"age_years": 60, "sex": "male", "race_or_ethnicity": "white"})

    # Arterial age of McClelland 2009: 39.1 + 7.25 ln(100 + 1).
    assert risk["categories"]["arterial_age_years"]["value"] == pytest.approx(72.56, abs=0.01)


def test_operators_questions_are_answered(client: CacscoreClient) -> None:
    assert "Research use only" in client.version()["intended_use"]
    # Without a broker the service is not ready; that is an answer, not an error.
    assert not client.readiness()["is_ready"]


def test_asynchronous_client_scores_several_series_at_once(
    service: Service, url: str, study_zip: Path, tmp_path: Path
) -> None:
    ids: list[str] = []
    scores: list[float] = []

    async def submit(client: AsyncCacscoreClient, series: Path | bytes) -> None:
        ids.append((await client.submit(series))["id"])

    async def score(client: AsyncCacscoreClient, study_id: str) -> None:
        report = await client.wait_for_score(study_id, timeout_s=60)
        scores.append(report["agatston_score"])
        files = await client.save_artefacts(study_id, tmp_path / study_id)
        assert tmp_path / study_id / "mask.dcm" in files
        await client.delete(study_id)

    async def score_both() -> None:
        async with AsyncCacscoreClient(url) as client:
            async with anyio.create_task_group() as sending:
                sending.start_soon(submit, client, study_zip)
                sending.start_soon(submit, client, repacked(study_zip))
            async with anyio.create_task_group() as waiting:
                for study_id in ids:
                    waiting.start_soon(score, client, study_id)
                waiting.start_soon(anyio.to_thread.run_sync, service.work)
            assert [study async for study in client.all_studies()] == []

    anyio.run(score_both)

    assert scores == pytest.approx([SCORE, SCORE])


def repacked(archive: Path) -> bytes:
    """Return the same files as another archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(archive) as reader, zipfile.ZipFile(packed, "w") as writer:
        for name in reader.namelist():
            writer.writestr(name, reader.read(name))
    return packed.getvalue()


def test_stream_is_taken_up_where_a_gateway_was_stopped(
    service: Service, settings: Settings, study_zip: Path
) -> None:
    with running_gateway(settings) as first, CacscoreClient(str(first.base_url)) as client:
        study_id = client.submit(study_zip)["id"]
        events = client.events(study_id, timeout_s=60)
        seen = [next(events)["number"]]
    # That gateway has ended; the record has not, and another one goes on with the same events.
    service.work()
    with CacscoreClient(str(service.client.base_url)) as client:
        rest = list(client.events(study_id, after=seen[-1], timeout_s=60))

    assert [one["number"] for one in rest] == list(range(2, len(rest) + 2))
    assert rest[-1]["status"] == "succeeded"
