"""What the gateway is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from calcium_scoring.upload.archive import ArchiveLimits
from service.adapters.database.dicom_index import SqlDicomIndex
from service.adapters.database.engine import open_engine
from service.adapters.database.operations_record import SqlOperationsRecord
from service.adapters.database.outbox import SqlWebhookOutbox
from service.adapters.database.push_outbox import SqlPushOutbox
from service.adapters.database.schema import upgrade_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.destinations.places import read_destinations
from service.adapters.metrics.prometheus_metrics import GatewayMetrics, Sources
from service.adapters.queue.celery_queue import CeleryJobQueue, celery_app
from service.adapters.queue.no_queue import NoJobQueue
from service.adapters.storage.open_store import open_artefact_store
from service.adapters.storage.partial_uploads import FolderPartialUploads
from service.adapters.webhooks.pinned_http import PinnedHttpSender
from service.api.admission import Admission, AdmissionLimits
from service.api.telemetry import GatewayTelemetry
from service.api.uploads import ResumableUploadLimits, UploadLimits
from service.application.operations import OperationsRecord
from service.application.ports import ArtefactStore, JobQueue, StudyStore
from service.application.pushes import PushOutbox
from service.application.result_instances import DicomIndex
from service.application.resumable_uploads import PartialUploads
from service.application.webhooks import DeliveryLimits, WebhookOutbox, WebhookPolicy, WebhookSender
from service.settings import Settings


@dataclass(frozen=True)
class GatewayParts:
    """The dependencies of the routes."""

    store: StudyStore
    operations: OperationsRecord
    artefacts: ArtefactStore
    queue: JobQueue
    archive_limits: ArchiveLimits
    upload_limits: UploadLimits
    model_path: Path
    reaper_interval: timedelta
    unattended_after: timedelta
    admission: Admission
    queue_length: int
    metrics: GatewayMetrics
    outbox: WebhookOutbox
    webhook_sender: WebhookSender
    webhook_policy: WebhookPolicy
    partial_uploads: PartialUploads
    resumable_upload_limits: ResumableUploadLimits
    push_outbox: PushOutbox
    destination_names: tuple[str, ...]
    dicom_index: DicomIndex
    delivery_limits: DeliveryLimits


def gateway_parts(settings: Settings, telemetry: GatewayTelemetry) -> GatewayParts:
    """Return the parts; nothing is connected until it is used."""
    engine = open_engine(settings.record_url)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade_schema(engine)
    queue: JobQueue = NoJobQueue()
    if settings.broker_url is not None:
        queue = CeleryJobQueue(
            celery_app(settings.broker_url.get_secret_value()), telemetry.message_headers
        )
    return GatewayParts(
        store=SqlStudyStore(engine, terms=settings.lease_terms),
        operations=SqlOperationsRecord(
            engine, lost_after=timedelta(seconds=settings.worker_lost_s)
        ),
        artefacts=open_artefact_store(
            settings.data_dir / "artefacts",
            s3=settings.s3_location,
            reserve_bytes=settings.disk_reserve_bytes,
        ),
        queue=queue,
        archive_limits=settings.archive_limits,
        upload_limits=UploadLimits(
            size_bytes=settings.upload_bytes,
            stall_s=settings.upload_stall_s,
            time_s=settings.upload_time_s,
        ),
        model_path=settings.model_path,
        reaper_interval=timedelta(seconds=settings.reaper_interval_s),
        unattended_after=timedelta(seconds=settings.unattended_s),
        admission=Admission(
            AdmissionLimits(
                at_once=settings.uploads_at_once,
                waiting=settings.uploads_waiting,
                wait_s=settings.upload_wait_s,
            ),
            lambda received, waiting: telemetry.metrics.uploads_at_door(
                received=received, waiting=waiting
            ),
        ),
        queue_length=settings.queue_length,
        metrics=telemetry.metrics,
        outbox=SqlWebhookOutbox(engine),
        webhook_sender=PinnedHttpSender(
            settings.webhook_networks, timeout_s=settings.webhook_timeout_s
        ),
        webhook_policy=settings.webhook_policy,
        partial_uploads=FolderPartialUploads(
            settings.data_dir / "uploads", lifetime=timedelta(hours=settings.resumable_upload_hours)
        ),
        resumable_upload_limits=ResumableUploadLimits(
            size_bytes=settings.upload_bytes,
            stall_s=settings.upload_stall_s,
            request_s=settings.resumable_request_s,
            most_unfinished=settings.resumable_uploads_per_key,
        ),
        push_outbox=SqlPushOutbox(engine),
        dicom_index=SqlDicomIndex(engine),
        destination_names=tuple(read_destinations(settings.destinations_file).terms),
        delivery_limits=settings.delivery_limits,
    )


def metric_sources(parts: GatewayParts) -> Sources:
    """Return where the metrics that all gateways share come from."""
    return Sources(
        facts=parts.operations.facts,
        queue_depth=parts.queue.depth,
        free_bytes=parts.artefacts.free_bytes,
        webhook_deliveries=parts.outbox.counts,
        is_unattended=lambda: parts.store.is_unattended(parts.unattended_after),
    )


def _parts_of(request: Request) -> GatewayParts:
    parts = request.app.state.parts
    if not isinstance(parts, GatewayParts):
        raise TypeError("The application was started without its parts.")
    return parts


Parts = Annotated[GatewayParts, Depends(_parts_of)]
