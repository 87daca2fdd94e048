"""Who may be told of a study's end, how it is signed, and how often it is tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.application.errors import CallbackNotAllowed
from service.application.jobs import JobStatus
from service.application.webhooks import (
    PAUSES,
    Delivery,
    DeliveryLimits,
    DeliveryState,
    Outcome,
    WebhookPolicy,
    check_allowed_urls,
    deliver_due,
    pause_after,
    secret_bytes,
    signature,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the published example
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_signature_is_that_of_the_published_example() -> None:
    # The example of the reference libraries of Standard Webhooks.
    assert (
        signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize(
    "secret", ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_short", "whsec_%%%%", ""]
)
def test_secret_that_the_standard_does_not_know_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        secret_bytes(secret)


@pytest.mark.parametrize(
    "url",
    [
        "https://ris.example/hooks",
        "https://ris.example/hooks/study?ward=3",
        "https://ris.example:443/hooks/",
        "HTTPS://RIS.example/hooks",
    ],
)
def test_callback_below_an_allowed_url_is_accepted(url: str) -> None:
    WebhookPolicy(("https://ris.example/hooks",), SECRET).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://ris.example/hooks",
        "https://ris.example:8443/hooks",
        "https://ris.example.evil.test/hooks",
        "https://evil.test/https://ris.example/hooks",
        "https://ris.example@evil.test/hooks",
        "https://user:word@ris.example/hooks",
        "https://ris.example/hooks-of-others",
        "https://ris.example/hooks/../admin",
        "https://ris.example/hooks/%2e%2e/admin",
        "https://ris.example/hooks\\..\\admin",
        "https://ris.example/",
        "https://ris.example/hooks#part",
        "https://ris.example/ho oks",
        "https://ris.exämple/hooks",
        "ftp://ris.example/hooks",
        "file:///etc/passwd",
        "//ris.example/hooks",
        "https://ris.example:port/hooks",
        "https:///hooks",
        "",
        "https://ris.example/hooks/" + "x" * 2048,
    ],
)
def test_callback_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(CallbackNotAllowed, match="CACSCORE_WEBHOOK_URLS"):
        WebhookPolicy(("https://ris.example/hooks",), SECRET).check(url)


@pytest.mark.parametrize("policy", [WebhookPolicy((), SECRET), WebhookPolicy(("https://a.b",))])
def test_service_that_is_not_set_up_for_callbacks_says_so(policy: WebhookPolicy) -> None:
    with pytest.raises(CallbackNotAllowed, match="CACSCORE_WEBHOOK_SECRET"):
        policy.check("https://a.b/")


@pytest.mark.parametrize("url", ["ris.example", "https://", "https://a.b/?x=1", "https://u@a.b"])
def test_entry_that_allows_nothing_is_a_mistake_of_the_settings(url: str) -> None:
    with pytest.raises(ValueError, match="allowed webhook URL"):
        check_allowed_urls([url])


def test_pauses_grow_and_end_after_about_three_days() -> None:
    assert list(PAUSES) == sorted(PAUSES)
    assert pause_after(1) == timedelta(seconds=5)
    assert pause_after(len(PAUSES) + 1) is None
    assert timedelta(days=3) < sum(PAUSES, timedelta()) < timedelta(days=4)


def delivery(attempt: int = 1, url: str = "https://ris.example/hooks") -> Delivery:
    return Delivery("msg_1", "a" * 26, 1, JobStatus.SUCCEEDED, None, url, NOW, attempt)


class OneDelivery:
    """An outbox with one delivery, which remembers how it was settled."""

    def __init__(self, waiting: Delivery) -> None:
        self.waiting = waiting
        self.settled: list[tuple[Outcome, timedelta | None]] = []

    def take_due(self, *, limit: int, lease: timedelta) -> tuple[Delivery, ...]:
        assert limit > 0
        assert lease > timedelta()
        return (self.waiting,)

    def settle(self, delivery: Delivery, outcome: Outcome, *, pause: timedelta | None) -> None:
        assert delivery is self.waiting
        self.settled.append((outcome, pause))

    def counts(self) -> dict[DeliveryState, int]:
        return {DeliveryState.PENDING: 1}


class AnsweringSender:
    """A receiver that always answers with the same status."""

    def __init__(self, status: int | None) -> None:
        self.status = status
        self.sent: list[tuple[str, bytes, dict[str, str]]] = []

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Outcome:
        self.sent.append((url, body, headers))
        return Outcome(self.status, "-")


@pytest.mark.parametrize(
    ("status", "attempt", "pause"),
    [
        (200, 1, None),
        (204, 4, None),
        (500, 1, timedelta(seconds=5)),
        (302, 2, timedelta(seconds=30)),
        (None, 10, timedelta(days=1)),
        (500, 11, None),
        (410, 1, None),
    ],
)
def test_delivery_is_repeated_until_it_is_taken_or_given_up(
    status: int | None, attempt: int, pause: timedelta | None
) -> None:
    outbox, sender = OneDelivery(delivery(attempt)), AnsweringSender(status)
    policy = WebhookPolicy(("https://ris.example",), SECRET)

    deliver_due(outbox=outbox, sender=sender, policy=policy, now=NOW)

    assert [one[1] for one in outbox.settled] == [pause]
    ((url, body, headers),) = sender.sent
    assert (url, headers["webhook-id"]) == ("https://ris.example/hooks", "msg_1")
    timestamp = int(headers["webhook-timestamp"])
    assert headers["webhook-signature"] == signature(SECRET, "msg_1", timestamp, body)


def test_an_operator_may_give_up_earlier() -> None:
    policy = WebhookPolicy(("https://ris.example",), SECRET)
    for attempt, pause in ((2, timedelta(seconds=30)), (3, None)):
        outbox = OneDelivery(delivery(attempt))
        deliver_due(
            outbox=outbox,
            sender=AnsweringSender(500),
            policy=policy,
            now=NOW,
            limits=DeliveryLimits(attempts=3),
        )
        assert [one[1] for one in outbox.settled] == [pause]


def test_a_lease_outlasts_a_round_of_receivers_that_never_answer() -> None:
    # 10 receivers, 10 s to connect and 10 s for the answer: 200 s.
    assert DeliveryLimits().lease > timedelta(seconds=200)


def test_delivery_to_a_url_that_is_no_longer_allowed_is_given_up_unsent() -> None:
    outbox, sender = OneDelivery(delivery(url="https://old.example/")), AnsweringSender(200)
    policy = WebhookPolicy(("https://ris.example",), SECRET)
    deliver_due(outbox=outbox, sender=sender, policy=policy, now=NOW)
    assert (outbox.settled, sender.sent) == ([(Outcome(None, "no longer allowed"), None)], [])
