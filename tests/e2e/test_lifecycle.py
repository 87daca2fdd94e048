"""Starting and stopping `cacscore serve`: nothing is lost and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.running_service import CACSCORE, RunningService, assert_all_gone, eventually
from tests.fakes import write_study_zip, write_threshold_model

# A lost worker is noticed within seconds rather than a minute.
IMPATIENT = {
    "CACSCORE_LEASE_S": "4",
    "CACSCORE_HEARTBEAT_S": "1",
    "CACSCORE_REAPER_INTERVAL_S": "1",
}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

Start = Callable[..., RunningService]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[RunningService] = []

    def start_service(**environment: str) -> RunningService:
        words = tmp_path / f"words-{len(started)}.txt"
        started.append(RunningService(tmp_path / "data", words, **environment))
        return started[-1]

    yield start_service
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


def process_of(service: RunningService, word: str) -> psutil.Process:
    """The program itself, not the tether in front of it."""
    (process,) = [
        one
        for one in service.processes()
        if any(word in part for part in one.cmdline()) and "tether" not in " ".join(one.cmdline())
    ][:1]
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_all_parts_without_a_stack_trace(start: Start, number: signal.Signals) -> None:
    service = start()
    processes = service.processes()
    names = " ".join(part for one in processes for part in one.cmdline())
    assert all(word in names for word in ("celery", "uvicorn"))

    assert service.end(number) == 0

    assert_all_gone(processes)
    assert service.words.rstrip().endswith("Stopped.")
    assert "Traceback" not in service.words + service.logs


def test_killed_service_leaves_no_process_behind(start: Start) -> None:
    service = start()
    processes = service.processes()

    assert service.end(signal.SIGKILL) == -signal.SIGKILL

    assert_all_gone(processes)


def test_service_survives_its_parts_and_keeps_its_folder_and_port_to_itself(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    for part in ("valkey-server", "celery", "uvicorn"):
        process_of(service, part).kill()
        name = {"valkey-server": "broker", "celery": "worker", "uvicorn": "gateway"}[part]
        eventually(lambda name=name: f"The {name} ended unexpectedly" in service.words)  # type: ignore[misc]
    eventually(lambda: is_ready(service))

    port = service.url.rsplit(":", 1)[1]
    in_the_same_folder = another_serve(service.data_folder, "0")
    on_the_same_port = another_serve(tmp_path / "other", port)

    assert in_the_same_folder.returncode == on_the_same_port.returncode == 2
    words = f"in use by another `cacscore serve` (process {service.process.pid})"
    assert words in in_the_same_folder.stderr
    assert f"Port {port} of 127.0.0.1" in on_the_same_port.stderr
    assert service.end() == 0


def is_ready(service: RunningService) -> bool:
    try:
        return service.curl("/readyz").status == 200
    except subprocess.CalledProcessError:
        return False


def another_serve(data_folder: Path, port: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CACSCORE, "serve", "--port", port, "--data-dir", str(data_folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_job_of_a_killed_service_is_finished_by_the_next_one(start: Start, tmp_path: Path) -> None:
    # A network that takes about a quarter of a second a slice, so that there is time to kill.
    model = write_threshold_model(tmp_path / "slow.onnx", work_size=2500)
    environment = {**IMPATIENT, "CACSCORE_MODEL_PATH": str(model)}
    archive = write_study_zip(tmp_path / "study.zip", slice_count=40, plaque_slices=30)
    first = start(**environment)
    study_id = first.upload(archive).document["id"]
    eventually(lambda: first.curl(f"/studies/{study_id}").document["stage"] == "segmenting")
    processes = first.processes()
    first.end(signal.SIGKILL)
    assert_all_gone(processes)

    second = start(**environment)
    study = second.wait_until_final(study_id)

    assert study["status"] == "succeeded"
    assert study["attempt"] == 2
    # 30 slices of 25 mm2 x weight 2, 3 mm apart
    report = second.curl(f"/studies/{study_id}/score").document
    assert report["agatston_score"] == pytest.approx(1500.0)
    second.end()
    assert list((tmp_path / "data" / "tmp").iterdir()) == []


def test_service_without_any_queue_server_scores_through_message_files(
    start: Start, tmp_path: Path
) -> None:
    service = start(
        CACSCORE_BROKER_URL=f"filesystem://{tmp_path / 'messages'}",
        CACSCORE_MODEL_PATH=str(write_threshold_model(tmp_path / "threshold.onnx")),
    )
    study_id = service.upload(write_study_zip(tmp_path / "study.zip")).document["id"]

    study = service.wait_until_final(study_id)

    assert (study["status"], study["attempt"]) == ("succeeded", 1)
    # 2 slices of 25 mm2 x weight 2, 3 mm apart
    report = service.curl(f"/studies/{study_id}/score").document
    assert report["agatston_score"] == pytest.approx(100.0)
    assert not any("valkey-server" in " ".join(one.cmdline()) for one in service.processes())
    assert service.end() == 0


def test_missing_model_file_is_named_and_nothing_keeps_running(tmp_path: Path) -> None:
    before = {process.pid for process in psutil.Process(os.getpid()).children(recursive=True)}

    result = subprocess.run(
        [*CACSCORE, "serve", "--port", "0", "--data-dir", str(tmp_path / "data")],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "CACSCORE_MODEL_PATH": str(tmp_path / "nothing.onnx")},
    )

    assert result.returncode == 1
    assert "nothing.onnx" in result.stderr
    assert {
        process.pid for process in psutil.Process(os.getpid()).children(recursive=True)
    } <= before
