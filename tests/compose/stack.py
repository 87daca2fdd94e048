"""A compose stack as an operator has it: docker compose and HTTPS, nothing behind their backs."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

PROJECT: Final = "cacscore-compose-test"
POLL_S: Final = 0.5

_Found = TypeVar("_Found")


class Stack:
    """One project of docker compose, made from the repository's own file."""

    def __init__(self, repository: Path, engine: dict[str, str], scratch: Path) -> None:
        self._repository = repository
        self._scratch = scratch
        self._environment = {
            **os.environ,
            **engine,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "CACSCORE_PORT": str(_free_port()),
            "CACSCORE_PROMETHEUS_PORT": str(_free_port()),
            "CACSCORE_PACS_PORT": str(_free_port()),
            "CACSCORE_PACS_DICOM_PORT": str(_free_port()),
            "CACSCORE_DICOM_PORT": str(_free_port()),
        }
        self.key = ""
        self._tls: ssl.SSLContext = ssl.create_default_context()

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        return f"https://localhost:{self._environment['CACSCORE_PORT']}"

    @property
    def archive_url(self) -> str:
        """Where the archive of the profile pacs answers over HTTP."""
        return f"http://127.0.0.1:{self._environment['CACSCORE_PACS_PORT']}"

    def compose(self, *words: str, check: bool = True, timeout: float = 900) -> str:
        """Run docker compose; return what it printed to stdout."""
        return self._run("docker", "compose", *words, check=check, timeout=timeout)

    def docker(self, *words: str) -> str:
        """Run docker."""
        return self._run("docker", *words)

    def up(self, *words: str) -> None:
        """Start what is not running and wait until everything is healthy."""
        self.compose("up", "--detach", "--wait", "--wait-timeout", "300", *words)

    def learn_key_and_certificate(self) -> None:
        """Do what the how-to says: print the first key, copy the certificate and trust it."""
        self.key = self.compose("run", "--rm", "first-key").strip()
        certificate = self._scratch / "cacscore.crt"
        certificate.write_text(
            self.compose("exec", "--no-TTY", "proxy", "cat", "/run/cacscore/tls.crt")
        )
        self._tls = ssl.create_default_context(cafile=str(certificate))

    def client(self, *, key: str | None = None) -> httpx.Client:
        """A client that checks the certificate and sends the first key, or another one."""
        credential = self.key if key is None else key
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        return httpx.Client(base_url=self.url, verify=self._tls, headers=headers, timeout=120.0)

    def containers(self, service: str) -> list[str]:
        """Ids of the running containers of a service."""
        return self.compose("ps", "--quiet", "--status", "running", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows about a container."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", container))
        return found[0]

    def submit(self, archive: Path) -> str:
        """Send a study through the proxy; return its id."""
        with self.client() as client, archive.open("rb") as stream:
            answer = client.post("/studies", files={"file": (archive.name, stream)})
        assert answer.status_code == 202, answer.text
        study_id: str = answer.json()["id"]
        return study_id

    def wait_for_score(self, study_id: str, *, within_s: float = 240) -> dict[str, Any]:
        """Return the report of a study, once there is one."""

        def report() -> dict[str, Any] | None:
            with self.client() as client:
                answer = client.get(f"/studies/{study_id}/score")
            assert answer.status_code in {200, 202, 503}, answer.text
            document: dict[str, Any] = answer.json()
            return document if answer.status_code == 200 else None

        return eventually(report, within_s=within_s)

    def _run(self, *command: str, check: bool = True, timeout: float = 900) -> str:
        done = subprocess.run(
            command,
            check=False,
            cwd=self._repository,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def eventually(find: Callable[[], _Found | None], *, within_s: float) -> _Found:
    """Return what is found, as soon as it is no longer None."""
    deadline = time.monotonic() + within_s
    while True:
        found = find()
        if found is not None:
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(POLL_S)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
