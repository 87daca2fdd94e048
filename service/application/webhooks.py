"""Webhooks: who may be told that a study has ended, what is said, and how it is signed.

The end of a job and its delivery are one transaction of the record (an outbox), so that none is
forgotten and none is made twice; a delivery is repeated, under the same id and with the same body,
until the receiver takes it. Headers and signature are those of Standard Webhooks
(https://www.standardwebhooks.com), for which there are libraries in many languages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import SplitResult, urlsplit

import structlog

from service.application.errors import CallbackNotAllowed
from service.application.jobs import JobStatus

_log = structlog.get_logger(__name__)

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - only how a secret begins
SECRET_BYTES: Final = (24, 64)
"""Shortest and longest secret, as the standard asks for."""

PAUSES: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
)
"""Between attempts; after the last one a delivery is given up, about three days on. Our choice,
along the schedule that the standard recommends."""

LONGEST_URL: Final = 2048

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

GONE: Final = 410
"""The receiver wants no more of this."""


@dataclass(frozen=True)
class Delivery:
    """The news that a job has ended, on its way to one receiver."""

    id: str
    study_id: str
    job_number: int
    status: JobStatus
    problem_code: str | None
    url: str
    finished_at: datetime
    attempt: int
    """Attempts begun, this one included; the fence of what is written about it."""

    def body(self) -> bytes:
        """Return the JSON that is sent: the same bytes at every attempt."""
        document = {
            "type": f"study.{self.status}",
            "timestamp": self.finished_at.isoformat(),
            "data": {
                "study_id": self.study_id,
                "job_number": self.job_number,
                "status": self.status,
                "problem_code": self.problem_code,
            },
        }
        return json.dumps(document, separators=(",", ":")).encode()


class DeliveryState(StrEnum):
    """What has become of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class DeliveryLimits:
    """How often and how patiently deliveries are tried.

    Parameters
    ----------
    attempts
        After so many a delivery is given up; at most one more than there are ``PAUSES``.
    timeout_s
        For connecting, and for each wait on the receiver.
    at_once
        Deliveries that a gateway takes on in one round, one after the other.
    """

    attempts: int = len(PAUSES) + 1
    timeout_s: float = 10.0
    at_once: int = 10

    @property
    def lease(self) -> timedelta:
        """Longer than a round in which every receiver times out twice (connecting, answering)."""
        return timedelta(seconds=60 + 2 * self.timeout_s * self.at_once)


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt: the HTTP status, or None and why there is none."""

    status: int | None
    words: str

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class WebhookPolicy:
    """What the operator allows; nothing by default.

    Parameters
    ----------
    allowed_urls
        A callback must begin with one of these: the same scheme, host and port, and a path at or
        below this one.
    secret
        Key of the signatures, ``whsec_`` and base64; without one nothing is sent.
    """

    allowed_urls: tuple[str, ...] = ()
    secret: str | None = field(default=None, repr=False)

    def check(self, url: str) -> None:
        """Raise CallbackNotAllowed unless a callback may go to this URL."""
        if self.secret is None or not self.allowed_urls:
            raise CallbackNotAllowed(
                "This service sends no callbacks; its operator sets CACSCORE_WEBHOOK_SECRET and "
                "CACSCORE_WEBHOOK_URLS."
            )
        if len(url) > LONGEST_URL or not any(_covers(one, url) for one in self.allowed_urls):
            raise CallbackNotAllowed(
                "Callbacks may not go to that URL; CACSCORE_WEBHOOK_URLS of the service names "
                "where they may go."
            )


DEFAULT_DELIVERY_LIMITS: Final = DeliveryLimits()


class WebhookOutbox(Protocol):
    """Deliveries that wait; every method is one transaction."""

    def take_due(self, *, limit: int, lease: timedelta) -> tuple[Delivery, ...]:
        """Begin an attempt at deliveries whose time has come; nobody else begins one meanwhile."""
        ...

    def settle(self, delivery: Delivery, outcome: Outcome, *, pause: timedelta | None) -> None:
        """Keep what came of an attempt; without a pause there is no further one.

        Nothing happens where another attempt has begun since.
        """
        ...

    def counts(self) -> Mapping[DeliveryState, int]:
        """Return how many deliveries there are in each state, of studies that are still here."""
        ...


class WebhookSender(Protocol):
    """Sends a POST and says what came of it; never raises for what the receiver does."""

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Outcome:
        """Send a body to exactly this URL: no redirect is followed."""
        ...


def deliver_due(
    *,
    outbox: WebhookOutbox,
    sender: WebhookSender,
    policy: WebhookPolicy,
    now: datetime,
    limits: DeliveryLimits = DEFAULT_DELIVERY_LIMITS,
) -> int:
    """Attempt the deliveries whose time has come; return how many there were."""
    if policy.secret is None:
        return 0
    deliveries = outbox.take_due(limit=limits.at_once, lease=limits.lease)
    for delivery in deliveries:
        try:
            policy.check(delivery.url)
        except CallbackNotAllowed:
            outbox.settle(delivery, Outcome(None, "no longer allowed"), pause=None)
            continue
        body = delivery.body()
        outcome = sender.post(
            delivery.url, body, signed_headers(policy.secret, delivery.id, now, body)
        )
        is_over = outcome.is_delivered or outcome.status == GONE
        is_over = is_over or delivery.attempt >= limits.attempts
        pause = None if is_over else pause_after(delivery.attempt)
        outbox.settle(delivery, outcome, pause=pause)
        _log.log(
            20 if outcome.is_delivered else 30,
            "webhook_attempted",
            delivery_id=delivery.id,
            attempt=delivery.attempt,
            outcome=outcome.words,
            is_given_up=pause is None and not outcome.is_delivered,
        )
    return len(deliveries)


def pause_after(attempt: int) -> timedelta | None:
    """Return how long to wait after this attempt (from 1); None after the last one."""
    return PAUSES[attempt - 1] if attempt <= len(PAUSES) else None


def signed_headers(secret: str, delivery_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery; receivers refuse a timestamp that is minutes old."""
    timestamp = int(now.timestamp())
    return {
        "Content-Type": "application/json",
        "User-Agent": "cacscore",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, delivery_id, timestamp, body),
    }


def signature(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """Return ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    digest = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def secret_bytes(secret: str) -> bytes:
    """Return the key; ValueError for one that the standard does not allow."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"A webhook secret is {SECRET_PREFIX} and base64.") from error
    shortest, longest = SECRET_BYTES
    if not secret.startswith(SECRET_PREFIX) or not shortest <= len(key) <= longest:
        raise ValueError(
            f"A webhook secret is {SECRET_PREFIX} and the base64 of {shortest} to {longest} bytes."
        )
    return key


def check_allowed_urls(urls: Sequence[str]) -> None:
    """Raise ValueError for an entry of the allow-list that allows nothing or too much."""
    for url in urls:
        if _origin(url) is None:
            raise ValueError(
                "An allowed webhook URL is http:// or https://, a host and perhaps a path, "
                "without user, query or fragment."
            )


def _covers(allowed: str, url: str) -> bool:
    origin = _origin(url, may_have_query=True)
    if origin is None or origin != _origin(allowed):
        return False
    path, above = urlsplit(url).path or "/", urlsplit(allowed).path or "/"
    if ".." in path or "\\" in url or "%2e" in path.lower():
        return False
    return path == above or path.startswith(above.rstrip("/") + "/")


def _origin(url: str, *, may_have_query: bool = False) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None for a URL that is not plain."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if (
        parts.scheme not in _DEFAULT_PORTS
        or not parts.hostname
        or "@" in parts.netloc
        or parts.fragment
        or (parts.query and not may_have_query)
    ):
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]
