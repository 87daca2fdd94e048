"""Webhooks over real sockets: delivered once, signed, and never to where they must not go."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.adapters.database.engine import open_engine
from service.adapters.database.outbox import SqlWebhookOutbox
from service.adapters.database.schema import upgrade_schema
from service.adapters.database.study_store import SqlStudyStore
from service.adapters.pinned_connection import Address, is_allowed
from service.adapters.webhooks.pinned_http import PinnedHttpSender
from service.application.jobs import JobRequest, LeaseTerms
from service.application.webhooks import Outcome, signature
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.integration.conftest import Service, running_gateway
from tests.webhook_receiver import SECRET, receiver

THIS_MACHINE = (ipaddress.ip_network("127.0.0.0/8"),)


def test_end_of_a_study_is_told_with_a_signature_until_it_is_taken(
    settings: Settings, study_zip: Path
) -> None:
    with receiver(500, 200) as there:
        allowed = settings.model_copy(
            update={
                "webhook_urls": (f"{there.url}/hooks",),
                "webhook_secret": SecretStr(SECRET),
                "webhook_networks": THIS_MACHINE,
            }
        )
        with running_gateway(allowed) as client:
            service = Service(client, allowed, worker_parts(allowed))
            response = client.post(
                "/studies",
                params={"callback_url": f"{there.url}/hooks/study?ward=3"},
                content=study_zip.read_bytes(),
                headers={"Content-Type": "application/zip"},
            )
            assert response.status_code == 202, response.text
            assert there.requests == []
            service.work()
            # The second attempt is five seconds after the first one.
            assert there.is_satisfied.wait(60.0)
    assert len(there.requests) == 2
    assert {path for path, _, _ in there.requests} == {"/hooks/study?ward=3"}
    assert len({body for _, _, body in there.requests}) == 1
    assert len({headers["webhook-id"] for _, headers, _ in there.requests}) == 1
    for _, headers, body in there.requests:
        timestamp = int(headers["webhook-timestamp"])
        expected = signature(SECRET, headers["webhook-id"], timestamp, body)
        assert headers["webhook-signature"] == expected
    document = json.loads(there.requests[0][2])
    assert document["type"] == "study.succeeded"
    assert document["data"] == {
        "study_id": response.json()["id"],
        "job_number": 1,
        "status": "succeeded",
        "problem_code": None,
    }


def test_callback_that_is_not_allowed_is_refused_before_the_upload(
    service: Service, study_zip: Path
) -> None:
    response = service.client.post(
        "/studies",
        params={"callback_url": "http://169.254.169.254/latest/meta-data"},
        content=study_zip.read_bytes(),
        headers={"Content-Type": "application/zip"},
    )
    assert (response.status_code, response.json()["code"]) == (422, "callback_not_allowed")
    assert service.files() == []


def test_redirect_is_not_followed() -> None:
    with receiver(302) as there:
        outcome = PinnedHttpSender(THIS_MACHINE).post(f"{there.url}/hooks", b"{}", {})
    assert outcome == Outcome(302, "HTTP 302")
    assert not outcome.is_delivered
    assert [path for path, _, _ in there.requests] == ["/hooks"]


def test_name_of_an_address_that_is_not_public_reaches_nothing() -> None:
    with receiver(200) as there:
        outcome = PinnedHttpSender().post(there.url, b"{}", {})
    assert (outcome.status, there.requests) == (None, [])
    assert "not allowed" in outcome.words


def test_name_that_means_another_address_a_moment_later_is_not_looked_up_again() -> None:
    lookups: list[str] = []

    def resolve(host: str, port: int) -> list[Address]:
        lookups.append(host)
        assert port > 0
        return [ipaddress.ip_address("127.0.0.1")]

    with receiver(200) as there:
        port = there.url.rsplit(":", 1)[1]
        # Nothing but this resolver knows the name, so only its address can have been used.
        outcome = PinnedHttpSender(THIS_MACHINE, resolve=resolve).post(
            f"http://ris.invalid:{port}/hooks", b"{}", {}
        )
    assert outcome.is_delivered
    assert lookups == ["ris.invalid"]
    assert there.requests[0][1]["host"] == f"ris.invalid:{port}"


def test_one_address_that_is_not_allowed_among_several_is_enough_to_refuse() -> None:
    def resolve(_host: str, _port: int) -> list[Address]:
        return [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("169.254.169.254")]

    with receiver(200) as there:
        sender = PinnedHttpSender(THIS_MACHINE, resolve=resolve)
        assert sender.post(there.url, b"{}", {}).status is None
    assert there.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 - asked for, not listened on
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::a9fe:a9fe",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_address_inside_is_not_reached_unless_its_network_is_named(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), ())


def test_public_address_and_a_named_network_are_reached() -> None:
    assert is_allowed(ipaddress.ip_address("93.184.215.14"), ())
    assert is_allowed(ipaddress.ip_address("2606:2800:21f:cb07:6820:80da:af6b:8b2c"), ())
    hospital = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    assert is_allowed(ipaddress.ip_address("10.1.2.3"), hospital)
    assert is_allowed(ipaddress.ip_address("::ffff:10.1.2.3"), hospital)
    assert is_allowed(ipaddress.ip_address("fd00::1"), hospital)
    assert not is_allowed(ipaddress.ip_address("192.168.1.1"), hospital)


def test_delivery_is_taken_by_one_gateway_at_a_time_and_by_another_after_its_death(
    tmp_path: Path,
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'record.sqlite3'}")
    upgrade_schema(engine)
    time = [datetime(2026, 3, 1, tzinfo=UTC)]
    store = SqlStudyStore(engine, terms=LeaseTerms(), now=lambda: time[0])
    request = JobRequest(callback_url="https://ris.example/hook")
    store.add(study_id="a" * 26, folder="f", sha256="0" * 64, size_bytes=1, request=request)
    store.cancel("a" * 26)
    outbox = SqlWebhookOutbox(engine, now=lambda: time[0])
    lease = timedelta(minutes=5)

    (late,) = outbox.take_due(limit=10, lease=lease)
    assert outbox.take_due(limit=10, lease=lease) == ()
    time[0] += timedelta(minutes=6)
    (second,) = outbox.take_due(limit=10, lease=lease)
    assert outbox.counts() == {"pending": 1, "delivered": 0, "failed": 0}
    assert (late.attempt, second.attempt, late.id) == (1, 2, second.id)

    outbox.settle(second, Outcome(200, "HTTP 200"), pause=None)
    # The first gateway comes back to life: it changes nothing any more.
    outbox.settle(late, Outcome(500, "HTTP 500"), pause=timedelta(seconds=5))
    assert outbox.counts() == {"pending": 0, "delivered": 1, "failed": 0}
    outbox.settle(second, Outcome(500, "HTTP 500"), pause=None)
    assert outbox.counts() == {"pending": 0, "delivered": 0, "failed": 1}
    time[0] += timedelta(days=1)
    assert outbox.take_due(limit=10, lease=lease) == ()
