"""The HTTP contract as the client keeps it; the service is played by a transport in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.application.problem import Problem
from service.cli.client import ServiceClient, is_this_machine
from service.cli.outcome import CommandFailed, Refused, UsageMistake

STUDY = {"id": "abc", "status": "queued", "stage": "waiting", "progress": 0.0}
REPORT = {"agatston_score": 12.5}
Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler) -> ServiceClient:
    return ServiceClient("http://service/", transport=httpx.MockTransport(handler))


def problem_answer(status: int, code: str, **headers: str) -> httpx.Response:
    document = Problem(code, "Title", "What was found.", {"found": 3}).to_document()
    return httpx.Response(status, json={**document, "status": status}, headers=headers)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "series.zip"
    file.write_bytes(b"PK" + bytes(3_000_000))
    return file


def test_upload_streams_the_bytes_with_their_length(archive: Path) -> None:
    requests: list[httpx.Request] = []
    heard: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        request.read()
        requests.append(request)
        return httpx.Response(202, json=STUDY)

    with client_of(handler) as client:
        assert client.upload(archive, heard.append) == STUDY

    (request,) = requests
    assert (request.method, request.url.path) == ("POST", "/studies")
    assert request.headers["Content-Type"] == "application/zip"
    assert request.headers["Content-Length"] == "3000002"
    assert "Transfer-Encoding" not in request.headers
    assert request.content == archive.read_bytes()
    assert sum(heard) == 3_000_002


def test_score_is_asked_for_as_often_as_the_service_wishes() -> None:
    answers = iter(
        [
            httpx.Response(202, json=STUDY, headers={"Retry-After": "4"}),
            httpx.Response(202, json=STUDY, headers={"Retry-After": "1"}),
            httpx.Response(200, json=REPORT),
        ]
    )
    pauses: list[float] = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/score"):
            return next(answers)
        return httpx.Response(200, json=STUDY)

    with client_of(handler) as client:
        report = client.wait_for_score("abc", timeout_s=60, sleep=pauses.append)

    assert report == REPORT
    assert pauses == [4.0, 1.0]


def test_waiting_ends_before_a_pause_that_would_be_too_long() -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(202, json=STUDY, headers={"Retry-After": "10"})

    with client_of(handler) as client, pytest.raises(CommandFailed, match="not scored within 5 s"):
        client.wait_for_score("abc", timeout_s=5, sleep=lambda _s: pytest.fail("slept"))


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_problem_about_the_upload_is_a_refusal_with_its_code(status: int, archive: Path) -> None:
    with (
        client_of(lambda _request: problem_answer(status, "not_a_zip")) as client,
        pytest.raises(Refused) as refusal,
    ):
        client.upload(archive)

    assert refusal.value.problem.code == "not_a_zip"
    assert refusal.value.problem.evidence == {"found": 3}


@pytest.mark.parametrize(
    "answer",
    [
        problem_answer(500, "internal_error"),
        problem_answer(404, "study_not_found"),
        httpx.Response(502, html="<h1>Bad Gateway</h1>"),
        httpx.Response(422, html="<h1>not a problem object</h1>"),
        httpx.Response(200, html="<h1>another server</h1>"),
        httpx.Response(200, json=["not", "an", "object"]),
    ],
)
def test_anything_else_is_a_failure_and_no_refusal(answer: httpx.Response) -> None:
    with client_of(lambda _request: answer) as client, pytest.raises(CommandFailed):
        client.study("abc")


@pytest.mark.parametrize("code", ["too_many_attempts", "scoring_timed_out"])
def test_study_that_the_service_gave_up_is_a_failure_and_no_refusal(code: str) -> None:
    with (
        client_of(lambda _request: problem_answer(422, code)) as client,
        pytest.raises(CommandFailed, match=rf"What was found.*{code}"),
    ):
        client.wait_for_score("abc", timeout_s=5)


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", True),  # noqa: S104 - not listened on
        ("192.168.0.7", False),
        ("cacscore.example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_only_hosts_of_this_machine_are_reached_past_a_proxy(host: str, is_ours: bool) -> None:
    assert is_this_machine(host) is is_ours


def test_text_that_is_no_url_is_a_mistake_of_usage() -> None:
    with pytest.raises(UsageMistake, match="not a URL"):
        ServiceClient("http://host:port")


def test_service_that_is_away_is_named(archive: Path) -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    with client_of(handler) as client, pytest.raises(CommandFailed, match=r"http://service.*serve"):
        client.upload(archive)


def test_busy_service_is_asked_again_with_the_whole_upload(archive: Path) -> None:
    bodies: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(len(request.read()))
        if len(bodies) == 1:
            return problem_answer(503, "storage_full", **{"Retry-After": "0"})
        return httpx.Response(202, json=STUDY)

    with client_of(handler) as client:
        assert client.upload(archive) == STUDY

    assert bodies == [3_000_002, 3_000_002]


def test_mask_is_asked_for_by_its_media_type(tmp_path: Path) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        accepts: Any = request.headers["Accept"]
        return httpx.Response(200, text=accepts)

    with client_of(handler) as client:
        client.download("/studies/abc/mask", tmp_path / "mask", accept="application/dicom")

    assert (tmp_path / "mask").read_text() == "application/dicom"
