"""Messages through Celery: job ids only, since the record knows everything else.

What the broker forgets the reaper repeats, what it repeats the claim ignores. The settings below
keep both rare; each one stands for a fault that was met.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import kombu.exceptions
import redis.exceptions
from celery import Celery
from kombu import Queue

from service.application.errors import QueueUnavailable
from service.application.jobs import Priority

TASK_NAME: Final = "score_study"
QUEUE_NAME: Final = "cacscore"

MESSAGE_PRIORITY: Final = {Priority.STAT: 0, Priority.ROUTINE: 6}
"""On Redis 0 is taken first; each priority has a list of its own, that of 0 the queue's name."""

_LONGEST_WAIT_FOR_BROKER_S: Final = 5.0
"""An upload is answered even while the broker is away; our choice."""


def celery_app(
    broker_url: str,
    *,
    task_time_limit: timedelta = timedelta(seconds=900),
    task_soft_time_limit: timedelta = timedelta(seconds=840),
) -> Celery:
    """Return the Celery application of gateway and worker; it connects only when used.

    ``broker_url`` is that of Redis or Valkey (``redis://``, ``redis+socket://``), or
    ``filesystem://`` and a folder for one machine without either.
    """
    app = Celery(
        "cacscore",
        broker="filesystem://" if broker_url.startswith("filesystem:") else broker_url,
        set_as_current=False,
    )
    app.conf.update(
        # A message is kept until its attempt has ended; the cap on attempts of the record ends
        # what would otherwise be repeated for ever when a task kills its worker.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_time_limit=task_time_limit.total_seconds(),
        task_soft_time_limit=task_soft_time_limit.total_seconds(),
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=QUEUE_NAME,
        task_publish_retry=False,
        broker_transport_options=_transport_options(broker_url, task_time_limit),
        broker_connection_timeout=_LONGEST_WAIT_FOR_BROKER_S,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A broker that goes away does not end an attempt: its lease is in the record, and the
        # message that comes again finds nothing to do. Cancelling would use up attempts.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=60.0,
        # Loading onnxruntime and a model takes longer than the default of 4 s.
        worker_proc_alive_timeout=120.0,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        enable_utc=True,
    )
    return app


def _transport_options(broker_url: str, task_time_limit: timedelta) -> dict[str, Any]:
    if broker_url.startswith("filesystem:"):
        folder = Path(broker_url.removeprefix("filesystem://"))
        for part in ("messages", "control"):
            (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        return {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
        }
    return {
        # Three times the hard limit: a shorter one would give a running task to a second
        # worker. Restoring looks every 5 s; the default made redelivery take minutes.
        "visibility_timeout": round(3 * task_time_limit.total_seconds()),
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "priority_steps": sorted(MESSAGE_PRIORITY.values()),
        "socket_keepalive": True,
        "socket_connect_timeout": _LONGEST_WAIT_FOR_BROKER_S,
        "health_check_interval": 25,
    }


class CeleryJobQueue:
    """A JobQueue that sends a task with a job id."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def announce(self, job_id: str, priority: Priority = Priority.ROUTINE) -> None:
        """Send a message; QueueUnavailable where the broker does not take it within seconds."""
        with _broker_errors():
            self._app.send_task(
                TASK_NAME,
                args=(job_id,),
                queue=QUEUE_NAME,
                ignore_result=True,
                priority=MESSAGE_PRIORITY[priority],
            )

    def depth(self) -> int:
        """Return how many messages wait that no worker has taken yet."""
        with (
            _broker_errors(),
            self._app.connection_for_read(connect_timeout=_LONGEST_WAIT_FOR_BROKER_S) as connection,
            connection.channel() as channel,
        ):
            declared: Any = Queue(QUEUE_NAME, channel=channel).queue_declare()
            return int(declared.message_count)


@contextmanager
def _broker_errors() -> Iterator[None]:
    try:
        yield
    except (kombu.exceptions.KombuError, redis.exceptions.RedisError, OSError) as error:
        # The text of the error may hold the broker's URL with its password.
        raise QueueUnavailable(
            f"The broker does not answer ({type(error).__name__}); see CACSCORE_BROKER_URL."
        ) from error
