"""A gateway that is told to stop finishes what it has begun, and takes nothing new."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

START_TIMEOUT_S = 60.0


def _wait_until_it_listens(address: tuple[str, int]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(address).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@pytest.mark.slow
def test_upload_that_has_begun_is_accepted_after_sigterm_and_no_other_is(
    study_zip: Path, threshold_model: Path, tmp_path: Path
) -> None:
    content = study_zip.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    gateway = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "service.api.app:create_app", "--factory"),
            *("--port", str(address[1]), "--timeout-graceful-shutdown", "20"),
        ],
        env={
            **os.environ,
            "CACSCORE_DATA_DIR": str(tmp_path / "data"),
            "CACSCORE_MODEL_PATH": str(threshold_model),
            "CACSCORE_DISK_RESERVE_BYTES": "0",
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_it_listens(address)
        with socket.create_connection(address, timeout=START_TIMEOUT_S) as client:
            client.sendall(
                b"POST /studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/zip\r\n"
                + f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content[:1000]
            )
            scratch = tmp_path / "data" / "artefacts" / "scratch"
            deadline = time.monotonic() + START_TIMEOUT_S
            while not list(scratch.glob("*/upload.zip")):
                assert time.monotonic() < deadline
                time.sleep(0.05)

            gateway.send_signal(signal.SIGTERM)
            time.sleep(1.0)
            with pytest.raises(OSError, match="refused"):
                socket.create_connection(address, timeout=5.0)
            client.sendall(content[1000:])
            answer = client.recv(4096)

        assert answer.startswith(b"HTTP/1.1 202 "), answer
        assert gateway.wait(30.0) in (0, -signal.SIGTERM)
        assert len(list((tmp_path / "data" / "artefacts" / "studies").glob("*/*.zip"))) == 1
    finally:
        gateway.kill()
        gateway.wait()
