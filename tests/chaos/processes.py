"""Real processes that can be killed: broker, worker, gateway; whatever dies is started again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest

POLL_S: Final = 0.1
START_TIMEOUT_S: Final = 180.0


@dataclass
class Part:
    """A program that is started again whenever it ends, unless it is held down."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    is_held_down: bool = False
    _process: psutil.Popen | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tend(self) -> None:
        """Start the program if it should run and does not."""
        with self._lock:
            if self.is_held_down or (self._process is not None and self._process.poll() is None):
                return
            with self.log.open("ab") as stream:
                self._process = psutil.Popen(
                    list(self.command),
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    # A group of its own: what a killed parent leaves behind can be found.
                    process_group=0,
                )

    def forked_children(self) -> list[psutil.Process]:
        """Return the running children that the program forked, not other programs it started."""
        process = self._process
        if process is None:
            return []
        try:
            children = process.children()
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if _is_fork(child)]

    def kill(self) -> None:
        """SIGKILL the program alone; its children find out by themselves."""
        if self._process is not None:
            kill(self._process)

    def hold_down(self) -> None:
        """Kill the program and do not start it again until :meth:`let_go`."""
        with self._lock:
            self.is_held_down = True
        self.kill()

    def let_go(self) -> None:
        """Start the program again."""
        self.is_held_down = False
        self.tend()

    def end(self) -> None:
        """Kill the program and all that is left of its group."""
        self.is_held_down = True
        with self._lock:
            if self._process is not None:
                kill(self._process)
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


def _is_fork(child: psutil.Process) -> bool:
    try:
        return "service.worker.lost_process" not in child.cmdline()
    except psutil.NoSuchProcess:
        # Gone, or a zombie: one that has ended hides none that runs.
        return False


def kill(process: psutil.Process) -> bool:
    """SIGKILL a process; False where it is gone already."""
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return True


@dataclass(frozen=True)
class ServiceUnderTest:
    """Broker, worker and gateway as processes, and what they share."""

    url: str
    data_folder: Path
    broker: Part
    worker: Part
    gateway: Part

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts in the order of their start."""
        return (self.broker, self.worker, self.gateway)

    @property
    def record(self) -> Path:
        """File of the SQLite record."""
        return self.data_folder / "cacscore.sqlite3"

    def client(self) -> httpx.Client:
        """Return a client that does not mind how busy the machine is."""
        return httpx.Client(base_url=self.url, timeout=60.0, trust_env=False)

    def insist(
        self, send: Callable[[httpx.Client], httpx.Response], patience_s: float = START_TIMEOUT_S
    ) -> httpx.Response:
        """Send until the gateway answers with something other than 503, as any client would."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with self.client() as client:
                    response = send(client)
                if response.status_code != 503:
                    return response
                reason = response.text
            except httpx.HTTPError as error:
                reason = repr(error)
            if time.monotonic() > deadline:
                pytest.fail(f"No answer within {patience_s:g} s; the last one: {reason}")
            time.sleep(0.2)

    def upload(self, archive: Path, **query: str) -> dict[str, object]:
        """Send an archive until it is accepted; return the study."""
        content = archive.read_bytes()
        response = self.insist(
            lambda client: client.post(
                "/studies",
                params=query,
                content=content,
                headers={"Content-Type": "application/zip"},
            )
        )
        assert response.status_code == 202, response.text
        study: dict[str, object] = response.json()
        return study

    def study(self, study_id: str) -> dict[str, object]:
        """Return what the gateway says of a study."""
        response = self.insist(lambda client: client.get(f"/studies/{study_id}"))
        assert response.status_code == 200, response.text
        study: dict[str, object] = response.json()
        return study

    def wait_until(
        self, condition: Callable[[], bool], what: str, patience_s: float = START_TIMEOUT_S
    ) -> None:
        """Wait for a condition; fail with the ends of all logs."""
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                ends = "\n".join(
                    f"--- {part.name}\n{part.log.read_text(errors='replace')[-2000:]}"
                    for part in self.parts
                )
                pytest.fail(f"{what} did not happen within {patience_s:g} s.\n{ends}")
            time.sleep(POLL_S)

    def wait_for_status(
        self, study_id: str, status: str, patience_s: float = START_TIMEOUT_S
    ) -> None:
        """Wait until a study has this status."""
        self.wait_until(
            lambda: self.study(study_id)["status"] == status, f"Status {status}", patience_s
        )

    def wait_until_ready(self) -> None:
        """Wait until ``/readyz`` says that all is well."""

        def is_ready() -> bool:
            try:
                with self.client() as client:
                    return client.get("/readyz").status_code == 200
            except httpx.HTTPError:
                return False

        self.wait_until(is_ready, "Readiness")


def broker_binary() -> str:
    """Return redis-server or valkey-server of this machine."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        pytest.skip("No Redis or Valkey server on this machine")
    return found


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@contextmanager
def running_service(
    folder: Path, settings: Mapping[str, str], *, append_only: bool = True
) -> Iterator[ServiceUnderTest]:
    """Run the whole service; every part that dies is started again after a moment."""
    # A socket path may have only some hundred bytes; pytest's folders are longer.
    broker_folder = Path(tempfile.mkdtemp(prefix="cac-"))
    log_folder = folder / "logs"
    log_folder.mkdir(parents=True)
    port = free_port()
    environment = {
        "CACSCORE_DATA_DIR": str(folder / "data"),
        "CACSCORE_BROKER_URL": f"redis+socket://{broker_folder / 'broker.sock'}",
        "CACSCORE_ONNX_THREADS": "1",
        "CACSCORE_DISK_RESERVE_BYTES": "0",
        "CACSCORE_LEASE_S": "10",
        "CACSCORE_HEARTBEAT_S": "2",
        "CACSCORE_REAPER_INTERVAL_S": "0.5",
        "CACSCORE_RETRY_DELAY_S": "0.5",
        # The cap has its own test; here kills are many on purpose.
        "CACSCORE_MAX_ATTEMPTS": "1000",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(_private_folder(folder / "tmp")),
        **settings,
    }
    broker = [broker_binary(), "--port", "0", "--unixsocket", str(broker_folder / "broker.sock")]
    broker += ["--dir", str(broker_folder), "--save", "", "--maxmemory-policy", "noeviction"]
    broker += ["--appendonly", "yes" if append_only else "no"]
    gateway = [sys.executable, "-m", "uvicorn", "service.api.app:create_app", "--factory"]
    gateway += ["--port", str(port), "--no-access-log"]
    worker = [sys.executable, "-m", "service.worker"]
    service = ServiceUnderTest(
        f"http://127.0.0.1:{port}",
        folder / "data",
        *(
            Part(name, command, environment, log_folder / f"{name}.log")
            for name, command in (("broker", broker), ("worker", worker), ("gateway", gateway))
        ),
    )
    has_ended = threading.Event()

    def tend_all() -> None:
        while not has_ended.wait(POLL_S):
            for part in service.parts:
                part.tend()

    keeper = threading.Thread(target=tend_all, daemon=True)
    keeper.start()
    try:
        service.wait_until_ready()
        yield service
    finally:
        has_ended.set()
        keeper.join()
        for part in reversed(service.parts):
            part.end()
        shutil.rmtree(broker_folder, ignore_errors=True)


def shuffled(items: Sequence[str], count: int, seed: int) -> list[str]:
    """Return ``count`` items, each as often as the others but for one, in random order."""
    chosen = [items[number % len(items)] for number in range(count)]
    random.Random(seed).shuffle(chosen)  # noqa: S311 - no secret
    return chosen


def _private_folder(path: Path) -> Path:
    path.mkdir(parents=True, mode=0o700)
    return path
