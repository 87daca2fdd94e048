"""A real worker as its operators see it: alive, lost, stopped in good order, and traced."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from service.settings import Settings
from tests.fakes import write_study_zip, write_threshold_model
from tests.integration.conftest import Broker, running_gateway
from tests.integration.otlp_receiver import running_receiver
from tests.integration.test_queue_worker_killed import running_worker, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(autouse=True)
def environment(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    values = {
        "CACSCORE_DATA_DIR": str(tmp_path / "data"),
        "CACSCORE_BROKER_URL": broker.url,
        "CACSCORE_MODEL_PATH": str(write_threshold_model(tmp_path / "fast.onnx")),
        "CACSCORE_ONNX_THREADS": "1",
        "CACSCORE_DISK_RESERVE_BYTES": "0",
        "CACSCORE_WORKER_HEARTBEAT_S": "0.5",
        "CACSCORE_WORKER_LOST_S": "4",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def slow_model(folder: Path) -> str:
    """A network that takes its time for every slice."""
    return str(write_threshold_model(folder / "slow.onnx", work_size=2500))


def slow_archive(folder: Path) -> Path:
    return write_study_zip(folder / "study.zip", slice_count=30, plaque_slices=20)


def submit(client: httpx.Client, archive: Path, **headers: str) -> str:
    answer = client.post(
        "/studies",
        content=archive.read_bytes(),
        headers={"Content-Type": "application/zip", **headers},
    )
    return str(answer.json()["id"])


def status(client: httpx.Client, study_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/studies/{study_id}").json()
    return answer


def workers(client: httpx.Client) -> list[str]:
    return [str(one["state"]) for one in client.get("/readyz").json()["workers"]]


def test_lost_worker_is_seen_though_nothing_waits(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with running_gateway(Settings()) as client:
        assert client.get("/readyz").status_code == 503
        with running_worker(log) as worker:
            wait_for(lambda: client.get("/readyz").status_code == 200, "Readiness", log)
            (seen,) = client.get("/readyz").json()["workers"]
            assert seen["execution_provider"] == "CPUExecutionProvider"
            assert seen["model_version"] == "1.0.0"
            for one in [*worker.children(), worker]:
                one.send_signal(signal.SIGKILL)

            wait_for(lambda: workers(client) == ["lost"], "The loss", log)

        readiness = client.get("/readyz")
        assert readiness.status_code == 503
        (check,) = [one for one in readiness.json()["checks"] if one["name"] == "worker"]
        assert "last sign of a worker" in check["detail"]


def test_worker_that_does_not_get_its_execution_provider_is_seen_before_any_study(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("CACSCORE_ONNX_PROVIDERS", "CUDAExecutionProvider")
    log = tmp_path / "worker.log"
    with running_gateway(Settings()) as client, running_worker(log):
        wait_for(lambda: workers(client) == ["unavailable"], "The finding", log)
        (check,) = [
            one for one in client.get("/readyz").json()["checks"] if one["name"] == "worker"
        ]
        assert "CUDAExecutionProvider" in check["detail"]


def test_idle_worker_that_is_stopped_says_good_bye(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with running_gateway(Settings()) as client, running_worker(log) as worker:
        wait_for(lambda: workers(client) == ["ready"], "A worker", log)
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        assert workers(client) == []


def test_worker_that_is_stopped_finishes_its_study(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("CACSCORE_WORKER_STOP_S", "300")
    environment.setenv("CACSCORE_MODEL_PATH", slow_model(tmp_path))
    archive = write_study_zip(tmp_path / "study.zip", slice_count=12, plaque_slices=11)
    log = tmp_path / "worker.log"
    with running_gateway(Settings()) as client, running_worker(log) as worker:
        study_id = submit(client, archive)
        wait_for(lambda: status(client, study_id)["stage"] == "segmenting", "Segmenting", log)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(300) == 0
        assert status(client, study_id)["status"] == "succeeded"


def test_study_that_takes_too_long_for_a_stop_is_taken_up_by_another_worker_at_once(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The lease is a minute: whoever waits for its end is seen by the clock of this test.
    environment.setenv("CACSCORE_WORKER_STOP_S", "1")
    environment.setenv("CACSCORE_MODEL_PATH", slow_model(tmp_path))
    archive, log = slow_archive(tmp_path), tmp_path / "worker.log"
    with running_gateway(Settings()) as client, running_worker(log) as first:
        study_id = submit(client, archive)
        wait_for(lambda: status(client, study_id)["stage"] == "segmenting", "Segmenting", log)
        with running_worker(tmp_path / "second.log"):
            wait_for(lambda: workers(client) == ["ready", "ready"], "The second worker", log)
            first.send_signal(signal.SIGTERM)
            stopped_at = time.monotonic()
            wait_for(lambda: "attempt_handed_back" in log.read_text(), "The end", log)
            second = tmp_path / "second.log"
            wait_for(lambda: "attempt_begun" in second.read_text(), "The other attempt", second)
            taken_up_after_s = time.monotonic() - stopped_at
            assert first.wait(60) == 0
            wait_for(lambda: status(client, study_id)["status"] == "succeeded", "A score", second)

        # 1 s of patience, one slice, and a message.
        assert taken_up_after_s < 20.0
        assert status(client, study_id)["attempt"] == 1
        # 20 slices x 25 mm2 x weight 2 at 3 mm spacing
        score = client.get(f"/studies/{study_id}/score").json()["agatston_score"]
        assert score == pytest.approx(1000.0)


def test_trace_leads_from_the_request_through_the_message_to_every_stage(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive, log = write_study_zip(tmp_path / "study.zip"), tmp_path / "worker.log"
    trace_id, caller_span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with running_receiver() as collector:
        environment.setenv("CACSCORE_OTLP_ENDPOINT", collector.url)
        with running_gateway(Settings()) as client, running_worker(log):
            study_id = submit(
                client,
                archive,
                traceparent=f"00-{trace_id}-{caller_span}-01",
                baggage="patient=DOE",
                **{"X-Request-ID": "request-of-the-trace"},
            )
            wait_for(lambda: status(client, study_id)["status"] == "succeeded", "A score", log)
            wait_for(lambda: bool(collector.named("cacscore-worker", "score_study")), "A span", log)
            wait_for(
                lambda: bool(collector.named("cacscore-gateway", "POST /studies")), "A span", log
            )

        (request,) = collector.named("cacscore-gateway", "POST /studies")
        (attempt,) = collector.named("cacscore-worker", "score_study")
        assert (request.trace_id.hex(), request.parent_span_id.hex()) == (trace_id, caller_span)
        assert (attempt.trace_id, attempt.parent_span_id) == (request.trace_id, request.span_id)
        for stage in ("reading", "segmenting", "measuring", "writing"):
            (span,) = collector.named("cacscore-worker", stage)
            assert (span.trace_id, span.parent_span_id) == (request.trace_id, attempt.span_id)
            assert span.end_time_unix_nano > span.start_time_unix_nano
        _check_that_nobody_is_named(collector.spans, archive)

    lines = [json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{"]
    (begun,) = [line for line in lines if line["event"] == "attempt_begun"]
    assert begun["request_id"] == "request-of-the-trace"
    assert begun["study_id"] == study_id


def _check_that_nobody_is_named(spans: list[tuple[str, Any]], archive: Path) -> None:
    text = str(spans)
    assert "DOE" not in text
    header = pydicom.dcmread(next(archive.with_suffix("").iterdir()), stop_before_pixels=True)
    for keyword in ("PatientName", "PatientID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert str(header[keyword].value) not in text
