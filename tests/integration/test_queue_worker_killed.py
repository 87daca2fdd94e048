"""A worker is killed in the middle of a study: the study is scored all the same, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pydicom
import pytest

from service.settings import Settings
from tests.fakes import write_study_zip, write_threshold_model
from tests.integration.conftest import Broker, running_gateway

PATIENCE_S = 300.0
LEASE_S = 10.0


@contextmanager
def running_worker(log: Path) -> Iterator[psutil.Process]:
    """A real Celery worker with one prefork child."""
    with log.open("ab") as stream:
        process = psutil.Popen(
            [sys.executable, "-m", "service.worker"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=stream,
            stderr=stream,
        )
    try:
        yield process
    finally:
        children = process.children(recursive=True) if process.is_running() else []
        for one in [process, *children]:
            if one.is_running():
                one.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen; the worker wrote:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["child", "whole worker", "nobody"])
def test_study_is_scored_once_whoever_is_killed(
    victim: str, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A study of some seconds: calcium in every slice, and a network that takes its time.
    model = write_threshold_model(tmp_path / "slow.onnx", work_size=2000)
    archive = write_study_zip(tmp_path / "study.zip", slice_count=12, plaque_slices=11)
    environment = {
        "CACSCORE_DATA_DIR": str(tmp_path / "data"),
        "CACSCORE_BROKER_URL": broker.url,
        "CACSCORE_MODEL_PATH": str(model),
        "CACSCORE_ONNX_THREADS": "1",
        "CACSCORE_LEASE_S": str(LEASE_S),
        "CACSCORE_HEARTBEAT_S": "1",
        "CACSCORE_REAPER_INTERVAL_S": "0.5",
        "CACSCORE_DISK_RESERVE_BYTES": "0",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    log = tmp_path / "worker.log"
    with (
        running_gateway(settings) as client,
        running_worker(log) as worker,
    ):
        response = client.post(
            "/studies",
            content=archive.read_bytes(),
            headers={"Content-Type": "application/zip"},
        )
        study_id = response.json()["id"]

        def study() -> dict[str, object]:
            answer: dict[str, object] = client.get(f"/studies/{study_id}").json()
            return answer

        wait_for(lambda: study()["stage"] == "segmenting", "Segmenting", log)
        if victim == "child":
            for child in worker.children():
                child.send_signal(signal.SIGKILL)
        elif victim == "whole worker":
            for one in [*worker.children(), worker]:
                one.send_signal(signal.SIGKILL)
        if victim == "whole worker":
            with running_worker(log):
                wait_for(lambda: study()["status"] == "succeeded", "A score", log)
        else:
            wait_for(lambda: study()["status"] == "succeeded", "A score", log)

        assert study()["attempt"] == (1 if victim == "nobody" else 2)
        _check_that_nobody_is_named(log, archive)
        _check_one_result(client, settings, study_id)


@pytest.mark.slow
def test_study_that_takes_its_worker_along_is_given_up_with_the_signal(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_threshold_model(tmp_path / "slow.onnx", work_size=2000)
    archive = write_study_zip(tmp_path / "study.zip", slice_count=12)
    environment = {
        "CACSCORE_DATA_DIR": str(tmp_path / "data"),
        "CACSCORE_BROKER_URL": broker.url,
        "CACSCORE_MODEL_PATH": str(model),
        "CACSCORE_ONNX_THREADS": "1",
        # So long that only the report of the parent can end the attempt within the test.
        "CACSCORE_LEASE_S": "3600",
        "CACSCORE_REAPER_INTERVAL_S": "0.5",
        "CACSCORE_DISK_RESERVE_BYTES": "0",
        "CACSCORE_MAX_ATTEMPTS": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "worker.log"
    with running_gateway(Settings()) as client, running_worker(log) as worker:
        response = client.post(
            "/studies",
            content=archive.read_bytes(),
            headers={"Content-Type": "application/zip"},
        )
        path = f"/studies/{response.json()['id']}"
        wait_for(lambda: client.get(path).json()["stage"] == "segmenting", "Segmenting", log)
        for child in worker.children():
            child.send_signal(signal.SIGKILL)
        wait_for(lambda: client.get(path).json()["status"] == "failed", "The failure", log)

        problem = client.get(path).json()["problem"]
        assert (problem["code"], problem["evidence"]) == (
            "poison",
            {"attempt_count": 1, "last_exit": "SIGKILL"},
        )
        assert client.get(f"{path}/score").status_code == 422


def _check_one_result(client: httpx.Client, settings: Settings, study_id: str) -> None:
    # 11 slices x 25 mm2 x weight 2 at 3 mm spacing
    assert client.get(f"/studies/{study_id}/score").json()["agatston_score"] == pytest.approx(550.0)
    studies = settings.data_dir / "artefacts" / "studies"
    assert len(list(studies.glob("*/*/report.json"))) == 1
    assert len(list(studies.glob("*/*/mask.dcm"))) == 1


def _check_that_nobody_is_named(log: Path, archive: Path) -> None:
    text = log.read_text()
    assert "attempt_succeeded" in text
    header = pydicom.dcmread(next(archive.with_suffix("").iterdir()), stop_before_pixels=True)
    for keyword in ("PatientName", "PatientID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert str(header[keyword].value) not in text


def test_worker_does_not_start_without_its_model(broker: Broker, tmp_path: Path) -> None:
    environment = {
        "CACSCORE_BROKER_URL": broker.url,
        "CACSCORE_DATA_DIR": str(tmp_path),
        "CACSCORE_MODEL_PATH": str(tmp_path / "missing.onnx"),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "service.worker"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "CACSCORE_MODEL_PATH" in ended.stderr
