"""Messages through a real broker."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import redis

from service.adapters.queue.celery_queue import QUEUE_NAME, CeleryJobQueue, celery_app
from service.application.errors import QueueUnavailable
from tests.integration.conftest import Broker


def test_announced_job_waits_in_the_queue(broker: Broker) -> None:
    queue = CeleryJobQueue(celery_app(broker.url))
    assert queue.depth() == 0
    queue.announce("job-1")
    queue.announce("job-2")
    assert queue.depth() == 2


def test_message_carries_a_job_id_and_nothing_else(broker: Broker) -> None:
    CeleryJobQueue(celery_app(broker.url)).announce("job-1")
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        (queue,) = client.keys(f"{QUEUE_NAME}*")
        (message,) = client.lrange(queue, 0, -1)
    envelope = json.loads(message)
    assert envelope["content-type"] == "application/json"
    assert envelope["headers"]["argsrepr"] == "('job-1',)"


def test_broker_that_is_away_is_said_within_seconds(broker: Broker) -> None:
    queue = CeleryJobQueue(celery_app(broker.url))
    queue.announce("job-1")
    broker.process.kill()
    broker.process.wait()
    begun = time.monotonic()
    with pytest.raises(QueueUnavailable):
        queue.announce("job-2")
    with pytest.raises(QueueUnavailable):
        queue.depth()
    assert time.monotonic() - begun < 15.0


def test_messages_may_go_through_a_folder(tmp_path: Path) -> None:
    queue = CeleryJobQueue(celery_app(f"filesystem://{tmp_path / 'messages'}"))
    queue.announce("job-1")
    assert queue.depth() == 1
