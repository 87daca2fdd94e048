"""What Prometheus reads at a running gateway, and what every request carries along."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from service.application.operations import WorkerBeat, WorkerState
from tests.fakes import write_study_zip
from tests.integration.conftest import Service
from tests.promtool import promtool


def samples(service: Service) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample of a scrape, by name and labels."""
    response = service.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (one.name, frozenset(one.labels.items())): one.value for one in samples_of(response.text)
    }


def samples_of(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples


def value(service: Service, name: str, **labels: str) -> float:
    return samples(service).get((name, frozenset(labels.items())), 0.0)


def upload(service: Service, archive: Path) -> str:
    response = service.client.post("/studies", files={"file": archive.read_bytes()})
    assert response.status_code == 202
    return str(response.json()["id"])


def test_queue_scores_and_stages_are_counted_from_upload_to_score(
    service: Service, study_zip: Path
) -> None:
    study_id = upload(service, study_zip)
    assert value(service, "cacscore_jobs", status="queued") == 1
    assert value(service, "cacscore_jobs_due") == 1

    service.work()
    service.client.delete(f"/studies/{study_id}")

    seen = samples(service)
    model = frozenset({("model_name", "Threshold"), ("model_version", "1.0.0")})
    assert seen["cacscore_scores_total", model] == 1
    assert seen["cacscore_attempts_total", frozenset({("outcome", "succeeded")})] == 1
    for stage in ("reading", "segmenting", "measuring", "writing"):
        labels = frozenset({("stage", stage)})
        assert seen["cacscore_stage_duration_seconds_count", labels] == 1, stage
        assert seen["cacscore_stage_duration_seconds_sum", labels] > 0, stage
    # Deleted: no job is left, and what was counted stays counted.
    assert seen["cacscore_jobs", frozenset({("status", "succeeded")})] == 0
    assert seen["cacscore_oldest_due_job_age_seconds", frozenset()] == 0


def test_refusals_are_counted_by_code_at_the_door_and_behind_it(
    service: Service, tmp_path: Path
) -> None:
    service.client.post("/studies", files={"file": b"not a zip"})
    upload(service, write_study_zip(tmp_path / "few.zip", slice_count=4))
    service.work()

    assert value(service, "cacscore_http_problems_total", code="not_a_zip") == 1
    assert value(service, "cacscore_jobs_failed_total", code="too_few_slices") == 1
    assert value(service, "cacscore_attempts_total", outcome="refused") == 1


def test_requests_are_timed_by_route_and_never_by_path(service: Service, study_zip: Path) -> None:
    study_id = upload(service, study_zip)
    for path in (f"/studies/{study_id}", f"/studies/{study_id}/score", "/nothing/1.2.840.1"):
        service.client.get(path)

    text = service.client.get("/metrics").text

    count = "cacscore_http_request_duration_seconds_count"
    routes = {one.labels["route"] for one in samples_of(text) if one.name == count}
    assert {"/studies", "/studies/{study_id}", "/studies/{study_id}/score", "unmatched"} <= routes
    assert study_id not in text
    assert "1.2.840.1" not in text


def test_no_label_holds_a_patient_a_uid_or_an_id(service: Service, study_zip: Path) -> None:
    study_id = upload(service, study_zip)
    job_id = service.parts.store.find(study_id).job_id
    service.work()
    text = service.client.get("/metrics").text
    header = pydicom.dcmread(next(study_zip.with_suffix("").iterdir()), stop_before_pixels=True)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert str(header[keyword].value) not in text
    assert job_id not in text
    assert study_id not in text


def test_workers_are_shown_with_what_their_model_runs_on(service: Service) -> None:
    ready = WorkerBeat("a" * 32, WorkerState.READY, "DenseRAUnet", "0.3.0", "CPUExecutionProvider")
    service.parts.operations.see_worker(ready)
    service.parts.operations.see_worker(WorkerBeat("b" * 32, WorkerState.LOADING))

    assert value(service, "cacscore_workers", state="ready") == 1
    assert value(service, "cacscore_workers", state="lost") == 0
    labels = {
        "model_name": "DenseRAUnet",
        "model_version": "0.3.0",
        "execution_provider": "CPUExecutionProvider",
    }
    assert value(service, "cacscore_workers_model", **labels) == 1
    readiness = service.client.get("/readyz").json()
    assert [one["state"] for one in readiness["workers"]] == ["ready", "loading"]
    assert readiness["workers"][0]["execution_provider"] == "CPUExecutionProvider"
    assert readiness["free_bytes"] > 0
    assert {"name": "worker", "is_ok": True, "detail": None} in readiness["checks"]


def test_part_that_is_away_is_said_and_the_others_are_still_read(service: Service) -> None:
    seen = samples(service)
    # This gateway has no broker.
    assert seen["cacscore_dependency_up", frozenset({("dependency", "broker")})] == 0
    assert seen["cacscore_dependency_up", frozenset({("dependency", "record")})] == 1
    assert ("cacscore_queue_depth", frozenset()) not in seen

    with service.parts.operations._writers.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("DROP TABLE tallies")

    seen = samples(service)
    assert seen["cacscore_dependency_up", frozenset({("dependency", "record")})] == 0
    assert seen["cacscore_dependency_up", frozenset({("dependency", "artefacts")})] == 1


def test_text_is_what_prometheus_itself_finds_well_formed(
    service: Service, study_zip: Path
) -> None:
    upload(service, study_zip)
    service.work()
    assert promtool("check", "metrics", text=service.client.get("/metrics").content) == ""


@pytest.mark.parametrize(
    "given", ["0af7651916cd43dd8448eb211c80319c", "01J9Z3NDEKTSV4RRFFQ69G5FAV"]
)
def test_request_keeps_the_id_that_its_client_gave_it(service: Service, given: str) -> None:
    response = service.client.get("/healthz", headers={"X-Request-ID": given})
    assert response.headers["X-Request-ID"] == given


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "short",
        "a" * 65,
        # A UID, a name, and an attempt to write a line of its own into the log.
        "1.2.826.0.1.3680043.8.498.1",
        "DOE^JANE^^^^^^^^^^^",
        'x"}\\n{"event": "forged"',
    ],
)
def test_id_that_cannot_be_used_is_replaced(service: Service, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    response = service.client.get("/studies/nothing", headers=headers)
    assert response.status_code == 404
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-ID"])


def test_every_line_of_a_request_names_it_and_its_study(service: Service, study_zip: Path) -> None:
    # The gateway keeps the standard error that it found at its start.
    (handler,) = [
        one
        for one in logging.getLogger().handlers
        if isinstance(one.formatter, structlog.stdlib.ProcessorFormatter)
    ]
    assert isinstance(handler, logging.StreamHandler)
    log = io.StringIO()
    handler.setStream(log)
    request_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"X-Request-ID": request_id}
    answer = service.client.post(
        "/studies", files={"file": study_zip.read_bytes()}, headers=headers
    ).json()
    service.client.get(f"/studies/{answer['id']}", headers=headers)

    lines = [json.loads(line) for line in log.getvalue().splitlines()]

    mine = [line for line in lines if line.get("request_id") == request_id]
    (accepted,) = [line for line in mine if line["event"] == "study_accepted"]
    job_id = service.parts.store.find(answer["id"]).job_id
    assert (accepted["study_id"], accepted["job_id"]) == (answer["id"], job_id)
    requests = [line for line in mine if line["event"] == "request"]
    assert [line["route"] for line in requests] == ["/studies", "/studies/{study_id}"]
    assert requests[1]["study_id"] == answer["id"]
    assert not any(line.get("study_id") for line in requests[:1])
