"""Results pushed to a real Orthanc: by C-STORE and STOW-RS, found, fetched, moved, once."""

from __future__ import annotations

import io
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StorageCommitmentPushModel,
)

from calcium_scoring.dicom.storage_commitment import commitment_request
from service.adapters.destinations import c_store as c_store_sender
from service.adapters.destinations.c_store import commitment_handler
from service.application.pushes import Push
from service.application.run_job import run_job
from service.settings import Settings
from service.worker.pushing import PushLoop, automatic_destinations
from service.worker.wiring import worker_parts
from tests.integration.conftest import Service, running_gateway
from tests.orthanc import AE_TITLE, Orthanc, free_port, running_orthanc

KINDS = {
    "Segmentation": "1.2.840.10008.5.1.4.1.1.66.4",
    "Comprehensive 3D SR": "1.2.840.10008.5.1.4.1.1.88.34",
    "Secondary Capture": "1.2.840.10008.5.1.4.1.1.7",
    "Encapsulated PDF": "1.2.840.10008.5.1.4.1.1.104.1",
}
OBJECT_COUNT = 5
"""Masks of arteries and of lesions, report, one key image, printed page."""


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    folder = tmp_path / "orthanc"
    folder.mkdir()
    with running_orthanc(folder) as one:
        yield one


def c_store(orthanc: Orthanc, **more: object) -> dict[str, Any]:
    place = {"kind": "c-store", "host": "127.0.0.1", "port": orthanc.dicom_port}
    return {"name": "pacs", **place, "ae_title": AE_TITLE, **more}


def stow_rs(orthanc: Orthanc, **more: object) -> dict[str, Any]:
    return {"name": "pacs", "kind": "stow-rs", "url": orthanc.dicomweb_url, **more}


PLACES = pytest.mark.parametrize("place", [c_store, stow_rs])


def settings_with(settings: Settings, *destinations: dict[str, Any]) -> Settings:
    """Return settings whose file of destinations says this (JSON is YAML)."""
    file = settings.data_dir.parent / "destinations.yaml"
    file.write_text(json.dumps({"destinations": destinations}))
    return settings.model_copy(update={"destinations_file": file})


class PushingService(Service):
    """A service whose worker also pushes, when it is told to."""

    def work_on(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            run_job(
                job_id,
                store=self.parts.store,
                artefacts=self.parts.artefacts,
                load_segmenter=self.parts.load_segmenter,
                protocol=self.parts.protocol,
                terms=self.parts.terms,
                signer=self.parts.signer,
                destinations=automatic_destinations(self.parts),
            )

    def push(self) -> int:
        return PushLoop(self.parts, interval_s=1.0).push_all_due()

    def scored(self, study_zip: Path) -> str:
        answer = self.client.post("/studies", files={"file": study_zip.read_bytes()})
        self.work()
        return str(answer.json()["id"])

    def pushes(self, study_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get(f"/studies/{study_id}").json()["pushes"]
        return found


@pytest.fixture
def serving(settings: Settings) -> Iterator[Callable[..., PushingService]]:
    """Start a service with these destinations."""
    with ExitStack() as running:

        def serve(*destinations: dict[str, Any]) -> PushingService:
            chosen = settings_with(settings, *destinations)
            client = running.enter_context(running_gateway(chosen))
            return PushingService(client, chosen, worker_parts(chosen))

        yield serve


def parts_of(answer: httpx.Response) -> list[bytes]:
    """Return the bodies of a multipart answer."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + answer.content)
    bodies = [part.get_payload(decode=True) for part in message.iter_parts()]
    return [body for body in bodies if isinstance(body, bytes)]


@PLACES
def test_results_are_found_by_qido_and_fetched_by_wado_with_the_same_pixels(
    place: Callable[..., dict[str, Any]],
    orthanc: Orthanc,
    serving: Callable[..., PushingService],
    study_zip: Path,
) -> None:
    service = serving(place(orthanc))
    study_id = service.scored(study_zip)
    assert [one["state"] for one in service.pushes(study_id)] == ["pending"]

    assert service.push() == 1

    (push,) = service.pushes(study_id)
    assert (push["destination"], push["state"], push["attempt"]) == ("pacs", "sent", 1)
    assert push["detail"] == "5 objects stored"
    assert push["next_attempt_at"] is None
    assert orthanc.count_of_instances() == OBJECT_COUNT
    found = {
        kind: orthanc.found("instances", SOPClassUID=uid, includefield="00081115")
        for kind, uid in KINDS.items()
    }
    assert {kind: len(ones) for kind, ones in found.items()} == {
        "Segmentation": 2,
        "Comprehensive 3D SR": 1,
        "Secondary Capture": 1,
        "Encapsulated PDF": 1,
    }
    ours = {
        str(one.SOPInstanceUID): one
        for one in (
            dcmread(io.BytesIO(service.client.get(f"/studies/{study_id}/artifacts/{name}").content))
            for name in ("mask.dcm", "lesions.dcm", "key-image-1.dcm")
        )
    }
    for one in [*found["Segmentation"], *found["Secondary Capture"]]:
        study, series, instance = (
            one[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")
        )
        answer = httpx.get(
            f"{orthanc.dicomweb_url}/studies/{study}/series/{series}/instances/{instance}",
            headers={"Accept": 'multipart/related; type="application/dicom"'},
        )
        (body,) = parts_of(answer)
        assert dcmread(io.BytesIO(body)).PixelData == ours[instance].PixelData


@PLACES
def test_second_run_of_the_same_series_changes_no_object_count(
    place: Callable[..., dict[str, Any]],
    orthanc: Orthanc,
    serving: Callable[..., PushingService],
    study_zip: Path,
) -> None:
    service = serving(place(orthanc))
    study_id = service.scored(study_zip)
    service.push()
    before = orthanc.found("instances")

    service.client.post(f"/studies/{study_id}/rerun", json={})
    service.work()
    service.push()
    service.client.post(f"/studies/{study_id}/push", json={"to": "pacs"})
    service.push()

    (push,) = service.pushes(study_id)
    assert (push["state"], push["version"], push["attempt"]) == ("sent", 2, 2)
    assert orthanc.count_of_instances() == OBJECT_COUNT
    uids = [
        {one["00080018"]["Value"][0] for one in ones}
        for ones in (before, orthanc.found("instances"))
    ]
    assert uids[0] == uids[1]


def test_archive_that_is_killed_in_the_middle_of_a_push_has_each_object_once(
    orthanc: Orthanc, serving: Callable[..., PushingService], study_zip: Path
) -> None:
    service = serving(c_store(orthanc, timeout_s=5))
    study_id = service.scored(study_zip)
    # A destination that dies after its second object.
    outbox, stored = service.parts.outbox, []
    extend = outbox.extend

    def extend_and_kill(push: Push, *, lease: timedelta) -> bool:
        stored.append(push.id)
        if len(stored) == 3:
            orthanc.kill()
        return extend(push, lease=lease)

    outbox.extend = extend_and_kill  # type: ignore[method-assign]
    try:
        service.push()
    finally:
        outbox.extend = extend  # type: ignore[method-assign]

    (push,) = service.pushes(study_id)
    assert (push["state"], push["attempt"]) == ("pending", 1)
    assert push["next_attempt_at"] is not None
    orthanc.start()
    assert 0 < orthanc.count_of_instances() < OBJECT_COUNT
    service.client.post(f"/studies/{study_id}/push", json={"to": "pacs"})
    service.push()
    (push,) = service.pushes(study_id)
    assert (push["state"], push["attempt"]) == ("sent", 2)
    assert orthanc.count_of_instances() == OBJECT_COUNT


def test_results_in_the_archive_are_moved_to_another_node(
    tmp_path: Path, serving: Callable[..., PushingService], study_zip: Path
) -> None:
    received: list[str] = []
    node = AE("READER")
    for uid in KINDS.values():
        node.add_supported_context(uid)

    def keep(event: evt.Event) -> int:
        received.append(str(event.request.AffectedSOPClassUID))
        return 0x0000

    listener = node.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    assert listener is not None
    try:
        port = listener.server_address[1]
        folder = tmp_path / "orthanc"
        folder.mkdir()
        with running_orthanc(folder, {"reader": ["READER", "127.0.0.1", port]}) as orthanc:
            service = serving(c_store(orthanc))
            service.scored(study_zip)
            service.push()
            study = orthanc.found("studies")[0]["0020000D"]["Value"][0]
            moved = subprocess.run(
                [
                    *("movescu", "-S", "-aet", "READER", "-aec", AE_TITLE, "-aem", "READER"),
                    *("127.0.0.1", str(orthanc.dicom_port)),
                    *("-k", "0008,0052=STUDY", "-k", f"0020,000d={study}"),
                ],
                capture_output=True,
                check=False,
            )
    finally:
        listener.shutdown()
    assert moved.returncode == 0, moved.stderr
    assert sorted(set(received)) == sorted(KINDS.values())
    assert len(received) == OBJECT_COUNT


def test_archive_commits_to_what_it_took(
    tmp_path: Path, serving: Callable[..., PushingService], study_zip: Path
) -> None:
    # Orthanc reports over an association of its own, to a node that it knows.
    port = free_port()
    folder = tmp_path / "orthanc"
    folder.mkdir()
    with running_orthanc(folder, {"us": ["CACSCORE", "127.0.0.1", port]}) as orthanc:
        service = serving(c_store(orthanc, storage_commitment=True))
        node = AE("CACSCORE")
        node.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        listener = node.start_server(
            ("127.0.0.1", port),
            block=False,
            evt_handlers=[
                (
                    evt.EVT_N_EVENT_REPORT,
                    commitment_handler(service.parts.outbox.settle_commitment),
                )
            ],
        )
        assert listener is not None
        try:
            study_id = service.scored(study_zip)
            service.push()
            deadline = time.monotonic() + 20.0
            while (push := service.pushes(study_id)[0])["state"] != "committed":
                assert time.monotonic() < deadline, push
                time.sleep(0.1)
        finally:
            listener.shutdown()
    assert push["committed_at"] is not None
    assert push["sent_at"] is not None
    assert push["next_attempt_at"] is None


def test_what_the_archive_no_longer_has_is_sent_again(
    tmp_path: Path,
    serving: Callable[..., PushingService],
    study_zip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    heard = threading.Event()
    folder = tmp_path / "orthanc"
    folder.mkdir()
    with running_orthanc(folder, {"us": ["CACSCORE", "127.0.0.1", port]}) as orthanc:
        service = serving(c_store(orthanc, storage_commitment=True))
        outbox = service.parts.outbox
        study_id = service.scored(study_zip)
        # The push ends without a report: nobody listens yet.
        service.push()
        assert service.pushes(study_id)[0]["state"] == "sent"
        reports: list[Dataset] = []

        def hear(event: evt.Event) -> tuple[int, None]:
            reports.append(event.event_information)
            status, _ = commitment_handler(outbox.settle_commitment)(event)
            heard.set()
            return status, None

        node = AE("CACSCORE")
        node.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        listener = node.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)]
        )
        assert listener is not None
        try:
            (held,) = orthanc.found("instances", SOPClassUID=KINDS["Secondary Capture"])
            lost = httpx.post(f"{orthanc.url}/tools/lookup", content=held["00080018"]["Value"][0])
            instance = lost.json()[0]["ID"]
            # Sent, and lost before the archive looks.
            service.client.post(f"/studies/{study_id}/push", json={"to": "pacs"})

            def lose_and_request(uid: str, instances: Iterable[tuple[str, str]]) -> Dataset:
                httpx.delete(f"{orthanc.url}/instances/{instance}").raise_for_status()
                return commitment_request(uid, instances)

            monkeypatch.setattr(c_store_sender, "commitment_request", lose_and_request)
            service.push()
            assert heard.wait(20.0)
        finally:
            listener.shutdown()
        deadline = time.monotonic() + 10.0
        while (push := service.pushes(study_id)[0])["state"] != "pending":
            assert time.monotonic() < deadline, push
            time.sleep(0.05)
        assert push["detail"] == "storage of 1 objects was not committed"
        assert push["next_attempt_at"] is not None
        assert len(reports[0].FailedSOPSequence) == 1


def test_push_to_a_destination_that_is_not_named_is_refused(
    orthanc: Orthanc, serving: Callable[..., PushingService], study_zip: Path
) -> None:
    service = serving(c_store(orthanc, automatic=False))
    study_id = service.scored(study_zip)
    assert service.pushes(study_id) == []

    answer = service.client.post(f"/studies/{study_id}/push", json={"to": "elsewhere"})

    assert (answer.status_code, answer.json()["code"]) == (404, "destination_not_found")
    assert answer.json()["evidence"]["available"] == ["pacs"]


@PLACES
def test_a_destination_gets_the_objects_that_it_wants(
    place: Callable[..., dict[str, Any]],
    orthanc: Orthanc,
    serving: Callable[..., PushingService],
    study_zip: Path,
) -> None:
    service = serving(place(orthanc, objects=["sr"]))
    service.scored(study_zip)
    service.push()

    (only,) = orthanc.found("instances", includefield="00080016")
    assert only["00080016"]["Value"] == [KINDS["Comprehensive 3D SR"]]
