"""The Celery worker: `celery -A service.worker.tasks worker --pool prefork --concurrency 1`.

One process a GPU, or one for a few cores. The parent process loads no model and opens no
database: its children do, when they have something to score.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from datetime import timedelta

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, Task
from celery.exceptions import CPendingDeprecationWarning
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutting_down,
)
from structlog.contextvars import bound_contextvars

from service.adapters.destinations.places import read_destinations
from service.adapters.destinations.senders import senders_of
from service.adapters.logs.json_logs import configure_logging
from service.adapters.queue.celery_queue import TASK_NAME, CeleryJobQueue, celery_app
from service.application.errors import DependencyUnavailable, ModelUnavailable, QueueUnavailable
from service.application.operations import AttemptTally, Observers
from service.application.run_job import StopAttempt, run_job
from service.application.telemetry import REQUEST_ID, text_headers
from service.settings import Settings
from service.worker.heartbeat import Heartbeat
from service.worker.lost_process import LossReportingRequest, this_worker
from service.worker.pushing import PushLoop, automatic_destinations
from service.worker.stopping import StopNotice
from service.worker.wiring import provider_of, tracing, wait_for_schema, worker_parts

settings = Settings()


def _worker_app() -> Celery:
    if settings.broker_url is None:
        raise QueueUnavailable(
            "A worker needs CACSCORE_BROKER_URL; `cacscore serve` brings its own broker."
        )
    return celery_app(
        settings.broker_url.get_secret_value(),
        task_time_limit=timedelta(seconds=settings.task_time_limit_s),
        task_soft_time_limit=timedelta(seconds=settings.task_soft_time_limit_s),
        stop_patience=timedelta(seconds=settings.worker_stop_s),
    )


app = _worker_app()
stop_notice = StopNotice()


@app.task(name=TASK_NAME, bind=True, Request=LossReportingRequest)
def score_study_task(self: Task[..., None], job_id: str) -> None:
    """Make one attempt at a job; a message that comes twice does nothing the second time."""
    parts = worker_parts(settings)
    headers = text_headers(self.request.headers)
    # A stop that comes between two steps leaves the job to the end of its lease.
    with (
        bound_contextvars(job_id=job_id, request_id=headers.get(REQUEST_ID)),
        tracing().attempt(headers) as spans,
        suppress(StopAttempt),
        stop_notice.may_interrupt(),
    ):
        run_job(
            job_id,
            store=parts.store,
            artefacts=parts.artefacts,
            load_segmenter=parts.load_segmenter,
            protocol=parts.protocol,
            mass_calibration_factor=parts.mass_calibration_factor,
            terms=parts.terms,
            limits=parts.limits,
            signer=parts.signer,
            deidentifier=parts.deidentifier,
            time_limit_error=SoftTimeLimitExceeded,
            time_limit_s=settings.task_soft_time_limit_s,
            worker=this_worker(),
            observer=Observers(AttemptTally(parts.operations), spans),
            destinations=automatic_destinations(parts),
        )
    if stop_notice.is_given:
        # For another worker; a message too many does no harm, and the reaper sends a missing one.
        with suppress(QueueUnavailable):
            CeleryJobQueue(app).announce(job_id)


@setup_logging.connect
def _configure_logging(**_: object) -> None:
    configure_logging(settings.log_level)
    # Announces a coming default for cancelling tasks; the queue adapter says why ours is set.
    warnings.simplefilter("ignore", CPendingDeprecationWarning)


@worker_init.connect
def _refuse_to_start_without_model(**_: object) -> None:
    # Better no worker than one that uses up the attempts of every job.
    if not settings.model_path.is_file():
        raise SystemExit(
            ModelUnavailable(
                f"There is no model file at {settings.model_path}; set CACSCORE_MODEL_PATH."
            ).message
        )


@worker_init.connect
def _refuse_to_start_with_another_schema(**_: object) -> None:
    try:
        wait_for_schema(settings)
    except DependencyUnavailable as error:
        raise SystemExit(error.message) from error


@worker_process_init.connect
def _silence_warnings(**_: object) -> None:
    # Warnings of DICOM libraries quote values of the upload, and would reach the log.
    warnings.simplefilter("ignore")


@worker_init.connect
def _refuse_to_start_with_unusable_destinations(**_: object) -> None:
    try:
        senders_of(read_destinations(settings.destinations_file))
    except DependencyUnavailable as error:
        raise SystemExit(error.message) from error


_heartbeats: list[Heartbeat] = []
_push_loops: list[PushLoop] = []


@worker_process_init.connect
def _begin_to_push(**_: object) -> None:
    parts = worker_parts(settings)
    if parts.destinations.destinations:
        loop = PushLoop(parts, interval_s=settings.push_interval_s)
        loop.start()
        _push_loops.append(loop)


@worker_process_init.connect
def _begin_to_beat(**_: object) -> None:
    parts = worker_parts(settings)
    heartbeat = Heartbeat(
        parts.operations,
        load_segmenter=parts.load_segmenter,
        provider_of=provider_of,
        interval_s=settings.worker_heartbeat_s,
    )
    heartbeat.start()
    _heartbeats.append(heartbeat)


@worker_process_init.connect
def _wait_for_stop_notice(**_: object) -> None:
    stop_notice.wait_in_background()


@worker_shutting_down.connect
def _give_stop_notice(**_: object) -> None:
    stop_notice.give_after(settings.worker_stop_s)


@worker_process_shutdown.connect
def _stop_beating(**_: object) -> None:
    while _push_loops:
        _push_loops.pop().stop()
    tracing().close()
    while _heartbeats:
        _heartbeats.pop().stop()
