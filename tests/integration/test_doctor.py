"""The doctor finds what is missing, and follows a scan through the site's own path."""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from calcium_scoring.scoring.protocol import LITERATURE
from service.adapters.database.engine import open_engine
from service.adapters.database.schema import upgrade_schema
from service.adapters.dicom_network.archive_scu import Archive
from service.adapters.dicom_network.storage_scp import StorageScp
from service.application.errors import ArchiveUnavailable
from service.application.operations import WorkerBeat, WorkerState
from service.application.receive_studies import receive_studies
from service.application.score_series import score_series
from service.application.write_artefacts import write_artefacts
from service.cli.dicom_node import desk_of, incoming_of, scp_terms_of
from service.cli.doctor import check_installation
from service.cli.doctor_findings import Finding
from service.cli.doctor_path import DicomNode, SitePath, check_site_path
from service.cli.main import run as run_cli
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.fakes import ThresholdSegmenter, write_study_zip
from tests.integration.conftest import Broker, Service, running_gateway

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TIMEOUT_S = 30.0


@pytest.fixture(autouse=True)
def _sockets_are_collected_here() -> Iterator[None]:
    """Leave no socket of a refused connection, which pynetdicom drops unclosed, to other tests."""
    yield
    gc.collect()


def failed(findings: list[Finding]) -> dict[str, str]:
    return {one.name: one.detail for one in findings if not one.is_ok}


def test_installation_without_broker_and_worker_is_not_complete(settings: Settings) -> None:
    settings.data_dir.mkdir()
    engine = open_engine(settings.record_url)
    upgrade_schema(engine)
    engine.dispose()

    wrong = failed(check_installation(settings))

    assert set(wrong) == {"broker", "worker"}
    assert "CACSCORE_BROKER_URL" in wrong["broker"]
    assert "python -m service.worker" in wrong["worker"]


def test_installation_with_all_its_parts_is_complete(settings: Settings, broker: Broker) -> None:
    settings.data_dir.mkdir()
    whole = settings.model_copy(update={"broker_url": Settings(broker_url=broker.url).broker_url})
    upgrade_schema(open_engine(whole.record_url))
    worker_parts(whole).operations.see_worker(ready_worker())

    findings = check_installation(whole)

    assert failed(findings) == {}
    assert [one.name for one in findings] == [
        "settings",
        "record",
        "broker",
        "artefact store",
        "model",
        "worker",
        "signing key",
        "routing rules",
    ]


def ready_worker() -> WorkerBeat:
    return WorkerBeat(worker_id="a", state=WorkerState.READY)


def test_every_part_that_is_away_is_named_and_the_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CACSCORE_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("CACSCORE_MODEL_PATH", str(tmp_path / "none.onnx"))
    monkeypatch.setenv("CACSCORE_RULES_FILE", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("CACSCORE_BROKER_URL", f"redis+socket://{tmp_path}/none.sock")

    assert run_cli(["doctor", "--json"]) == 1

    sheet = json.loads(capsys.readouterr().out)
    assert not sheet["is_ok"]
    wrong = {one["name"] for one in sheet["checks"] if not one["is_ok"]}
    assert wrong >= {"record", "broker", "model", "worker", "routing rules"}


@contextmanager
def running_site(settings: Settings) -> Iterator[tuple[str, int]]:
    """A node, a gateway and a worker; give the URL and the port of the node."""
    settings.data_dir.mkdir(parents=True)
    desk, incoming = desk_of(settings), incoming_of(settings)
    node = StorageScp(replace(scp_terms_of(settings), port=0), incoming)
    node.start()
    stopping = threading.Event()

    with running_gateway(settings) as client:
        service = Service(client, settings, worker_parts(settings))

        def work() -> None:
            while not stopping.wait(0.1):
                receive_studies(incoming, desk)
                service.work()

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield str(client.base_url), node.port
        finally:
            stopping.set()
            worker.join()
            node.stop(patience_s=0.0)


def site_path(url: str, port: int, *, timeout_s: float) -> SitePath:
    return SitePath(
        url,
        timeout_s,
        expects_return=False,
        pacs=DicomNode("127.0.0.1", port, "CACSCORE", "DOCTOR"),
        seed=7,
    )


@pytest.mark.slow
def test_scan_of_the_doctor_is_scored_through_node_and_service(settings: Settings) -> None:
    site = settings.model_copy(update={"upload_bytes": 64 * 1024 * 1024, "dicom_quiet_s": 0.5})
    with running_site(site) as (url, port):
        findings = check_site_path(site, site_path(url, port, timeout_s=120.0), print).findings

    assert failed(findings) == {}
    assert [one.name for one in findings] == [
        "archive",
        "scan sent",
        "Agatston score",
        "right score",
    ]


def test_archive_that_is_not_there_ends_the_way(settings: Settings) -> None:
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        path = site_path("http://127.0.0.1:9", nobody.getsockname()[1], timeout_s=1.0)

        [finding] = check_site_path(settings, path, print).findings

    assert (finding.name, finding.is_ok) == ("archive", False)
    assert "does not answer" in finding.detail


def test_place_of_an_archive_is_host_and_port(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("pacs", "pacs:", ":104", "pacs:0", "pacs:x"):
        assert run_cli(["doctor", "--pacs", wrong]) == 2
        assert "HOST:PORT" in capsys.readouterr().err


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """dcmqrscp of dcmtk, with an empty archive."""
    program = shutil.which("dcmqrscp")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("dcmqrscp of dcmtk is not installed")
        pytest.skip("dcmqrscp of dcmtk is not installed")
    (tmp_path / "archive").mkdir()
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {tmp_path / 'archive'} RW (200, 1024mb) ANY\nAETable END\n",
        encoding="ascii",
    )
    process = subprocess.Popen(
        [program, "-c", str(tmp_path / "dcmqrscp.cfg")], stderr=subprocess.DEVNULL
    )
    found = Archive("127.0.0.1", port, "ARCHIVE", "DOCTOR")
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                found.echo()
                break
            except ArchiveUnavailable:
                assert time.monotonic() < deadline, "The archive did not start"
                time.sleep(0.1)
        yield found
    finally:
        process.kill()
        process.wait()


def modalities(archive: Archive, study_instance_uid: str) -> set[str]:
    return {one.modality for one in archive.series(study_instance_uid)}


def test_modalities_of_a_study_are_found_in_a_real_archive(
    archive: Archive, tmp_path: Path
) -> None:
    zipped = write_study_zip(tmp_path / "study.zip")
    unpacked, written = tmp_path / "unpacked", tmp_path / "written"
    unpacked.mkdir()
    written.mkdir()
    scored = score_series(
        zipped, workdir=unpacked, segmenter=ThresholdSegmenter(), protocol=LITERATURE
    )
    write_artefacts(scored, written)
    files = sorted((tmp_path / "study").glob("*.dcm"))
    study = dcmread(files[0]).StudyInstanceUID
    assert archive.series(study) == []

    archive.store(files)
    assert modalities(archive, study) == {"CT"}

    storescu = ["storescu", "-aec", "ARCHIVE", "127.0.0.1", str(archive.port)]
    results = [str(written / name) for name in ("mask.dcm", "report.dcm")]
    subprocess.run([*storescu, "-R", *results], check=True, timeout=TIMEOUT_S)
    assert modalities(archive, study) == {"CT", "SEG", "SR"}
    assert archive.series("1.2.3") == []
