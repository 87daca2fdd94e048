"""What the service stands on goes away for a while: nothing is lost, and the state says what is.

`make chaos` runs this file too; CHAOS_OUTAGE_S is how long the broker stays away.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.chaos.processes import ServiceUnderTest, free_port, running_service
from tests.fakes import write_study_zip, write_threshold_model

OUTAGE_S: Final = float(os.environ.get("CHAOS_OUTAGE_S", "10"))

DISK_BYTES: Final = 48 * 1024 * 1024

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network that takes some seconds for a study, so that there is a middle of a job."""
    return write_threshold_model(tmp_path / "slow.onnx", work_size=1500)


@pytest.fixture
def archives(tmp_path: Path) -> list[Path]:
    return [
        write_study_zip(tmp_path / f"{number}.zip", seed=number, slice_count=10)
        for number in range(2)
    ]


def wait_until_segmenting(service: ServiceUnderTest, study_id: str) -> None:
    service.wait_until(
        lambda: service.study(study_id)["stage"] in ("segmenting", "finished"), "Segmenting"
    )
    assert service.study(study_id)["status"] == "running", "the network is too fast for this test"


def check_scored_once(service: ServiceUnderTest, study_id: str) -> None:
    service.wait_for_status(study_id, "succeeded", 600.0)
    report = service.insist(lambda client: client.get(f"/studies/{study_id}/score")).json()
    # 2 slices x 25 mm2 x weight 2 at 3 mm spacing
    assert report["agatston_score"] == pytest.approx(100.0)
    folders = service.data_folder / "artefacts" / "studies"
    assert len(list(folders.glob(f"{study_id}-*/*/report.json"))) == 1


def check_of(service: ServiceUnderTest, name: str) -> dict[str, object]:
    """Return what ``/readyz`` says of one part."""
    with service.client() as client:
        checks: list[dict[str, object]] = client.get("/readyz").json()["checks"]
    (check,) = [one for one in checks if one["name"] == name]
    return check


def test_broker_that_is_gone_for_a_while_costs_no_study_and_no_attempt(
    tmp_path: Path, model: Path, archives: list[Path]
) -> None:
    settings = {"CACSCORE_MODEL_PATH": str(model)}
    with running_service(tmp_path / "service", settings) as service:
        running = str(service.upload(archives[0])["id"])
        wait_until_segmenting(service, running)
        service.broker.hold_down()
        begun = time.monotonic()

        # An upload is accepted meanwhile, and the state of the service says what is away.
        waiting = service.upload(archives[1])
        assert (waiting["status"], waiting["attempt"]) == ("queued", 0)
        check = check_of(service, "broker")
        assert not check["is_ok"]
        assert "broker" in str(check["detail"])
        # The running study needs no broker to come to its end.
        service.wait_for_status(running, "succeeded")
        assert service.study(running)["attempt"] == 1
        time.sleep(max(0.0, OUTAGE_S - (time.monotonic() - begun)))
        assert service.study(str(waiting["id"]))["status"] == "queued"

        service.broker.let_go()
        for study_id in (running, str(waiting["id"])):
            check_scored_once(service, study_id)
        service.wait_until_ready()


def test_database_that_is_locked_in_mid_job_is_waited_for(
    tmp_path: Path, model: Path, archives: list[Path]
) -> None:
    settings = {"CACSCORE_MODEL_PATH": str(model)}
    with running_service(tmp_path / "service", settings) as service:
        study_id = str(service.upload(archives[0])["id"])
        wait_until_segmenting(service, study_id)
        # Longer than the lease: heartbeats do not get through, and nobody else can take the job.
        with closing(sqlite3.connect(service.record, timeout=60, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(12.0)
            assert service.study(study_id)["status"] == "running"
            other.execute("COMMIT")
        check_scored_once(service, study_id)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system in memory that is soon full; skips where that is not allowed."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("No right to mount a tmpfs here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until not one page is left; return the file."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream, suppress(OSError):
        for size_bytes in (65536, 4096):
            with suppress(OSError):
                while True:
                    stream.write(bytes(size_bytes))
    return ballast


def test_disk_that_is_full_refuses_uploads_and_loses_no_running_study(
    tmp_path: Path, model: Path, archives: list[Path]
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        settings = {
            "CACSCORE_MODEL_PATH": str(model),
            # Artefacts and uploads are on the small disk; the record has its own.
            "CACSCORE_DATA_DIR": str(disk),
            "CACSCORE_DATABASE_URL": f"sqlite:///{tmp_path / 'record.sqlite3'}",
            "CACSCORE_DISK_RESERVE_BYTES": str(4 * 1024 * 1024),
        }
        with running_service(tmp_path / "service", settings) as service:
            study_id = str(service.upload(archives[0])["id"])
            wait_until_segmenting(service, study_id)
            ballast = fill(disk)

            with service.client() as client:
                refused = client.post(
                    "/studies",
                    content=archives[1].read_bytes(),
                    headers={"Content-Type": "application/zip"},
                )
            assert refused.status_code == 503
            assert refused.json()["code"] in ("storage_full", "artefact_unavailable")
            assert int(refused.headers["Retry-After"]) > 0
            # The attempt cannot write its result: it is given back and tried again.
            service.wait_until(
                lambda: int(str(service.study(study_id)["attempt"])) > 1, "A second attempt"
            )
            assert service.study(study_id)["status"] in ("queued", "running")

            ballast.unlink()
            service.wait_for_status(study_id, "succeeded", 900.0)
            again = str(service.upload(archives[1])["id"])
            service.wait_for_status(again, "succeeded", 600.0)
            left = [path.name for path in (disk / "artefacts" / "scratch").iterdir()]
            assert left == []


@dataclass(frozen=True)
class PostgresqlServer:
    """A PostgreSQL of this test alone."""

    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def control(self, *arguments: str) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        command = [str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w"]
        command += ["-o", options, "-l", str(self.folder / "log"), *arguments]
        subprocess.run(_as_postgres(command), check=True, stdout=subprocess.DEVNULL)


def _as_postgres(command: list[str]) -> list[str]:
    """PostgreSQL does not run as root: its own user of Debian does it then."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


@pytest.fixture
def postgresql() -> Iterator[PostgresqlServer]:
    found = shutil.which("initdb") or next(
        iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), reverse=True)), None
    )
    if found is None:
        pytest.skip("No PostgreSQL on this machine")
    # The folders of pytest are closed to others, and its user must get there.
    folder = Path("/tmp") / f"cac-pg-{os.getpid()}"  # noqa: S108 - short, for its socket
    folder.mkdir(mode=0o755)
    server = PostgresqlServer(Path(found).parent, folder, free_port())
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        initialise = [found, "-D", str(folder / "data"), "-U", "postgres", "-A", "trust"]
        subprocess.run(_as_postgres(initialise), check=True, stdout=subprocess.DEVNULL)
        server.control("start")
        yield server
        server.control("-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_postgresql_that_is_restarted_in_mid_job_costs_no_study(
    tmp_path: Path, model: Path, archives: list[Path], postgresql: PostgresqlServer
) -> None:
    settings = {"CACSCORE_MODEL_PATH": str(model), "CACSCORE_DATABASE_URL": postgresql.url}
    with running_service(tmp_path / "service", settings) as service:
        study_id = str(service.upload(archives[0])["id"])
        wait_until_segmenting(service, study_id)
        # As in a power cut: no connection is closed, nothing is written first.
        postgresql.control("-m", "immediate", "stop")
        with service.client() as client:
            away = client.get(f"/studies/{study_id}")
        assert (away.status_code, away.json()["code"]) == (503, "record_unavailable")
        time.sleep(3.0)
        postgresql.control("start")

        check_scored_once(service, study_id)
        check_scored_once(service, str(service.upload(archives[1])["id"]))
        service.wait_until_ready()


def test_worker_that_is_frozen_loses_its_job_and_writes_nothing_when_it_wakes(
    tmp_path: Path, model: Path, archives: list[Path]
) -> None:
    settings = {"CACSCORE_MODEL_PATH": str(model), "CACSCORE_WORKER_PROCESSES": "2"}
    with running_service(tmp_path / "service", settings) as service:
        study_id = str(service.upload(archives[0])["id"])
        wait_until_segmenting(service, study_id)
        with closing(sqlite3.connect(service.record)) as record:
            (name,) = record.execute("SELECT worker FROM jobs").fetchone()
        frozen = psutil.Process(int(name.rsplit(":", 1)[1]))
        frozen.send_signal(signal.SIGSTOP)
        check_scored_once(service, study_id)
        assert service.study(study_id)["attempt"] == 2

        frozen.send_signal(signal.SIGCONT)
        service.wait_until(
            lambda: "attempt_dropped" in service.worker.log.read_text(), "The late worker's end"
        )
        check_scored_once(service, study_id)
