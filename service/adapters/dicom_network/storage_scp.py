"""A storage SCP for CT, and a verification SCP: receives instances into files, memory constant.

pynetdicom speaks the protocol. What it leaves open towards a peer that means no good is closed
here: the length of a protocol data unit and of a command, messages that nobody waits for, a
handshake that never ends, connections that never become associations.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from pynetdicom import AE, _config, build_context, dimse_messages, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from calcium_scoring.dicom.acceptance import ACCEPTED_SOP_CLASSES, ACCEPTED_TRANSFER_SYNTAXES
from calcium_scoring.dicom.headers import NotReadable
from calcium_scoring.dicom.series_facts import identify_instance
from calcium_scoring.dicom.storage_commitment import read_commitment_report
from calcium_scoring.errors import CacscoreError, UploadTooLarge
from calcium_scoring.upload.file_head import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from service.adapters.dicom_network.spool_file import SpoolFile
from service.application.errors import InstanceMismatch, InstanceRejected, StorageFull
from service.application.incoming_studies import IncomingStudies, Sender
from service.application.pushes import Commitment

_log = structlog.get_logger(__name__)

STORAGE_COMMITMENT: Final = "1.2.840.10008.1.20.1"
"""SOP class of the Storage Commitment Push Model (PS3.4 J.3.5)."""

VERIFICATION: Final = "1.2.840.10008.1.1"
"""SOP class of C-ECHO (PS3.4 A.4)."""

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
OUT_OF_RESOURCES: Final = 0xA700
"""Refused: Out of Resources (PS3.4 table B.2-1): sending it again later may help."""

DOES_NOT_MATCH: Final = 0xA900
"""Error: Data Set does not match SOP Class (PS3.4 table B.2-1)."""

CANNOT_UNDERSTAND: Final = 0xC000
"""Error: Cannot understand (PS3.4 table B.2-1)."""

LARGEST_PDU_BYTES: Final = 128 * 1024
"""What we tell peers to send at most in one protocol data unit; our choice."""

LARGEST_ANY_PDU_BYTES: Final = 1024 * 1024
"""Longer ones end the connection before they are read; the longest request for an association, 128
contexts with all transfer syntaxes, has a tenth of it. Our choice."""

LARGEST_MESSAGE_BYTES: Final = 64 * 1024
"""Of what is kept in memory of a message: its command, and a data set that is none of C-STORE. Our
choice; commands have some hundred bytes."""

LARGEST_BACKLOG: Final = 4
"""Instances that a peer may have sent without waiting for the answer; it negotiated one. Our
choice."""

HANDSHAKE_S: Final = 10.0
"""How long TLS may take to agree; our choice."""

ASSOCIATE_S: Final = 30.0
"""How long a peer may take to ask for an association, or to answer; our choice and the default of
pynetdicom."""

Peers = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]


@dataclass(frozen=True)
class ScpTerms:
    """How the node presents itself and whom it listens to; empty lists admit everybody."""

    ae_title: str = "CACSCORE"
    host: str = "127.0.0.1"
    port: int = 11112
    calling_ae_titles: tuple[str, ...] = ()
    peers: Peers = ()
    most_associations: int = 10
    idle_s: float = 60.0
    instance_bytes: int = 256 * 1024 * 1024
    tls: ssl.SSLContext | None = None


def tls_context(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Return what a TLS server needs: TLS 1.2 or later (PS3.15 B.9 and B.12 by BCP 195).

    With ``client_ca`` a peer must show a certificate that it signed. Raises OSError or SSLError
    for files that cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class StorageScp:
    """Receives instances until it is stopped."""

    def __init__(
        self,
        terms: ScpTerms,
        incoming: IncomingStudies,
        hear_commitment: Callable[[Commitment], bool] | None = None,
    ) -> None:
        """``hear_commitment`` is told what archives say of results that were pushed to them."""
        self._terms = terms
        self._incoming = incoming
        self._hear_commitment = hear_commitment
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Port that is listened to; the one that was found where 0 was asked for."""
        if self._server is None:
            raise RuntimeError("The node was not started.")
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to listen; raises OSError where the address cannot be had."""
        # Its handlers would log every command, with the UIDs in it.
        _config.LOG_HANDLER_LEVEL = "none"
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        ae = AE(self._terms.ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = LARGEST_PDU_BYTES
        ae.maximum_associations = self._terms.most_associations
        ae.network_timeout = self._terms.idle_s
        ae.acse_timeout = ASSOCIATE_S
        ae.dimse_timeout = self._terms.idle_s
        ae.require_called_aet = True
        ae.require_calling_aet = list(self._terms.calling_ae_titles)
        contexts = [
            build_context(sop_class, list(ACCEPTED_TRANSFER_SYNTAXES))
            for sop_class in ACCEPTED_SOP_CLASSES
        ]
        contexts.append(build_context(VERIFICATION))
        if self._hear_commitment is not None:
            commitment = build_context(STORAGE_COMMITMENT)
            # The archive reports: it is the provider although it asks for the association.
            commitment.scu_role, commitment.scp_role = False, True
            contexts.append(commitment)
        server = ae.make_server(
            (self._terms.host, self._terms.port),
            contexts=contexts,
            evt_handlers=[
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_N_EVENT_REPORT, self._report),
                (evt.EVT_REJECTED, self._rejected),
                (evt.EVT_RELEASED, self._ended),
                (evt.EVT_ABORTED, self._ended),
                (evt.EVT_CONN_CLOSE, self._ended),
            ],
            server_class=_Server,
            request_handler=_Handler,
        )
        if not isinstance(server, _Server):
            raise TypeError("pynetdicom made another server than it was asked for.")
        server.prepare(self._terms, self._new_file)
        _reception.begin()
        ae._servers.append(server)  # noqa: SLF001 - as AE.start_server does
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="dicom-node"
        )
        self._thread.start()

    def stop(self, patience_s: float) -> None:
        """Take no further association; those that are there may end by themselves for a while."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        server.shutdown()
        thread.join()
        deadline = time.monotonic() + patience_s
        while server.active_associations and time.monotonic() < deadline:
            time.sleep(0.05)
        for association in server.active_associations:
            if association.is_established:
                association.abort()
            # A connection that never became an association has nobody to be told.
            association.dul.kill_dul()
        self._server = self._thread = None
        _reception.end()

    def _report(self, event: evt.Event) -> tuple[int, None]:
        """Answer what an archive says of a storage commitment (N-EVENT-REPORT)."""
        try:
            uid, failed_count = read_commitment_report(
                event.event_type or 0, event.event_information
            )
            if self._hear_commitment is not None:
                # One that nobody waits for is of a push that was asked for again since.
                self._hear_commitment(Commitment(uid, failed_count))
        except Exception as error:  # noqa: BLE001 - whatever was sent, a parser may fail in any way
            _log.warning("commitment_not_heard", error=type(error).__name__)
            return PROCESSING_FAILURE, None
        return SUCCESS, None

    def _new_file(self, association: Association) -> SpoolFile:
        """Return the file for a data set that begins to arrive."""
        files = _files_of(association)
        failure: CacscoreError | None = None
        if len(files) >= LARGEST_BACKLOG:
            failure = StorageFull("The peer does not wait for answers.")
        else:
            try:
                self._incoming.check_room()
            except StorageFull as error:
                failure = error
        file = SpoolFile(self._incoming.arriving, self._terms.instance_bytes, failure)
        files.append(file)
        self._incoming.begin(association)
        return file

    def _store(self, event: evt.Event) -> int:
        """Answer a C-STORE request whose data set has arrived."""
        request: Any = event.request
        file = request._dataset_file  # noqa: SLF001 - what pynetdicom itself closes afterwards
        if not isinstance(file, SpoolFile):
            # A request without a data set.
            return CANNOT_UNDERSTAND
        try:
            self._keep(event, file)
        except (UploadTooLarge, StorageFull) as refusal:
            return self._refused(refusal, OUT_OF_RESOURCES)
        except InstanceMismatch as refusal:
            return self._refused(refusal, DOES_NOT_MATCH)
        except InstanceRejected as refusal:
            return self._refused(refusal, CANNOT_UNDERSTAND)
        finally:
            file.remove()
            files = _files_of(event.assoc)
            if file in files:
                files.remove(file)
            if not files:
                self._incoming.finish(event.assoc)
        return SUCCESS

    def _keep(self, event: evt.Event, file: SpoolFile) -> None:
        file.close()
        if file.failure is not None:
            raise file.failure
        request: Any = event.request
        path = Path(file.name)
        try:
            identity = identify_instance(path)
        except NotReadable as error:
            raise InstanceRejected(str(error)) from error
        if (
            identity.sop_class_uid != request.AffectedSOPClassUID
            or identity.sop_class_uid != event.context.abstract_syntax
            or identity.sop_instance_uid != request.AffectedSOPInstanceUID
        ):
            raise InstanceMismatch
        self._incoming.keep(
            path,
            sender=_sender(event.assoc),
            study_instance_uid=identity.study_instance_uid,
            sop_instance_uid=identity.sop_instance_uid,
            association=event.assoc,
        )

    def _refused(self, refusal: CacscoreError, status: int) -> int:
        _log.warning("instance_refused", code=refusal.code, dimse_status=f"{status:04X}")
        return status

    def _rejected(self, event: evt.Event) -> None:
        _log.warning("association_rejected", peer=event.assoc.requestor.address)

    def _ended(self, event: evt.Event) -> None:
        """Forget what an association left half-sent."""
        files = _files_of(event.assoc)
        while files:
            files.pop().remove()
        self._incoming.ended(event.assoc, is_released=bool(event.assoc.is_released))


class _Server(ThreadedAssociationServer):
    """Accepts connections of the peers that it knows, and not too many."""

    daemon_threads = True
    terms: ScpTerms
    new_file: Callable[[Association], SpoolFile]

    def prepare(self, terms: ScpTerms, new_file: Callable[[Association], SpoolFile]) -> None:
        """Give it what the constructor of its base has no place for."""
        self.terms = terms
        self.new_file = new_file

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; TLS is agreed upon later, in a thread that may wait."""
        if self.socket is None:
            raise OSError("The server is closed.")
        connection, address = self.socket.accept()
        connection.settimeout(self.terms.idle_s)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002, ANN401
        """Tell whether a connection may become an association."""
        if len(self.active_associations) > 2 * self.terms.most_associations:
            _log.warning("connection_refused", reason="too many connections")
            return False
        if not self.terms.peers:
            return True
        address = ipaddress.ip_address(client_address[0].partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        is_known = any((mapped or address) in network for network in self.terms.peers)
        if not is_known:
            _log.warning("connection_refused", reason="unknown peer", peer=str(address))
        return is_known

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002, ANN401
        """Log without a traceback on standard error."""
        _log.exception("connection_failed")


class _Handler(RequestHandler):
    """Makes an association of a connection."""

    def handle(self) -> None:
        """Agree upon TLS where it is asked for, then let pynetdicom go on."""
        server = self.server
        if not isinstance(server, _Server):
            raise TypeError("The handler belongs to another server.")
        if server.terms.tls is not None:
            try:
                self.request.settimeout(HANDSHAKE_S)
                self.request = server.terms.tls.wrap_socket(self.request, server_side=True)
                self.request.settimeout(server.terms.idle_s)
            except OSError as error:
                _log.warning("connection_refused", reason="TLS", error=type(error).__name__)
                self.request.close()
                return
        super().handle()

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dimse = _BoundedMessages(association)
        # Each socket announces its connection; the announcement of the one it replaces is dropped.
        association.dul.event_queue.get_nowait()
        association.dul.socket = _BoundedSocket(association, client_socket=self.request)
        return association


class _BoundedSocket(AssociationSocket):
    """Refuses to read what no peer needs to send at once."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes; a longer unit ends the connection before any of it is read."""
        if nr_bytes > LARGEST_ANY_PDU_BYTES:
            raise ConnectionAbortedError("The peer announces a unit beyond all limits.")
        return super().recv(nr_bytes)

    def _shutdown_socket(self) -> None:
        """Close the socket also where the peer has closed it first."""
        super()._shutdown_socket()
        if self.socket is not None:
            self.socket.close()


class _BoundedMessages(DIMSEServiceProvider):
    """Ends an association that fills the memory with a message which is no instance."""

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self._kept_bytes = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a part of a message, if there is not too much of it."""
        if self.message is None:
            self._kept_bytes = 0
        if getattr(self.message, "_data_set_file", None) is None:
            self._kept_bytes += sum(len(data) for _, data in primitive.presentation_data_value_list)
        # A unit may hold the command and the begin of an instance together.
        if self._kept_bytes > LARGEST_MESSAGE_BYTES + LARGEST_PDU_BYTES:
            self.message = None
            self.dul.event_queue.put("Evt19")
            return
        super().receive_primitive(primitive)


def _files_of(association: Association) -> list[SpoolFile]:
    """Return the files of an association that are not answered yet."""
    files: list[SpoolFile] = association.__dict__.setdefault("cacscore_files", [])
    return files


def _file_of_this_thread(
    *, delete: bool, mode: Literal["wb"], suffix: str
) -> SpoolFile | tempfile._TemporaryFileWrapper[bytes]:
    """Stand for ``tempfile.NamedTemporaryFile`` in the module that receives messages.

    It is called in the thread of the association whose instance begins to arrive. One of another
    application entity of this process gets what it would have got.
    """
    thread = threading.current_thread()
    if isinstance(thread, DULServiceProvider):
        association = thread.assoc
        server = association._server  # noqa: SLF001 - an association has no public name for it
        if isinstance(server, _Server):
            return server.new_file(association)
    return tempfile.NamedTemporaryFile(delete=delete, mode=mode, suffix=suffix)


class _Reception:
    """How pynetdicom, for the whole process, receives data sets: into files of the node.

    As it was before again when the last node of the process has stopped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._node_count = 0
        self._chunked_before = False

    def begin(self) -> None:
        """Of a node that begins to listen."""
        with self._lock:
            if self._node_count == 0:
                self._chunked_before = _config.STORE_RECV_CHUNKED_DATASET
                _config.STORE_RECV_CHUNKED_DATASET = True
                dimse_messages.NamedTemporaryFile = _file_of_this_thread  # type: ignore[attr-defined,assignment]
            self._node_count += 1

    def end(self) -> None:
        """Of a node that has stopped."""
        with self._lock:
            self._node_count -= 1
            if self._node_count == 0:
                _config.STORE_RECV_CHUNKED_DATASET = self._chunked_before
                dimse_messages.NamedTemporaryFile = tempfile.NamedTemporaryFile  # type: ignore[attr-defined]


_reception: Final = _Reception()


def _sender(association: Association) -> Sender:
    return Sender(
        calling_ae_title=association.requestor.ae_title.strip(),
        called_ae_title=association.acceptor.ae_title.strip(),
    )
