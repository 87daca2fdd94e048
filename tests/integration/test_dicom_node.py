"""The node receives what senders that nobody here wrote send it, and nothing else."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from pynetdicom import AE, _config, build_context, dimse_messages, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from calcium_scoring.dicom.acceptance import ACCEPTED_TRANSFER_SYNTAXES
from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.upload.archive import ArchiveLimits
from calcium_scoring.upload.file_head import read_file_head
from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.engine import open_engine
from service.adapters.database.schema import upgrade_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.dicom_network.storage_scp import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH,
    LARGEST_ANY_PDU_BYTES,
    OUT_OF_RESOURCES,
    SUCCESS,
    ScpTerms,
    StorageScp,
    tls_context,
)
from service.adapters.rules.yaml_rules import load_rules
from service.adapters.storage.folder_store import FolderArtefactStore
from service.application.incoming_studies import IncomingStudies, IncomingTerms
from service.application.jobs import JobStatus, LeaseTerms, Priority
from service.application.receive_studies import Desk, receive_studies
from service.application.received_instances import Reception
from service.application.run_job import run_job
from service.cli.main import run as run_cli
from tests.fakes import RecordingJobQueue, ThresholdSegmenter, plaque_volume
from tests.series_builders import noise_volume, set_attributes, write_series

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TERMS = LeaseTerms()
AT_ONCE = IncomingTerms(quiet=timedelta(0), reserve_bytes=0)
TIMEOUT_S = 20.0


@dataclass
class Node:
    """A running node on this machine, and where its studies go."""

    root: Path
    scp: StorageScp
    incoming: IncomingStudies
    desk: Desk
    queue: RecordingJobQueue
    store: SqlStudyStore

    @property
    def port(self) -> int:
        return self.scp.port

    def associations(self) -> list[Association]:
        assert self.scp._server is not None
        return self.scp._server.active_associations

    def files(self) -> list[Path]:
        """What lies in the folder of arriving studies, but for the names of senders."""
        return [
            path
            for path in (self.root / "incoming").rglob("*")
            if path.is_file() and path.name != "sender.json"
        ]

    def associate(
        self,
        contexts: Sequence[tuple[str, str]] = ((CTImageStorage, ExplicitVRLittleEndian),),
        *,
        calling: str = "CT1",
        called: str = "CACSCORE",
        tls: ssl.SSLContext | None = None,
    ) -> Association:
        ae = AE(calling)
        ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = TIMEOUT_S
        return ae.associate(
            "127.0.0.1",
            self.port,
            contexts=[build_context(kind, syntax) for kind, syntax in contexts],
            ae_title=called,
            tls_args=None if tls is None else (tls, "localhost"),
        )

    def send(
        self,
        files: Sequence[Path],
        *,
        calling: str = "CT1",
        syntax: str = ExplicitVRLittleEndian,
    ) -> list[int]:
        """Send files over one association and release it; return the DIMSE statuses."""
        association = self.associate([(CTImageStorage, syntax)], calling=calling)
        assert association.is_established
        statuses = [int(association.send_c_store(dcmread(file)).Status) for file in files]
        association.release()
        return statuses


@contextmanager
def running_node(
    root: Path, terms: ScpTerms | None = None, incoming: IncomingTerms = AT_ONCE
) -> Iterator[Node]:
    engine = open_engine(f"sqlite:///{root / 'record.sqlite3'}")
    upgrade_schema(engine)
    store, queue = SqlStudyStore(engine, terms=TERMS), RecordingJobQueue()
    reception = Reception(
        store=store,
        artefacts=FolderArtefactStore(root / "artefacts"),
        queue=queue,
        audit=SqlAuditLog(engine),
        limits=ArchiveLimits(),
        waiting_jobs=lambda: 0,
        queue_length=10,
    )
    studies = IncomingStudies(root / "incoming", incoming)
    scp = StorageScp(replace(terms or ScpTerms(), port=0), studies)
    scp.start()
    try:
        yield Node(root, scp, studies, Desk(reception, load_rules(None)), queue, store)
    finally:
        scp.stop(patience_s=0.0)
        engine.dispose()
        # Sockets of refused associations, which pynetdicom leaves to it on the sender's side.
        gc.collect()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as running:
        yield running


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return write_ct_series(plaque_volume(), tmp_path / "series", seed=1)


def program(name: str) -> str:
    """Return where a program of dcmtk lies; CI must have it."""
    # pynetdicom installs programs of the same names beside this interpreter.
    own = str(Path(sys.executable).parent)
    folders = [one for one in os.environ.get("PATH", "").split(os.pathsep) if one != own]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} of dcmtk is not installed")
        pytest.skip(f"{name} of dcmtk is not installed")
    return found


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"Not within {TIMEOUT_S} s: {what}"
        time.sleep(0.02)


def test_echoscu_is_answered(node: Node) -> None:
    answer = subprocess.run(
        [program("echoscu"), "-aec", "CACSCORE", "127.0.0.1", str(node.port)],
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert answer.returncode == 0, answer.stderr


def test_other_application_entities_of_the_process_receive_as_ever(
    tmp_path: Path, series: list[Path]
) -> None:
    before = (_config.STORE_RECV_CHUNKED_DATASET, vars(dimse_messages)["NamedTemporaryFile"])
    received: list[str] = []

    def keep(event: evt.Event) -> int:
        received.append(event.dataset.SOPInstanceUID)
        return 0x0000

    other = AE("READER")
    other.add_supported_context(CTImageStorage)
    listener = other.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    assert listener is not None

    def send(file: Path) -> int:
        association = AE("CT1").associate(
            "127.0.0.1", listener.server_address[1], contexts=[build_context(CTImageStorage)]
        )
        assert association.is_established
        status = association.send_c_store(dcmread(file)).Status
        association.release()
        return int(status)

    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    try:
        with running_node(tmp_path / "first") as first:
            with running_node(tmp_path / "second") as second:
                assert send(series[0]) == 0x0000
                assert second.send(series) == [0x0000] * len(series)
            assert first.send(series) == [0x0000] * len(series)
            assert send(series[1]) == 0x0000
            assert len(first.files()) == len(series)
        assert send(series[2]) == 0x0000
    finally:
        listener.shutdown()
    assert received == [dcmread(file).SOPInstanceUID for file in series[:3]]
    assert before == (
        _config.STORE_RECV_CHUNKED_DATASET,
        vars(dimse_messages)["NamedTemporaryFile"],
    )


@pytest.mark.parametrize("syntax", ["-xe", "-xi", "-xb"])
def test_study_of_storescu_is_scored_and_sent_again_is_known(
    node: Node, series: list[Path], syntax: str
) -> None:
    command = [program("storescu"), "-aec", "CACSCORE", "-aet", "CT1", syntax, "127.0.0.1"]

    for _ in range(2):
        sent = subprocess.run(
            [*command, str(node.port), *map(str, series)],
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        assert sent.returncode == 0, sent.stderr
        jobs = receive_studies(node.incoming, node.desk)
        assert len(jobs) == 1

    [job_id] = node.queue.announced
    assert jobs[0].job_id == job_id
    assert node.files() == []
    run_job(
        job_id,
        store=node.store,
        artefacts=node.desk.reception.artefacts,
        load_segmenter=ThresholdSegmenter,
        protocol=LITERATURE,
        terms=TERMS,
    )
    study = node.store.find(jobs[0].study_id)
    assert study.status is JobStatus.SUCCEEDED
    # 2 slices x 25 mm2 x weight 2 at 3 mm spacing
    assert node.store.result(study.study_id).agatston_score == pytest.approx(100.0)
    assert {entry.actor for entry in node.desk.reception.audit.entries()} == {"aet:CT1"}


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_slices_arrive_as_they_were_sent(
    node: Node, tmp_path: Path, syntax: str
) -> None:
    files = write_ct_series(
        noise_volume(), tmp_path / "compressed", seed=3, transfer_syntax_uid=syntax
    )

    assert node.send(files, syntax=syntax) == [SUCCESS] * len(files)

    [study] = node.incoming.complete()
    received = [dcmread(path) for path in study.instances]
    assert {one.file_meta.TransferSyntaxUID for one in received} == {syntax}
    assert {one.PixelData for one in received} == {dcmread(path).PixelData for path in files}


def test_every_encoding_that_can_be_read_is_accepted_and_none_else(node: Node) -> None:
    mpeg2 = "1.2.840.10008.1.2.4.100"
    secondary_capture = "1.2.840.10008.5.1.4.1.1.7"
    association = node.associate(
        [(CTImageStorage, syntax) for syntax in ACCEPTED_TRANSFER_SYNTAXES]
        + [(CTImageStorage, mpeg2), (secondary_capture, ExplicitVRLittleEndian)]
    )
    accepted = [
        (one.abstract_syntax, one.transfer_syntax[0]) for one in association.accepted_contexts
    ]
    rejected = {
        (one.abstract_syntax, one.transfer_syntax[0]) for one in association.rejected_contexts
    }
    association.release()

    assert accepted == [(CTImageStorage, syntax) for syntax in ACCEPTED_TRANSFER_SYNTAXES]
    assert rejected == {
        (CTImageStorage, mpeg2),
        (secondary_capture, ExplicitVRLittleEndian),
    }


def test_study_is_complete_when_its_associations_are_released(
    tmp_path: Path, series: list[Path]
) -> None:
    for_ever = replace(AT_ONCE, quiet=timedelta(days=1), ends_with_association=True)
    with running_node(tmp_path, incoming=for_ever) as node:
        first, second = node.associate(), node.associate()
        first.send_c_store(dcmread(series[0]))
        for file in series[1:]:
            second.send_c_store(dcmread(file))
        first.release()
        assert node.incoming.complete() == []
        second.release()
        wait_until(node.incoming.complete, "the study is complete")
        [study] = node.incoming.complete()
    assert len(study.instances) == len(series)


def test_sender_that_was_cut_off_may_come_back(tmp_path: Path, series: list[Path]) -> None:
    for_ever = replace(AT_ONCE, quiet=timedelta(days=1), ends_with_association=True)
    with running_node(tmp_path, incoming=for_ever) as node:
        association = node.associate()
        association.send_c_store(dcmread(series[0]))
        association.abort()
        wait_until(lambda: not node.associations(), "it is over")
        node.send(series[1:])

        assert node.incoming.complete() == []
        assert len(node.files()) == len(series)


def test_studies_of_one_association_and_of_two_senders_are_kept_apart(
    node: Node, tmp_path: Path
) -> None:
    one = write_series(tmp_path / "one", seed=1)
    two = write_series(tmp_path / "two", seed=2)

    node.send([*one, *two])
    node.send(one[:3], calling="CT2")

    studies = node.incoming.complete()
    assert sorted((study.sender.calling_ae_title, len(study.instances)) for study in studies) == [
        ("CT1", len(one)),
        ("CT1", len(two)),
        ("CT2", 3),
    ]


def test_half_received_study_is_taken_up_after_a_restart(
    tmp_path: Path, series: list[Path]
) -> None:
    later = replace(AT_ONCE, quiet=timedelta(days=1))
    with running_node(tmp_path, incoming=later) as node:
        node.send(series[:4])
        # What a killed node leaves of an instance that was arriving.
        (node.incoming.arriving / "tmp123").write_bytes(b"half")
    with running_node(tmp_path) as node:
        assert list(node.incoming.arriving.iterdir()) == []
        node.send(series[4:])
        [job] = receive_studies(node.incoming, node.desk)
        whole = job.study_id
        assert node.files() == []
    with running_node(tmp_path) as node:
        node.send(series)
        [again] = receive_studies(node.incoming, node.desk)
    assert again.study_id == whole


def test_complete_study_that_cannot_be_taken_now_is_taken_later(
    node: Node, series: list[Path]
) -> None:
    node.send(series)
    full = replace(node.desk, reception=replace(node.desk.reception, waiting_jobs=lambda: 10))

    assert receive_studies(node.incoming, full) == []
    assert len(node.files()) == len(series)
    assert len(receive_studies(node.incoming, node.desk)) == 1
    assert node.files() == []


def test_rules_decide_which_series_are_scored_and_how(node: Node, tmp_path: Path) -> None:
    calcium = write_ct_series(plaque_volume(), tmp_path / "calcium", seed=1)
    angiography = write_ct_series(plaque_volume(), tmp_path / "angiography", seed=2)
    study_uid = dcmread(calcium[0]).StudyInstanceUID
    set_attributes(angiography, StudyInstanceUID=study_uid, ContrastBolusAgent="Iopromide")
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "version: 1\nrules:\n"
        "- name: agent\n  when: {is_contrast_enhanced: true}\n  action: ignore\n"
        '- name: CT1\n  when: {calling_ae_title: "CT?"}\n  action: score\n  priority: stat\n'
        "  tenant: ward\n",
        encoding="utf-8",
    )
    node.send([*calcium, *angiography])

    [job] = receive_studies(node.incoming, replace(node.desk, rules=load_rules(rules)))

    assert job.priority is Priority.STAT
    assert node.store.tenant_of(job.study_id) == "ward"
    # Each of the ten slices has 8 kB of pixels; those of the angiography would double them.
    assert job.upload_size_bytes < 1.5 * sum(path.stat().st_size for path in calcium)


def test_study_without_a_series_to_score_is_forgotten(node: Node, series: list[Path]) -> None:
    set_attributes(series, ContrastBolusAgent="Iopromide")
    node.send(series)

    assert receive_studies(node.incoming, node.desk) == []
    assert node.files() == []
    assert node.queue.announced == []


def test_only_known_titles_and_peers_are_admitted(tmp_path: Path) -> None:
    terms = ScpTerms(calling_ae_titles=("CT1",))
    with running_node(tmp_path, terms) as node:
        assert node.associate(calling="CT1").is_established
        assert node.associate(calling="CT2").is_rejected
        assert node.associate(called="OTHER").is_rejected
    with running_node(tmp_path, ScpTerms(peers=(ip_network("10.0.0.0/8"),))) as node:
        assert not node.associate().is_established
    with running_node(tmp_path, ScpTerms(peers=(ip_network("127.0.0.0/8"),))) as node:
        assert node.associate().is_established


def test_more_associations_than_allowed_are_rejected(tmp_path: Path) -> None:
    with running_node(tmp_path, ScpTerms(most_associations=2)) as node:
        admitted = [node.associate() for _ in range(2)]
        assert all(one.is_established for one in admitted)
        assert node.associate().is_rejected
        admitted[0].release()
        wait_until(lambda: len(node.associations()) < 2, "it is over")
        assert node.associate().is_established


def store_request(data: bytes, instance: str = "1.2.3") -> C_STORE:
    """Return a C-STORE request with any bytes as its data set."""
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = CTImageStorage
    request.AffectedSOPInstanceUID = instance
    request.Priority = 2
    request.DataSet = BytesIO(data)
    return request


def context_of(association: Association) -> int:
    context = association.accepted_contexts[0].context_id
    assert context is not None
    return context


def units_of(request: C_STORE, context: int) -> list[P_DATA]:
    """Return the request in units of 16 kB: the command first."""
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return list(message.encode_msg(context, 16_000))


def raw_store(association: Association, data: bytes, *, instance: str = "1.2.3") -> int:
    """Send any bytes as a data set; return the DIMSE status."""
    # Or the thread of the association takes the answer for itself.
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(store_request(data, instance), context_of(association))
    _, answer = association.dimse.get_msg(block=True)
    assert isinstance(answer, C_STORE)
    association._reactor_checkpoint.set()
    assert answer.Status is not None
    return int(answer.Status)


@pytest.mark.parametrize(
    "data",
    [b"no data set", b"\xff" * 5000, b"\x08\x00\x16\x00UI\xff\xff" * 50, bytes(3000)],
    ids=["text", "ones", "lengths that lie", "zeros"],
)
def test_data_set_that_cannot_be_read_is_refused(node: Node, data: bytes) -> None:
    association = node.associate()

    assert raw_store(association, data) == CANNOT_UNDERSTAND

    # The association goes on.
    association.release()
    assert association.is_released
    assert node.files() == []


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID"])
def test_data_set_that_is_not_what_the_request_says_is_refused(
    node: Node, series: list[Path], keyword: str
) -> None:
    uid = dcmread(series[0]).SOPInstanceUID
    other = {"SOPInstanceUID": "1.2.3", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}
    set_attributes(series[:1], **{keyword: other[keyword]})
    head = read_file_head(series[0])
    assert head is not None
    data = series[0].read_bytes()[head.data_set_at :]

    status = raw_store(node.associate(), data, instance=uid)

    assert status == DOES_NOT_MATCH
    assert node.files() == []


def test_instance_without_a_study_is_refused(node: Node, series: list[Path]) -> None:
    set_attributes(series, StudyInstanceUID=None)

    assert node.send(series[:1]) == [CANNOT_UNDERSTAND]
    assert node.files() == []


def test_instance_beyond_the_limit_is_refused_and_the_next_one_taken(
    tmp_path: Path, series: list[Path]
) -> None:
    large = write_ct_series(noise_volume(8, side=256), tmp_path / "large", seed=5)
    # 64 x 64 pixels have 8 kB, 256 x 256 have 131 kB.
    with running_node(tmp_path, ScpTerms(instance_bytes=50_000)) as node:
        assert node.send([large[0], series[0], large[1]]) == [
            OUT_OF_RESOURCES,
            SUCCESS,
            OUT_OF_RESOURCES,
        ]
        assert len(node.files()) == 1


def test_nothing_is_taken_while_the_disk_is_full(tmp_path: Path, series: list[Path]) -> None:
    with running_node(tmp_path, incoming=replace(AT_ONCE, reserve_bytes=2**62)) as node:
        assert node.send(series[:2]) == [OUT_OF_RESOURCES] * 2
        assert node.files() == []
    with running_node(tmp_path) as node:
        assert node.send(series) == [SUCCESS] * len(series)


def test_study_beyond_the_limit_is_not_scored_in_part(tmp_path: Path, series: list[Path]) -> None:
    with running_node(tmp_path, incoming=replace(AT_ONCE, study_instances=9)) as node:
        assert node.send(series) == [SUCCESS] * 9 + [OUT_OF_RESOURCES]
        assert receive_studies(node.incoming, node.desk) == []
        assert node.queue.announced == []
        assert node.files() == []


def connection(node: Node) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", node.port), timeout=TIMEOUT_S)
    peer.settimeout(TIMEOUT_S)
    return peer


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack(">BBL", 1, 0, LARGEST_ANY_PDU_BYTES + 1),
        struct.pack(">BBL", 1, 0, 2**32 - 1),
        struct.pack(">BBL", 4, 0, 10) + bytes(10),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506),
    ],
    ids=["HTTP", "long unit", "longest unit", "data before all", "TLS"],
)
def test_peer_that_speaks_something_else_is_hung_up_on(
    node: Node, series: list[Path], said: bytes
) -> None:
    with connection(node) as peer:
        peer.sendall(said)
        # An A-ABORT unit, or the end at once.
        assert peer.recv(4096)[:1] in (b"\x07", b"")
    assert node.send(series[:1]) == [SUCCESS]


def test_message_that_fills_the_memory_ends_its_association(node: Node, series: list[Path]) -> None:
    association = node.associate()
    unit = P_DATA()
    # Fragments of a command that never ends.
    # Set past the setter, which takes lists only where its own annotation says tuples.
    unit._presentation_data_value_list = [(context_of(association), b"\x01" + bytes(60_000))]
    for _ in range(20):
        association.dul.send_pdu(unit)
    wait_until(lambda: not association.is_established, "the association is over")

    assert node.send(series[:1]) == [SUCCESS]


def test_half_an_instance_leaves_nothing(node: Node) -> None:
    association = node.associate()
    for unit in units_of(store_request(bytes(500_000)), context_of(association))[:10]:
        association.dul.send_pdu(unit)
    wait_until(node.files, "the instance begins to arrive")
    association.abort()

    wait_until(lambda: not node.files(), "the half instance is gone")
    assert node.incoming.complete() == []


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path


def make_certificate(folder: Path, name: str) -> Certificate:
    """Make a self-signed certificate of this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


def test_study_arrives_over_tls_from_who_has_a_certificate(
    tmp_path: Path, series: list[Path]
) -> None:
    ours, theirs = make_certificate(tmp_path, "node"), make_certificate(tmp_path, "scanner")
    server = tls_context(ours.certificate, ours.key, client_ca=theirs.certificate)
    with running_node(tmp_path, ScpTerms(tls=server)) as node:
        # A peer that connects and says nothing must not keep the others waiting.
        with connection(node):
            storescu = [program("storescu"), "+tls", str(theirs.key), str(theirs.certificate)]
            storescu += ["+cf", str(ours.certificate), "-aec", "CACSCORE", "-aet", "CT1"]
            sent = subprocess.run(
                [*storescu, "127.0.0.1", str(node.port), *map(str, series)],
                capture_output=True,
                check=False,
                timeout=TIMEOUT_S,
            )
            assert sent.returncode == 0, sent.stderr
            assert len(node.files()) == len(series)
        nobody = ssl.create_default_context(cafile=str(ours.certificate))
        assert not node.associate(tls=nobody).is_established
        assert not node.associate().is_established


@contextmanager
def running_command(root: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `cacscore dicom-node`; give its process and port."""
    environment = {
        **os.environ,
        "CACSCORE_DATA_DIR": str(root / "data"),
        "CACSCORE_DICOM_PORT": "0",
        "CACSCORE_DISK_RESERVE_BYTES": "0",
        "CACSCORE_DICOM_QUIET_S": "0.1",
        **settings,
    }
    with (root / "node.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli.main", "dicom-node"],
            env=environment,
            stderr=log,
            text=True,
        )
    try:
        yield process, _port(root / "node.log", process)
    finally:
        process.kill()
        process.wait()


def _port(log: Path, process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline and process.poll() is None:
        words = log.read_text(encoding="utf-8").rpartition(" listens on 127.0.0.1 port ")[2]
        number = words.partition(".")[0].split()[0] if "Research" in words else ""
        if number.isdecimal():
            return int(number)
        time.sleep(0.05)
    pytest.fail(f"The node did not start: {log.read_text(encoding='utf-8')}")


def test_command_receives_survives_being_killed_and_logs_nobody(
    tmp_path: Path, series: list[Path]
) -> None:
    def send(port: int, files: Sequence[Path]) -> None:
        storescu = [program("storescu"), "-aec", "CACSCORE", "-aet", "CT1", "127.0.0.1", str(port)]
        subprocess.run([*storescu, *map(str, files)], check=True, timeout=TIMEOUT_S)

    with running_command(tmp_path, CACSCORE_DICOM_QUIET_S="3600") as (process, port):
        send(port, series[:5])
        process.send_signal(signal.SIGKILL)
        process.wait()
    (tmp_path / "node.log").write_text("", encoding="utf-8")
    with running_command(tmp_path, CACSCORE_DICOM_QUIET_S="1") as (process, port):
        send(port, series[5:])
        log = tmp_path / "node.log"
        wait_until(lambda: "study_submitted" in log.read_text(encoding="utf-8"), "it is submitted")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=TIMEOUT_S) == 0

    said = log.read_text(encoding="utf-8")
    assert '"instance_count": 10' in said
    header = dcmread(series[0])
    for word in (
        str(header.PatientName).split("^")[-1],
        header.PatientID,
        header.StudyInstanceUID,
        header.SOPInstanceUID,
    ):
        assert word not in said


def memory_kib(process: subprocess.Popen[str], kind: str) -> int:
    """Return a line of what Linux says of the memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.split(f"{kind}:")[1].split()[0])


def test_memory_does_not_grow_with_an_instance(tmp_path: Path, series: list[Path]) -> None:
    large = dcmread(series[0])
    large.PixelData = bytes(200_000_000)
    large.save_as(series[0])
    with running_command(tmp_path, CACSCORE_DICOM_QUIET_S="3600") as (process, port):
        storescu = [program("storescu"), "-aec", "CACSCORE", "127.0.0.1", str(port)]
        subprocess.run([*storescu, str(series[1])], check=True, timeout=TIMEOUT_S)
        before_kib = memory_kib(process, "VmRSS")
        subprocess.run([*storescu, str(series[0])], check=True, timeout=3 * TIMEOUT_S)
        most_kib = memory_kib(process, "VmHWM")
    # An instance of 200 MB, in units of 128 KiB of which some wait.
    assert most_kib - before_kib < 20_000


def test_node_is_not_opened_to_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CACSCORE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CACSCORE_DICOM_HOST", "0.0.0.0")  # noqa: S104 - what is refused

    assert run_cli(["dicom-node"]) == 2

    assert "CACSCORE_DICOM_PEERS" in capsys.readouterr().err
