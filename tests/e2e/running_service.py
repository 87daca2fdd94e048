"""A real `cacscore serve` and a real curl, as a user has them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0

CACSCORE = (sys.executable, "-m", "service.cli.main")


@dataclass(frozen=True)
class Answer:
    """What curl got back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


class RunningService:
    """A service of its own in a data folder, on a free port of this machine."""

    def __init__(self, data_folder: Path, words: Path, **environment: str) -> None:
        self.data_folder = data_folder
        self.words_file = words
        self._scratch = words.parent
        command = [*CACSCORE, "serve", "--port", "0", "--data-dir", str(data_folder)]
        with words.open("wb") as stream:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        self.url = self._wait_for_url()

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            ready = re.search(r"^Ready: (http://\S+)$", self.words, re.MULTILINE)
            if ready:
                return ready[1]
            assert self.process.poll() is None, self.words
            assert time.monotonic() < deadline, self.words
            time.sleep(0.1)

    @property
    def words(self) -> str:
        """Everything that the command has said so far."""
        return self.words_file.read_text()

    @property
    def logs(self) -> str:
        """Everything that its parts have logged so far."""
        files = sorted((self.data_folder / "logs").iterdir())
        assert files
        return "\n".join(file.read_text() for file in files)

    def processes(self) -> list[psutil.Process]:
        """The command with all its descendants."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end; return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_TIMEOUT_S)

    def curl(self, path: str, *options: str) -> Answer:
        """Send a request with curl."""
        body, headers = self._scratch / "curl-body", self._scratch / "curl-headers"
        body.write_bytes(b"")
        status = subprocess.run(
            [
                *("curl", "--silent", "--show-error", "--max-time", "300"),
                *("--output", str(body), "--dump-header", str(headers)),
                *("--write-out", "%{http_code}", *options, f"{self.url}{path}"),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        lines = headers.read_text().splitlines()
        pairs = (line.split(": ", 1) for line in lines if ": " in line)
        return Answer(
            int(status), {name.lower(): value for name, value in pairs}, body.read_bytes()
        )

    def upload(self, archive: Path) -> Answer:
        """Send an archive as a multipart form, as in the README."""
        return self.curl("/studies", "--form", f"file=@{archive}")

    def upload_raw(self, archive: Path) -> Answer:
        """Send an archive as the bare body."""
        return self.curl(
            "/studies",
            *("--header", "Content-Type: application/zip", "--data-binary", f"@{archive}"),
        )

    def wait_until_final(self, study_id: str, timeout_s: float = 900.0) -> dict[str, Any]:
        """Poll a study until it is scored or has failed."""
        deadline = time.monotonic() + timeout_s
        while True:
            study = self.curl(f"/studies/{study_id}").document
            if study["status"] in ("succeeded", "failed"):
                return study
            assert time.monotonic() < deadline, study
            time.sleep(0.5)


def assert_all_gone(processes: list[psutil.Process], timeout_s: float = 15.0) -> None:
    """Fail unless every one of these processes has ended."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    left = [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert not left, [one.cmdline() for one in left]


def eventually(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until a condition holds; fail when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
