"""The doctor at a site whose archive is a real Orthanc that sends scans on by a rule of its own."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from pydicom import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt

from service.adapters.dicom_network.storage_scp import StorageScp
from service.application.receive_studies import receive_studies
from service.cli.dicom_node import desk_of, incoming_of, scp_terms_of
from service.cli.doctor_path import dicomweb_place, stow
from service.cli.main import run as run_cli
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.integration.conftest import running_gateway
from tests.integration.test_doctor_results import another_score, changed
from tests.integration.test_push_to_orthanc import (
    PushingService,
    c_store,
    settings_with,
    stow_rs,
)
from tests.orthanc import AE_TITLE, Orthanc, free_port, running_orthanc

Place: TypeAlias = Callable[..., dict[str, Any]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROUTES_CT = """
function OnStoredInstance(instance, tags, metadata)
  if tags["Modality"] == "CT" then SendToModality(instance, "cacscore") end
end
"""


ROUTES_TWENTY_SLICES = """
function OnStoredInstance(instance, tags, metadata)
  if tags["Modality"] == "CT" and tonumber(tags["InstanceNumber"]) <= 20 then
    SendToModality(instance, "cacscore")
  end
end
"""

QUIET_S = 5.0
"""The archive sends slice by slice; on a busy machine it paused for more than half a second."""


def erase_calcium(mask: Dataset) -> None:
    """Leave nothing of the mask but its first frame."""
    pixels = bytearray(mask.PixelData)
    frame_bytes = int(mask.Rows) * int(mask.Columns) // 8
    pixels[frame_bytes:] = bytes(len(pixels) - frame_bytes)
    mask.PixelData = bytes(pixels)


STEPS = [
    "archive",
    "scan sent",
    "Agatston score",
    "right score",
    "results in the archive",
    "results fetched",
    "SR: score",
    "SR: references",
    "SEG: score",
]


@pytest.fixture(autouse=True)
def _sockets_are_collected_here() -> Iterator[None]:
    """Leave no socket that pynetdicom drops unclosed to other tests."""
    yield
    gc.collect()


@dataclass(frozen=True)
class Site:
    """An archive, and the service that it sends scans to."""

    orthanc: Orthanc
    url: str

    def doctor(self, *options: str) -> list[str]:
        pacs = ["--pacs", f"127.0.0.1:{self.orthanc.dicom_port}", "--aet", AE_TITLE]
        return ["doctor", *pacs, "--url", self.url, "--timeout", "240", *options]


@contextmanager
def running_service(settings: Settings, node_port: int) -> Iterator[str]:
    """A gateway, a node and a worker that scores and pushes; give the URL."""
    settings.data_dir.mkdir(parents=True)
    incoming = incoming_of(settings)
    node = StorageScp(replace(scp_terms_of(settings), port=node_port), incoming)
    node.start()
    desk, stopping = desk_of(settings), threading.Event()
    with running_gateway(settings) as client:
        service = PushingService(client, settings, worker_parts(settings))

        def work() -> None:
            while not stopping.wait(0.1):
                receive_studies(incoming, desk)
                service.work()
                service.push()

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield str(client.base_url)
        finally:
            stopping.set()
            worker.join()
            node.stop(patience_s=0.0)


@contextmanager
def running_site(
    settings: Settings,
    folder: Path,
    *,
    script: str = ROUTES_CT,
    destination: Place | None = c_store,
    archive_settings: dict[str, Any] | None = None,
) -> Iterator[Site]:
    """Run an archive and a service that know each other; ``destination`` None: one way only."""
    (folder / "orthanc").mkdir()
    node_port = free_port()
    known: dict[str, Sequence[Any]] = {"cacscore": ["CACSCORE", "127.0.0.1", node_port]}
    with running_orthanc(
        folder / "orthanc",
        known,
        script=script,
        settings={"StableAge": 1, **(archive_settings or {})},
    ) as orthanc:
        places = [] if destination is None else [destination(orthanc)]
        chosen = settings_with(settings, *places).model_copy(
            update={"upload_bytes": 64 * 1024 * 1024, "dicom_quiet_s": QUIET_S}
        )
        with running_service(chosen, node_port) as url:
            yield Site(orthanc, url)


@pytest.fixture(autouse=True)
def _environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACSCORE_MODEL_PATH", str(settings.model_path))
    monkeypatch.setenv("CACSCORE_DATA_DIR", str(settings.data_dir))


def sheet_of(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """Return the sheet that was printed as JSON, and what was said at the end."""
    printed = capsys.readouterr()
    sheet: dict[str, Any] = json.loads(printed.out)
    return sheet, printed.err.strip().splitlines()[-1]


def details(sheet: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["detail"] for one in sheet["checks"]}


@pytest.mark.parametrize("destination", [c_store, stow_rs])
def test_scan_goes_to_the_archive_and_its_score_comes_back(
    destination: Place, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_site(settings, tmp_path, destination=destination) as site:
        status = run_cli(site.doctor("--json"))
        sheet, last = sheet_of(capsys)

    assert status == 0, last
    assert [one["name"] for one in sheet["checks"]] == STEPS
    assert all(one["is_ok"] and one["is_checked"] for one in sheet["checks"])
    found = details(sheet)
    assert found["results fetched"].endswith("by C-GET")
    assert "2 SEG" in found["results fetched"]
    assert f"Agatston score {found['Agatston score']}" in found["SR: score"]
    assert f"Agatston score {found['Agatston score']}" in found["SEG: score"]


def test_archive_says_what_it_offers(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_site(settings, tmp_path) as site:
        run_cli(site.doctor("--json", "--dicomweb", site.orthanc.dicomweb_url))
        sheet, last = sheet_of(capsys)
        assert run_cli(site.doctor("--no-return")) == 0
        printed = " ".join(capsys.readouterr().out.split())

    assert sheet["is_ok"], last
    node = sheet["offer"]["node"]
    assert node["implementation_version_name"].startswith("OFFIS_DCMTK")
    assert node["max_pdu_bytes"] == 16384
    services = {one["name"]: one for one in node["services"]}
    for name in (
        "Verification SOP Class",
        "CT Image Storage",
        "Segmentation Storage",
        "Comprehensive 3D SR Storage",
        "Encapsulated PDF Storage",
        "Secondary Capture Image Storage",
        "Storage Commitment Push Model SOP Class",
        "Study Root Query/Retrieve Information Model - FIND",
        "Study Root Query/Retrieve Information Model - MOVE",
        "Study Root Query/Retrieve Information Model - GET",
    ):
        assert services[name]["is_accepted"], name
        names = [one["name"] for one in services[name]["transfer_syntaxes"]]
        assert "Explicit VR Little Endian" in names, name
    # A SOP class that is younger than this Orthanc.
    label_maps = services["Label Map Segmentation Storage"]
    assert label_maps["refusal"] == "SOP class is not supported"
    assert label_maps["transfer_syntaxes"] == []
    assert sheet["offer"]["dicomweb"] == [
        {
            "url": site.orthanc.dicomweb_url,
            "QIDO-RS": "answered",
            "WADO-RS": "answered",
            "STOW-RS": "not asked",
        }
    ]
    assert "longest PDU: 16384 bytes" in printed
    assert "Study Root Query/Retrieve - GET" in printed


def test_scan_that_goes_by_stow_comes_back_over_the_same_service(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_site(settings, tmp_path, destination=stow_rs) as site:
        stow = ["doctor", "--stow", site.orthanc.dicomweb_url, "--url", site.url]
        status = run_cli([*stow, "--timeout", "240", "--json"])
        sheet, last = sheet_of(capsys)

    assert status == 0, last
    assert [one["name"] for one in sheet["checks"]] == ["DICOMweb", *STEPS[1:]]
    assert details(sheet)["scan sent"].endswith("by STOW-RS")
    assert details(sheet)["results fetched"].endswith("by WADO-RS")
    assert sheet["offer"]["node"] is None
    (web,) = sheet["offer"]["dicomweb"]
    assert {web[name] for name in ("QIDO-RS", "WADO-RS", "STOW-RS")} == {"answered"}


def test_scan_goes_by_stow_straight_to_the_gateway(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings.model_copy(update={"upload_bytes": 64 * 1024 * 1024})
    with running_service(chosen, free_port()) as url:
        stow = ["doctor", "--stow", f"{url.rstrip('/')}/dicomweb", "--url", url]
        status = run_cli([*stow, "--timeout", "240", "--json"])
        sheet, last = sheet_of(capsys)

    assert status == 0, last
    assert all(one["is_ok"] and one["is_checked"] for one in sheet["checks"])
    # The gateway gives all that it keeps.
    assert "2 SEG" in details(sheet)["results fetched"]
    assert "1 SR" in details(sheet)["results fetched"]


def test_results_that_go_nowhere_are_missed(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_site(settings, tmp_path, destination=None) as site:
        status = run_cli([*site.doctor("--json"), "--timeout", "120"])
        sheet, last = sheet_of(capsys)

    assert status == 1
    assert [one["name"] for one in sheet["checks"] if not one["is_ok"]] == [
        "results in the archive"
    ]
    assert last == (
        "Error: 1 of 5 checks failed. results in the archive: SEG, SR did not come back within "
        "120 s; the archive has series of CT. The service pushed nothing of this study: is the "
        "archive one of the destinations of CACSCORE_DESTINATIONS_FILE?"
    )


def test_archive_that_refuses_results_ends_the_waiting_with_the_words_of_the_service(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusing = AE(AE_TITLE)
    refusing.supported_contexts = AllStoragePresentationContexts
    listener = refusing.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0xA900)]
    )
    assert listener is not None
    port = listener.server_address[1]
    try:
        with running_site(
            settings, tmp_path, destination=lambda one: c_store(one, port=port)
        ) as site:
            status = run_cli(site.doctor("--json"))
            sheet, last = sheet_of(capsys)
    finally:
        listener.shutdown()

    assert status == 1
    assert "results in the archive" in details(sheet), last
    found = details(sheet)["results in the archive"]
    assert "SEG, SR did not come back; the archive has series of CT" in found
    assert "The service says of its push to pacs: failed, attempt 1" in found
    assert "status A900H" in found
    assert last.endswith(found)


def test_archive_that_sends_nothing_on_is_told(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_site(settings, tmp_path, script="") as site:
        status = run_cli([*site.doctor("--json"), "--timeout", "4"])
        sheet, last = sheet_of(capsys)

    assert status == 1
    assert [one["name"] for one in sheet["checks"]] == STEPS[:3]
    assert "did not score the scan within 4 s. Does the archive send it to the node" in last


def test_scan_that_arrives_in_part_is_told(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_site(settings, tmp_path, script=ROUTES_TWENTY_SLICES, destination=None) as site:
        status = run_cli(site.doctor("--json"))
        sheet, last = sheet_of(capsys)

    assert status == 1
    assert [one["name"] for one in sheet["checks"]] == STEPS[:4]
    assert last == (
        "Error: 1 of 4 checks failed. right score: the service scored 20 of the 45 slices that "
        "were sent: does the archive pause longer between two slices than CACSCORE_DICOM_QUIET_S?"
    )


def test_archive_of_another_name_rejects_the_association(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = {"DicomCheckCalledAet": True}
    (tmp_path / "orthanc").mkdir()
    with running_orthanc(tmp_path / "orthanc", settings=strict) as orthanc:
        site = Site(orthanc, "http://127.0.0.1:9")
        # On a busy machine the archive's closing of the connection may overtake its reason.
        for _ in range(5):
            status = run_cli([*site.doctor("--json"), "--aet", "OTHER"])
            sheet, last = sheet_of(capsys)
            if "rejects" in last:
                break

    assert status == 1
    assert [one["name"] for one in sheet["checks"]] == ["archive"]
    assert sheet["offer"] == {"node": None, "dicomweb": []}
    assert "OTHER at 127.0.0.1 port" in last
    assert "rejects the association: Called AE title not recognised" in last


@pytest.mark.parametrize(
    ("altered", "check"),
    [
        (("report.dcm", another_score), "SR: score"),
        (("mask.dcm", erase_calcium), "SEG: score"),
    ],
)
def test_results_that_a_router_changes_are_told(
    altered: tuple[str, Callable[[Dataset], None]],
    check: str,
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, change = altered
    with running_site(settings, tmp_path, destination=None) as site:

        def carry() -> None:
            folder = tmp_path / "carried"
            folder.mkdir()
            for path in results_of(site.url, folder):
                if path.name == name:
                    changed(path, change)
            stow(
                dicomweb_place(site.orthanc.dicomweb_url, "CACSCORE_STOW"),
                sorted(folder.iterdir()),
            )

        router = threading.Thread(target=carry)
        router.start()
        try:
            status = run_cli(site.doctor("--json"))
        finally:
            router.join()
        sheet, last = sheet_of(capsys)

    assert status == 1, sheet
    assert [one["name"] for one in sheet["checks"] if not one["is_ok"]] == [check]
    kind = check.partition(":")[0]
    assert last.startswith(f"Error: 1 of 9 checks failed. {check}: the {kind} in the archive")
    assert last.endswith(f"the {kind} was changed on its way, or is of another result.")


def results_of(url: str, folder: Path) -> list[Path]:
    """Wait for a score and fetch its DICOM objects, as something between could."""
    with httpx.Client(base_url=url) as client:
        deadline = time.monotonic() + 240.0
        while not any(
            one["status"] == "succeeded" for one in client.get("/studies").json()["studies"]
        ):
            assert time.monotonic() < deadline, "No score"
            time.sleep(0.2)
        (study,) = client.get("/studies").json()["studies"]
        for one in client.get(f"/studies/{study['id']}/artifacts").json()["artifacts"]:
            if one["name"].endswith(".dcm"):
                content = client.get(f"/studies/{study['id']}/artifacts/{one['name']}").content
                (folder / one["name"]).write_bytes(content)
    return sorted(folder.iterdir())
