"""`cacscore dicom-node`: receive series over the DICOM network and have them scored.

```text
sender ── C-STORE ──► storage SCP ──► incoming/ on disk ──► rules ──► record, artefacts, queue
```

It is a process of its own beside the gateway: both submit to the same record, and the same study
is the same study whichever way it came.
"""

from __future__ import annotations

import fcntl
import ipaddress
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.engine import open_engine
from service.adapters.database.operations_record import SqlOperationsRecord
from service.adapters.database.push_outbox import SqlPushOutbox
from service.adapters.database.schema import upgrade_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.destinations.places import read_destinations
from service.adapters.dicom_network.storage_scp import ScpTerms, StorageScp, tls_context
from service.adapters.logs.json_logs import configure_logging
from service.adapters.queue.celery_queue import CeleryJobQueue, celery_app
from service.adapters.queue.no_queue import NoJobQueue
from service.adapters.rules.yaml_rules import load_rules
from service.adapters.storage.open_store import open_artefact_store
from service.application.incoming_studies import IncomingStudies, IncomingTerms
from service.application.ports import JobQueue
from service.application.receive_studies import Desk, receive_studies
from service.application.received_instances import Reception
from service.application.report_terms import INTENDED_USE
from service.cli.console import say
from service.cli.environment import settings_from_environment
from service.cli.outcome import CommandFailed, UsageMistake
from service.settings import Settings

LOOK_INTERVAL_S: Final = 1.0
"""How often studies are looked at, whether one is complete; our choice."""

STOP_PATIENCE_S: Final = 5.0
"""How long an association may go on when the node must stop; what it sent is kept. Our choice."""

_LOCK: Final = ".lock"

_log = structlog.get_logger(__name__)


def run_dicom_node() -> None:
    """Receive studies until SIGINT or SIGTERM.

    Raises
    ------
    UsageMistake
        The settings would let anybody send, or the address or a certificate cannot be used.
    RulesRejected
        The rules cannot be used, or name a destination that there is not.
    DestinationsUnusable
        The file of destinations cannot be used.
    """
    settings = settings_from_environment()
    _require_known_senders(settings)
    configure_logging(settings.log_level)
    desk = desk_of(settings)
    stopping = threading.Event()
    with _sole_user_of(incoming_folder(settings)), _signals(stopping):
        incoming = incoming_of(settings)
        node = StorageScp(
            scp_terms_of(settings),
            incoming,
            SqlPushOutbox(open_engine(settings.record_url)).settle_commitment,
        )
        try:
            node.start()
        except OSError as error:
            raise UsageMistake(
                f"{settings.dicom_host} port {settings.dicom_port} cannot be listened on: "
                f"{error.strerror}. See CACSCORE_DICOM_HOST and CACSCORE_DICOM_PORT."
            ) from error
        say(
            f"{settings.dicom_ae_title} listens on {settings.dicom_host} port {node.port}"
            f"{' with TLS' if settings.dicom_tls_certificate else ''}. {INTENDED_USE}"
        )
        _log.info("node_started", port=node.port, open_studies=incoming.open_count())
        try:
            while not stopping.wait(LOOK_INTERVAL_S):
                receive_studies(incoming, desk)
        finally:
            node.stop(STOP_PATIENCE_S)
    _log.info("node_stopped", open_studies=incoming.open_count())


def incoming_folder(settings: Settings) -> Path:
    """Return where studies arrive."""
    return settings.dicom_incoming_dir or settings.data_dir / "incoming"


def incoming_of(settings: Settings) -> IncomingStudies:
    """Return the studies that are arriving."""
    return IncomingStudies(
        incoming_folder(settings),
        IncomingTerms(
            quiet=timedelta(seconds=settings.dicom_quiet_s),
            ends_with_association=settings.dicom_ends_with_association,
            study_bytes=settings.dicom_study_bytes,
            study_instances=settings.dicom_study_instances,
            reserve_bytes=settings.disk_reserve_bytes,
        ),
    )


def scp_terms_of(settings: Settings) -> ScpTerms:
    """Return how the node presents itself; UsageMistake for certificates that cannot be used."""
    tls = None
    if settings.dicom_tls_certificate is not None and settings.dicom_tls_key is not None:
        try:
            tls = tls_context(
                settings.dicom_tls_certificate, settings.dicom_tls_key, settings.dicom_tls_client_ca
            )
        except (OSError, ssl.SSLError) as error:
            raise UsageMistake(
                "A file of CACSCORE_DICOM_TLS_CERTIFICATE, _KEY or _CLIENT_CA cannot be used: "
                f"{error.strerror or type(error).__name__}. PEM is accepted, and a key that "
                "belongs to the certificate."
            ) from error
    return ScpTerms(
        ae_title=settings.dicom_ae_title,
        host=settings.dicom_host,
        port=settings.dicom_port,
        calling_ae_titles=settings.dicom_calling_ae_titles,
        peers=settings.dicom_peers,
        most_associations=settings.dicom_associations,
        idle_s=settings.dicom_idle_s,
        instance_bytes=settings.archive_multi_frame_entry_bytes,
        tls=tls,
    )


def desk_of(settings: Settings) -> Desk:
    """Return where complete studies go: record, artefacts and queue of the service."""
    destinations = read_destinations(settings.destinations_file)
    rules = load_rules(settings.rules_file, destinations.terms)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = open_engine(settings.record_url)
    upgrade_schema(engine)
    queue: JobQueue = NoJobQueue()
    if settings.broker_url is not None:
        queue = CeleryJobQueue(celery_app(settings.broker_url.get_secret_value()))
    operations = SqlOperationsRecord(engine, lost_after=timedelta(seconds=settings.worker_lost_s))
    return Desk(
        Reception(
            store=SqlStudyStore(engine, terms=settings.lease_terms),
            artefacts=open_artefact_store(
                settings.data_dir / "artefacts",
                s3=settings.s3_location,
                reserve_bytes=settings.disk_reserve_bytes,
            ),
            queue=queue,
            audit=SqlAuditLog(engine),
            limits=settings.archive_limits,
            waiting_jobs=operations.queued_jobs,
            queue_length=settings.queue_length,
        ),
        rules,
        default_tenant=settings.dicom_tenant,
    )


def _require_known_senders(settings: Settings) -> None:
    """Refuse to take patients' scans from whoever finds the port."""
    if (
        _is_loopback(settings.dicom_host)
        or settings.dicom_peers
        or settings.dicom_calling_ae_titles
        or settings.dicom_tls_client_ca is not None
    ):
        return
    raise UsageMistake(
        f"Whoever reaches {settings.dicom_host} could send. Say who may: CACSCORE_DICOM_PEERS "
        "(addresses or networks), CACSCORE_DICOM_CALLING_AE_TITLES or "
        "CACSCORE_DICOM_TLS_CLIENT_CA; or listen on 127.0.0.1."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _sole_user_of(folder: Path) -> Iterator[None]:
    """Keep a second node away: it would empty what this one is writing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("a")
    except OSError as error:
        raise UsageMistake(f"The folder {folder} cannot be used: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandFailed(
                f"Another node uses {folder}. Each needs a folder of its own: "
                "CACSCORE_DICOM_INCOMING_DIR."
            ) from error
        yield


@contextmanager
def _signals(stopping: threading.Event) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
