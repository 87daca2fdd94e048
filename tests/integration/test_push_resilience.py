"""Pushes when something goes wrong: killed senders, archives that restart, silence, and secrets."""

from __future__ import annotations

import gc
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StorageCommitmentPushModel,
)

from service.adapters.database.engine import open_engine
from service.adapters.database.push_outbox import SqlPushOutbox
from service.adapters.database.study_store import utc_now
from service.adapters.destinations import stow_rs as stow_sender
from service.adapters.destinations.c_store import commitment_handler
from service.adapters.dicom_network.storage_scp import tls_context
from service.application.pushes import COMMITMENT_ASKS, LEASE, Commitment, commitment_uid
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.integration.conftest import running_gateway
from tests.integration.test_dicom_node import Certificate, make_certificate
from tests.integration.test_push_to_orthanc import (
    OBJECT_COUNT,
    PushingService,
    c_store,
    settings_with,
    stow_rs,
)
from tests.orthanc import AE_TITLE, Orthanc, free_port, running_orthanc

HOUR = timedelta(hours=1)

# pynetdicom drops sockets unclosed where a connection or TLS fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _sockets_are_collected_here() -> Iterator[None]:
    """Leave no such socket to other tests."""
    yield
    gc.collect()


@dataclass
class Clock:
    """Time as the outbox sees it."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@contextmanager
def service_of(
    settings: Settings, clock: Clock, *destinations: dict[str, Any]
) -> Iterator[PushingService]:
    """Run a service whose outbox lives by this clock."""
    chosen = settings_with(settings, *destinations)
    with running_gateway(chosen) as client:
        outbox = SqlPushOutbox(open_engine(chosen.record_url), now=clock)
        yield PushingService(client, chosen, replace(worker_parts(chosen), outbox=outbox))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "orthanc"
    made.mkdir()
    return made


@contextmanager
def commitment_node(port: int, outbox: SqlPushOutbox) -> Iterator[None]:
    """Listen for reports of commitments, as `cacscore dicom-node` does."""
    node = AE("CACSCORE")
    node.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    listener = node.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, commitment_handler(outbox.settle_commitment))],
    )
    assert listener is not None
    try:
        yield
    finally:
        listener.shutdown()


def test_commitment_that_is_never_reported_is_asked_for_again_and_then_told(
    folder: Path, settings: Settings, study_zip: Path
) -> None:
    clock = Clock()
    # It reports to a port where nobody listens.
    with (
        running_orthanc(folder, {"us": ["CACSCORE", "127.0.0.1", free_port()]}) as orthanc,
        service_of(settings, clock, c_store(orthanc, storage_commitment=True)) as service,
    ):
        study_id = service.scored(study_zip)
        service.push()
        (push,) = service.pushes(study_id)
        assert push["state"] == "sent"
        assert push["detail"] == "5 objects stored; storage commitment is waited for"
        assert push["next_attempt_at"] is not None
        assert service.push() == 0, "It is not asked again before its time"
        # What was corrected or moved in the archive meanwhile must not come back.
        instances = [one["00080018"]["Value"][0] for one in orthanc.found("instances")]
        orthanc.delete(instances[0])
        for asks in range(2, COMMITMENT_ASKS + 1):
            clock.ahead += HOUR + timedelta(minutes=1)
            assert service.push() == 1
            (push,) = service.pushes(study_id)
            assert (push["state"], push["attempt"]) == ("sent", asks)
            assert push["detail"] == "5 objects stored before; storage commitment is waited for"
        clock.ahead += HOUR + timedelta(minutes=1)
        assert service.push() == 1

        (push,) = service.pushes(study_id)
        assert push["state"] == "unconfirmed"
        assert push["detail"] == "storage commitment was asked for 3 times and not reported"
        assert push["next_attempt_at"] is None
        assert push["sent_at"] is not None
        assert orthanc.count_of_instances() == OBJECT_COUNT - 1
        clock.ahead += 100 * HOUR
        assert service.push() == 0, "Nobody asks any more"

        # A report that comes after all.
        uid = commitment_uid_of(service, study_id, attempt=COMMITMENT_ASKS)
        assert service.parts.outbox.settle_commitment(Commitment(uid, failed_count=0))
        assert service.pushes(study_id)[0]["state"] == "committed"


def commitment_uid_of(service: PushingService, study_id: str, *, attempt: int) -> str:
    """Return the transaction UID of an attempt, as the destination was told it."""
    from sqlalchemy import select  # noqa: PLC0415

    from service.adapters.database.push_tables import pushes  # noqa: PLC0415

    with open_engine(service.settings.record_url).connect() as connection:
        push_id = connection.execute(
            select(pushes.c.id).where(pushes.c.study_id == study_id)
        ).scalar_one()
    return commitment_uid(push_id, attempt)


def test_archive_that_is_asked_again_commits(
    folder: Path, settings: Settings, study_zip: Path
) -> None:
    clock, port = Clock(), free_port()
    with (
        running_orthanc(folder, {"us": ["CACSCORE", "127.0.0.1", port]}) as orthanc,
        service_of(settings, clock, c_store(orthanc, storage_commitment=True)) as service,
    ):
        study_id = service.scored(study_zip)
        service.push()
        assert service.pushes(study_id)[0]["state"] == "sent"
        clock.ahead = 2 * HOUR
        outbox = service.parts.outbox
        assert isinstance(outbox, SqlPushOutbox)
        with commitment_node(port, outbox):
            service.push()
            deadline = time.monotonic() + 20.0
            while (push := service.pushes(study_id)[0])["state"] != "committed":
                assert time.monotonic() < deadline, push
                time.sleep(0.1)
    assert push["next_attempt_at"] is None
    assert push["attempt"] == 2


def test_report_to_an_earlier_question_counts(
    folder: Path, settings: Settings, study_zip: Path
) -> None:
    clock = Clock()
    with (
        running_orthanc(folder, {"us": ["CACSCORE", "127.0.0.1", free_port()]}) as orthanc,
        service_of(settings, clock, c_store(orthanc, storage_commitment=True)) as service,
    ):
        study_id = service.scored(study_zip)
        service.push()
        clock.ahead = 2 * HOUR
        service.push()
        first = commitment_uid_of(service, study_id, attempt=1)

        assert service.parts.outbox.settle_commitment(Commitment(first, failed_count=2))

        (push,) = service.pushes(study_id)
        assert (push["state"], push["detail"]) == (
            "pending",
            "storage of 2 objects was not committed",
        )


def test_node_that_is_gone_when_it_is_asked_again_has_what_it_took(
    folder: Path, settings: Settings, study_zip: Path
) -> None:
    clock = Clock()
    with (
        running_orthanc(folder, {"us": ["CACSCORE", "127.0.0.1", free_port()]}) as orthanc,
        service_of(settings, clock, c_store(orthanc, storage_commitment=True)) as service,
    ):
        study_id = service.scored(study_zip)
        service.push()
        orthanc.kill()
        details = []
        for _ in range(COMMITMENT_ASKS):
            clock.ahead += 2 * HOUR
            service.push()
            details.append(service.pushes(study_id)[0]["detail"])
    assert details[0] == "no association: the node does not answer, or not in DICOM"
    assert details[-1] == "storage commitment was asked for 3 times and not reported"


PUSH_SLOWLY = """
import sys, time
from service.settings import Settings
from service.worker.pushing import PushLoop
from service.worker.wiring import worker_parts

parts = worker_parts(Settings())
extend = parts.outbox.extend

def slowly(push, *, lease):
    time.sleep(0.5)
    return extend(push, lease=lease)

parts.outbox.extend = slowly
print(PushLoop(parts, interval_s=1.0).push_all_due())
"""
"""A worker's sender that takes its time before each object."""


@contextmanager
def slow_sender(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "CACSCORE_DATA_DIR": str(settings.data_dir),
        "CACSCORE_DESTINATIONS_FILE": str(settings.destinations_file),
        "CACSCORE_DATABASE_URL": settings.record_url,
        "CACSCORE_MODEL_PATH": str(settings.model_path),
    }
    process = subprocess.Popen([sys.executable, "-c", PUSH_SLOWLY], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_sender_that_is_killed_in_the_middle_of_a_push_is_followed_by_another(
    folder: Path, settings: Settings, study_zip: Path
) -> None:
    clock = Clock()
    with (
        running_orthanc(folder) as orthanc,
        service_of(settings, clock, c_store(orthanc)) as service,
    ):
        study_id = service.scored(study_zip)
        with slow_sender(service.settings) as sender:
            deadline = time.monotonic() + 60.0
            while not orthanc.count_of_instances():
                assert sender.poll() is None, sender.returncode
                assert time.monotonic() < deadline
                time.sleep(0.02)
            sender.send_signal(signal.SIGKILL)
            sender.wait()
        assert 0 < orthanc.count_of_instances() < OBJECT_COUNT
        (push,) = service.pushes(study_id)
        assert (push["state"], push["attempt"]) == ("pending", 1)
        assert service.push() == 0, "Its lease has not ended"

        clock.ahead = LEASE + timedelta(seconds=1)
        assert service.push() == 1

        (push,) = service.pushes(study_id)
        assert (push["state"], push["attempt"]) == ("sent", 2)
        assert orthanc.count_of_instances() == OBJECT_COUNT
        assert service.push() == 0


def test_archive_that_is_killed_in_the_middle_of_a_stow_request_has_each_object_once(
    folder: Path, settings: Settings, study_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    with (
        running_orthanc(folder) as orthanc,
        service_of(settings, clock, stow_rs(orthanc, timeout_s=10)) as service,
    ):
        study_id = service.scored(study_zip)
        with monkeypatch.context() as patched:
            patched.setattr(stow_sender, "_Body", dying_body(orthanc))
            service.push()
        (push,) = service.pushes(study_id)
        assert (push["state"], push["attempt"]) == ("pending", 1)
        assert push["detail"].startswith("no answer (")
        orthanc.start()

        clock.ahead = HOUR
        assert service.push() == 1

        (push,) = service.pushes(study_id)
        assert (push["state"], push["attempt"]) == ("sent", 2)
        assert orthanc.count_of_instances() == OBJECT_COUNT


def dying_body(orthanc: Orthanc) -> type:
    """Return a body in whose middle the archive is killed."""

    class DyingBody(stow_sender._Body):
        def __iter__(self) -> Iterator[bytes]:
            sent = 0
            for chunk in super().__iter__():
                yield chunk
                sent += len(chunk)
                if sent > self.size_bytes // 2 and orthanc.process is not None:
                    orthanc.kill()

    return DyingBody


@dataclass
class TlsNode:
    """A DICOM node that wants a certificate of those who send."""

    port: int
    received: list[str] = field(default_factory=list)


@contextmanager
def tls_node(ours: Certificate, client: Certificate) -> Iterator[TlsNode]:
    node = AE(AE_TITLE)
    node.supported_contexts = AllStoragePresentationContexts
    found = TlsNode(0)

    def keep(event: evt.Event) -> int:
        found.received.append(str(event.request.AffectedSOPClassUID))
        return 0x0000

    listener = node.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, keep)],
        ssl_context=tls_context(ours.certificate, ours.key, client_ca=client.certificate),
    )
    assert listener is not None
    found.port = listener.server_address[1]
    try:
        yield found
    finally:
        listener.shutdown()


def test_results_go_over_tls_to_who_shows_the_right_certificate_only(
    tmp_path: Path, settings: Settings, study_zip: Path
) -> None:
    theirs, ours, stranger = (
        make_certificate(tmp_path, name) for name in ("pacs", "cacscore", "stranger")
    )
    clock = Clock()
    with tls_node(theirs, ours) as node:

        def place(name: str, *, shown: Certificate | None, trusted: Certificate) -> dict[str, Any]:
            tls = {"ca_file": str(trusted.certificate)}
            if shown is not None:
                tls |= {"certificate_file": str(shown.certificate), "key_file": str(shown.key)}
            return {
                "name": name,
                "kind": "c-store",
                "host": "127.0.0.1",
                "port": node.port,
                "ae_title": AE_TITLE,
                "timeout_s": 5,
                "tls": tls,
            }

        with service_of(
            settings,
            clock,
            place("right", shown=ours, trusted=theirs),
            place("not-theirs", shown=ours, trusted=stranger),
            place("not-ours", shown=stranger, trusted=theirs),
            place("nobody", shown=None, trusted=theirs),
        ) as service:
            study_id = service.scored(study_zip)
            service.push()
            states = {one["destination"]: one["state"] for one in service.pushes(study_id)}
    assert states == {
        "right": "sent",
        "not-theirs": "pending",
        "not-ours": "pending",
        "nobody": "pending",
    }
    assert len(node.received) == OBJECT_COUNT


@dataclass
class StowServer:
    """A DICOMweb service behind TLS that takes objects from who has its token."""

    url: str
    token: str
    headers: list[Message] = field(default_factory=list)
    bodies: list[int] = field(default_factory=list)


@contextmanager
def stow_server(own: Certificate, token: str) -> Iterator[StowServer]:
    found = StowServer("", token)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.headers.append(self.headers)
            found.bodies.append(len(body))
            is_known = self.headers["Authorization"] == f"Bearer {found.token}"
            answer = b"{}" if is_known else b""
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found.url = f"https://127.0.0.1:{server.server_address[1]}/dicom-web"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_token_of_a_file_is_read_anew_and_shown_to_the_right_host_only(
    tmp_path: Path, settings: Settings, study_zip: Path
) -> None:
    theirs, stranger = (make_certificate(tmp_path, name) for name in ("archive", "stranger"))
    token = tmp_path / "token"
    token.write_text("of-yesterday\n")
    clock = Clock()
    with stow_server(theirs, "of-today") as server:

        def place(name: str, trusted: Certificate, file: Path) -> dict[str, Any]:
            tls = {"ca_file": str(trusted.certificate)}
            return {
                "name": name,
                "kind": "stow-rs",
                "url": server.url,
                "tls": tls,
                "token_file": str(file),
            }

        with service_of(
            settings,
            clock,
            place("right", theirs, token),
            place("stranger", stranger, token),
            place("without", theirs, tmp_path / "nothing"),
        ) as service:
            study_id = service.scored(study_zip)
            service.push()
            first = {one["destination"]: one for one in service.pushes(study_id)}
            token.write_text("of-today\n")
            clock.ahead = HOUR
            service.push()
            second = {one["destination"]: one for one in service.pushes(study_id)}

    assert (first["right"]["state"], first["right"]["detail"]) == ("pending", "HTTP 401")
    assert first["stranger"]["detail"] == "the certificate or TLS of the host is not accepted"
    assert first["without"]["state"] == "pending"
    assert first["without"]["detail"] == "the file with the secret cannot be read"
    assert second["right"]["state"] == "sent"
    # The stranger's destination never got so far as to show it.
    assert len(server.headers) == 2
    said = json.dumps([*first.values(), *second.values()])
    assert "of-today" not in said
    assert "of-yesterday" not in said
    assert str(tmp_path) not in said, "Users are not shown where the operator keeps secrets"


def test_password_is_asked_for_by_a_real_archive(
    folder: Path, settings: Settings, study_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    closed = {"AuthenticationEnabled": True, "RegisteredUsers": {"cacscore": "secret-1"}}
    with running_orthanc(folder, settings=closed, credentials=("cacscore", "secret-1")) as orthanc:

        def place(name: str, variable: str) -> dict[str, Any]:
            more = {"username": "cacscore", "password_env": variable}
            return {**stow_rs(orthanc, **more), "name": name}

        monkeypatch.setenv("RIGHT", "secret-1")
        monkeypatch.setenv("WRONG", "secret-2")
        with service_of(
            settings, clock, place("right", "RIGHT"), place("wrong", "WRONG"), place("unset", "NO")
        ) as service:
            study_id = service.scored(study_zip)
            service.push()
            found = {one["destination"]: one for one in service.pushes(study_id)}

    assert found["right"]["state"] == "sent"
    assert (found["wrong"]["state"], found["wrong"]["detail"]) == ("pending", "HTTP 401")
    assert found["unset"]["detail"] == (
        "the variable with the secret of the destination is not set"
    )


@pytest.mark.parametrize("kind", ["c-store", "stow-rs"])
def test_state_of_pushes_is_in_the_metrics(
    kind: str, folder: Path, settings: Settings, study_zip: Path
) -> None:
    clock = Clock()
    place: Callable[..., dict[str, Any]] = c_store if kind == "c-store" else stow_rs
    with (
        running_orthanc(folder) as orthanc,
        service_of(settings, clock, place(orthanc, timeout_s=5)) as service,
    ):
        service.scored(study_zip)
        waiting = service.client.get("/metrics").text
        service.push()
        sent = service.client.get("/metrics").text

    assert 'cacscore_pushes{destination="pacs",state="pending"} 1.0' in waiting
    assert 'cacscore_pushes{destination="pacs",state="failed"} 0.0' in waiting
    (age,) = (
        float(line.split()[-1])
        for line in waiting.splitlines()
        if line.startswith('cacscore_oldest_push_age_seconds{destination="pacs"}')
    )
    assert 0.0 < age < 60.0
    assert 'cacscore_pushes{destination="pacs",state="sent"} 1.0' in sent
    assert 'cacscore_oldest_push_age_seconds{destination="pacs"} 0.0' in sent
