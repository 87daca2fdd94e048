"""A gateway of its own process takes a large upload in little more memory than it starts with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.hostile.zip_attacks import DICOM_MARK

MIB = 1024**2
UPLOAD_MIB = int(os.environ.get("CACSCORE_HOSTILE_UPLOAD_MIB", "256"))
"""`make hostile` sends 2,000: beyond 2 GiB none is accepted."""

ENTRY_MIB = 50
LARGEST_GROWTH_BYTES = 32 * MIB
"""What an upload of any size may add to the libraries."""

LARGEST_BYTES = 150 * MIB
"""What the gateway may take as a whole, whatever is sent."""

START_TIMEOUT_S = 120.0


def large_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(max(1, UPLOAD_MIB // ENTRY_MIB)):
            with archive.open(f"{number}.dcm", "w") as entry:
                entry.write(DICOM_MARK)
                for _ in range(min(ENTRY_MIB, UPLOAD_MIB)):
                    entry.write(os.urandom(MIB))
    return path


def peak_resident_bytes(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii")
    return next(int(one.split()[1]) for one in status.splitlines() if "VmHWM" in one) * 1024


def wait_until_it_answers(url: str, gateway: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            httpx.get(f"{url}/healthz", trust_env=False)
        except httpx.HTTPError:
            assert gateway.poll() is None, "the gateway ended"
            assert time.monotonic() < deadline, "the gateway does not answer"
            time.sleep(0.2)
        else:
            return


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.timeout(3600)
def test_a_large_upload_needs_little_memory(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    upload = large_zip(tmp_path / "large.zip")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", "service.api.app:create_app"]
    with subprocess.Popen(
        [*command, "--port", str(port), "--no-access-log"],
        env={**os.environ, "CACSCORE_DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as gateway:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_it_answers(url, gateway)
            before = peak_resident_bytes(gateway.pid)

            def chunks() -> Iterator[bytes]:
                with upload.open("rb") as stream:
                    while chunk := stream.read(MIB):
                        yield chunk

            answer = httpx.post(
                f"{url}/studies",
                content=chunks(),
                headers={"Content-Type": "application/zip"},
                timeout=1800.0,
                trust_env=False,
            )
            peak = peak_resident_bytes(gateway.pid)
        finally:
            gateway.terminate()
    assert answer.status_code == 202, answer.text
    record_property("mib_before_and_at_peak", (round(before / MIB, 1), round(peak / MIB, 1)))
    print(f"gateway: {before / MIB:.1f} MiB before, {peak / MIB:.1f} MiB at its peak")  # noqa: T201
    assert peak <= LARGEST_BYTES, (before / MIB, peak / MIB)
    assert peak - before <= LARGEST_GROWTH_BYTES, (before / MIB, peak / MIB)
