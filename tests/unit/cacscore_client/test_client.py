"""The HTTP contract as the client keeps it; the service is played by a transport in memory."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from cacscore_client import (
    AsyncCacscoreClient,
    Busy,
    CacscoreClient,
    ClientError,
    Conflict,
    DigestMismatch,
    InvalidUrl,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Refused,
    ScoreNotReady,
    ServiceFailed,
    ServiceProblem,
    StudyGivenUp,
    UnexpectedAnswer,
    Unreachable,
    WaitTimedOut,
)
from cacscore_client.connection import is_this_machine
from cacscore_client.documents import Artefact
from service.application.errors import GIVEN_UP_CODES
from service.application.errors import ScoreNotReady as ServiceScoreNotReady
from service.application.problem import Problem

STUDY: dict[str, Any] = {
    "id": "abc",
    "status": "queued",
    "stage": "waiting",
    "progress": 0.0,
    "job_number": 1,
    "problem": None,
}
REPORT = {"agatston_score": 12.5}
Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, pauses: list[float] | None = None) -> CacscoreClient:
    return CacscoreClient(
        "http://service/",
        transport=httpx.MockTransport(handler),
        sleep=(lambda _s: None) if pauses is None else pauses.append,
    )


def problem_answer(status: int, code: str, **headers: str) -> httpx.Response:
    document = Problem(code, "Title", "What was found.", {"found": 3}).to_document()
    return httpx.Response(status, json={**document, "status": status}, headers=headers)


def event(number: int, status: str, *, progress: float = 0.0, job_number: int = 1) -> str:
    data = json.dumps(
        {
            "study_id": "abc",
            "number": number,
            "job_number": job_number,
            "status": status,
            "stage": "segmenting",
            "progress": progress,
            "attempt": 1,
        }
    )
    return f"id: {number}\nevent: study\ndata: {data}\n\n"


def stream(*messages: str) -> httpx.Response:
    return httpx.Response(
        200,
        text="retry: 1500\n\n" + "".join(messages),
        headers={"Content-Type": "text/event-stream"},
    )


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
        assert client.submit(archive, on_bytes=heard.append) == STUDY

    (request,) = requests
    assert (request.method, request.url.path) == ("POST", "/studies")
    assert dict(request.url.params) == {"priority": "routine"}
    assert request.headers["Content-Type"] == "application/zip"
    assert request.headers["Content-Length"] == "3000002"
    assert "Transfer-Encoding" not in request.headers
    assert request.content == archive.read_bytes()
    assert heard == [1 << 20, 1 << 20, 3_000_002 - (2 << 20)]


def test_asynchronous_upload_sends_the_same_request(archive: Path) -> None:
    requests: list[httpx.Request] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        await request.aread()
        requests.append(request)
        return httpx.Response(202, json=STUDY)

    content = archive.read_bytes()

    async def submit_both() -> None:
        async with AsyncCacscoreClient(
            "http://service", transport=httpx.MockTransport(handler)
        ) as client:
            await client.submit(archive, priority="stat", callback_url="https://ris.example/x")
            await client.submit(content)

    anyio.run(submit_both)

    first, second = requests
    assert dict(first.url.params) == {"priority": "stat", "callback_url": "https://ris.example/x"}
    assert first.content == second.content == content
    assert first.headers["Content-Length"] == second.headers["Content-Length"] == "3000002"
    assert "Transfer-Encoding" not in first.headers


def test_both_clients_offer_the_same_methods_with_the_same_parameters() -> None:
    def methods(client: type) -> dict[str, dict[str, str]]:
        return {
            name: {
                key: f"{one.kind} {one.annotation} {one.default is not one.empty}"
                for key, one in inspect.signature(method).parameters.items()
            }
            for name, method in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    waiting, awaited = methods(CacscoreClient), methods(AsyncCacscoreClient)

    assert waiting.pop("close") == awaited.pop("aclose")
    assert waiting == awaited


def test_key_is_sent_as_bearer_and_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={**STUDY, "id": request.headers.get("Authorization")})

    transport = httpx.MockTransport(handler)
    monkeypatch.setenv("CACSCORE_API_KEY", "cacs_environment")
    with CacscoreClient("http://service", transport=transport) as client:
        assert client.study("abc")["id"] == "Bearer cacs_environment"
    with CacscoreClient("http://service", api_key="cacs_given", transport=transport) as client:
        assert client.study("abc")["id"] == "Bearer cacs_given"


def test_id_of_a_study_stays_within_its_segment_of_the_path() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/studies/..%2Fversion%3Fx"
        return httpx.Response(200, json=STUDY)

    with client_of(handler) as client:
        client.study("../version?x")


def test_events_are_given_in_order_and_end_with_the_job() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["Last-Event-ID"] == "0"
        return stream(
            event(1, "queued"),
            ": alive\n\n",
            event(2, "running"),
            event(3, "succeeded", progress=1),
        )

    with client_of(handler) as client:
        assert [(one["number"], one["status"]) for one in client.events("abc")] == [
            (1, "queued"),
            (2, "running"),
            (3, "succeeded"),
        ]


class CutStream(httpx.SyncByteStream):
    """A body whose connection is lost after some bytes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        yield self._text.encode()
        raise httpx.ReadError("connection reset")


def test_lost_stream_is_taken_up_after_the_last_event_that_was_seen() -> None:
    asked_after: list[str] = []
    pauses: list[float] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked_after.append(request.headers["Last-Event-ID"])
        if len(asked_after) == 1:
            cut = "retry: 1500\n\n" + event(1, "queued") + event(2, "running") + "id: 3\ndata: {"
            return httpx.Response(
                200, stream=CutStream(cut), headers={"Content-Type": "text/event-stream"}
            )
        if len(asked_after) == 2:
            raise httpx.ConnectError("Connection refused")
        return stream(event(3, "succeeded"))

    with client_of(handler, pauses) as client:
        assert [one["number"] for one in client.events("abc")] == [1, 2, 3]

    assert asked_after == ["0", "2", "2"]
    assert pauses == [1.5, 1.5]


def test_stream_that_never_comes_back_is_given_up() -> None:
    calls = 0

    def handler(_request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise httpx.ConnectError("Connection refused")
        return stream(event(1, "queued"))

    with client_of(handler) as client, pytest.raises(Unreachable, match="Connection refused"):
        list(client.events("abc"))

    assert calls == 31


def test_watched_study_that_is_deleted_is_not_found() -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        return stream(event(1, "queued"), "event: deleted\ndata: {}\n\n")

    with client_of(handler) as client, pytest.raises(NotFound, match="deleted"):
        list(client.events("abc"))


def service_that_ends(*statuses: str, **study: object) -> Handler:
    """A service whose study ends as named; without statuses it sends no events."""

    def handler(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/events") and statuses:
            return stream(*(event(n, status) for n, status in enumerate(statuses, start=1)))
        if path.endswith("/events"):
            return httpx.Response(200, html="<h1>buffering proxy</h1>")
        if path.endswith("/score"):
            return httpx.Response(200, json={**REPORT, "version": request.url.params["version"]})
        return httpx.Response(200, json={**STUDY, **study})

    return handler


def test_waiting_tells_how_far_the_study_is_and_gives_the_report_of_its_latest_job() -> None:
    heard: list[str] = []
    handler = service_that_ends("queued", "running", "succeeded", status="succeeded", job_number=3)

    with client_of(handler) as client:
        report = client.wait_for_score(
            "abc", on_progress=lambda state: heard.append(state["status"])
        )

    assert report == {**REPORT, "version": "3"}
    assert heard == ["queued", "running", "succeeded"]


def test_where_no_events_come_through_the_study_is_asked_for() -> None:
    pauses: list[float] = []
    answers = iter(["queued", "running", "succeeded"])
    inner = service_that_ends()

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/studies/abc":
            return httpx.Response(200, json={**STUDY, "status": next(answers)})
        return inner(request)

    with client_of(handler, pauses) as client:
        assert client.wait_for_score("abc")["agatston_score"] == 12.5

    assert pauses == [2.0, 2.0]


@pytest.mark.parametrize(
    ("code", "kind"), [("contrast_enhanced", Refused), ("too_many_attempts", StudyGivenUp)]
)
def test_study_that_failed_ends_waiting_with_its_reason(
    code: str, kind: type[ServiceProblem]
) -> None:
    problem = Problem(code, "Title", "What was found.", {"found": 3}).to_document()
    handler = service_that_ends("queued", "failed", status="failed", problem=problem)

    with client_of(handler) as client, pytest.raises(kind) as raised:
        client.wait_for_score("abc")

    assert raised.value.code == code
    assert raised.value.evidence == {"found": 3}


def test_cancelled_study_ends_waiting() -> None:
    handler = service_that_ends("queued", "cancelled", status="cancelled")

    with client_of(handler) as client, pytest.raises(Conflict, match="study_cancelled"):
        client.wait_for_score("abc")


def test_waiting_ends_before_a_pause_that_would_be_too_long() -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=STUDY)

    with client_of(handler) as client, pytest.raises(WaitTimedOut, match="within 1 s"):
        client.wait_for_score("abc", timeout_s=1, by="polling")


def test_score_that_is_not_there_yet_says_when_to_ask_again() -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(202, json=STUDY, headers={"Retry-After": "4"})

    with client_of(handler) as client, pytest.raises(ScoreNotReady) as raised:
        client.score("abc")

    assert raised.value.retry_after_s == 4.0


def test_codes_that_the_client_treats_apart_are_those_of_the_service() -> None:
    from cacscore_client import errors  # noqa: PLC0415

    assert errors.GIVEN_UP_CODES == GIVEN_UP_CODES
    assert ServiceScoreNotReady.code == errors.SCORE_NOT_READY_CODE


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed_form", Refused),
        (413, "upload_too_large", Refused),
        (415, "unsupported_media_type", Refused),
        (422, "not_a_zip", Refused),
        (422, "poison", StudyGivenUp),
        (401, "not_authenticated", NotAuthenticated),
        (403, "not_allowed", NotAllowed),
        (404, "study_not_found", NotFound),
        (409, "study_busy", Conflict),
        (409, "score_not_ready", ScoreNotReady),
        (500, "internal_error", ServiceFailed),
        (503, "storage_full", Busy),
    ],
)
def test_problem_becomes_the_error_of_its_kind(
    status: int, code: str, kind: type[ServiceProblem], archive: Path
) -> None:
    with (
        client_of(lambda _request: problem_answer(status, code)) as client,
        pytest.raises(ServiceProblem) as raised,
    ):
        client.submit(archive)

    problem = raised.value
    assert type(problem) is kind
    assert (problem.status, problem.code, problem.evidence) == (status, code, {"found": 3})
    assert str(problem) == f"Title. What was found. (code: {code})"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, html="<h1>Bad Gateway</h1>"),
        httpx.Response(422, html="<h1>not a problem object</h1>"),
        httpx.Response(200, html="<h1>another server</h1>"),
        httpx.Response(200, json=["not", "an", "object"]),
    ],
)
def test_answer_of_something_else_is_no_problem_of_the_service(answer: httpx.Response) -> None:
    with client_of(lambda _request: answer) as client, pytest.raises(UnexpectedAnswer):
        client.study("abc")


def in_an_hour() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [
        ({"Retry-After": "0"}, 0.1),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "3600"}, 30.0),
        ({"Retry-After": in_an_hour()}, 30.0),
        ({"Retry-After": "soon"}, 2.0),
        ({}, 2.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_busy_service_is_asked_again_with_the_whole_upload(
    archive: Path, status: int, header: dict[str, str], pause_s: float
) -> None:
    bodies: list[int] = []
    pauses: list[float] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(len(request.read()))
        if len(bodies) == 1:
            return problem_answer(status, "too_busy", **header)
        return httpx.Response(202, json=STUDY)

    with client_of(handler, pauses) as client:
        assert client.submit(archive) == STUDY

    assert bodies == [3_000_002, 3_000_002]
    assert pauses == [pause_s]


def test_service_that_stays_busy_is_asked_ten_times() -> None:
    pauses: list[float] = []

    with (
        client_of(lambda _request: problem_answer(503, "queue_unavailable"), pauses) as client,
        pytest.raises(Busy),
    ):
        client.study("abc")

    assert len(pauses) == 9


def test_unready_service_is_an_answer() -> None:
    unready = {"is_ready": False, "checks": [], "free_bytes": None, "workers": []}

    with client_of(lambda _request: httpx.Response(503, json=unready)) as client:
        assert client.readiness() == unready


CONTENT = b"a mask" * 100_000


def listed(sha256: str, name: str = "mask.dcm") -> Artefact:
    return {
        "name": name,
        "media_type": "application/dicom",
        "size_bytes": len(CONTENT),
        "sha256": sha256,
        "href": f"/studies/abc/artifacts/{name}",
    }


def test_file_is_kept_where_its_digest_is_the_one_that_was_listed(tmp_path: Path) -> None:
    artefact = listed(hashlib.sha256(CONTENT).hexdigest())

    with client_of(lambda _request: httpx.Response(200, content=CONTENT)) as client:
        client.save_artefact("abc", artefact, tmp_path / "mask.dcm")
        assert client.artefact("abc", artefact) == CONTENT

    assert (tmp_path / "mask.dcm").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["mask.dcm"]


def test_file_with_other_bytes_is_not_kept(tmp_path: Path) -> None:
    artefact = listed(hashlib.sha256(CONTENT).hexdigest())
    (tmp_path / "mask.dcm").write_bytes(b"of yesterday")

    with client_of(lambda _request: httpx.Response(200, content=CONTENT[:-1])) as client:
        with pytest.raises(DigestMismatch, match=artefact["sha256"]):
            client.save_artefact("abc", artefact, tmp_path / "mask.dcm")
        with pytest.raises(DigestMismatch):
            client.artefact("abc", artefact)

    assert (tmp_path / "mask.dcm").read_bytes() == b"of yesterday"
    assert [path.name for path in tmp_path.iterdir()] == ["mask.dcm"]


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "..", "", "a\\b"])
def test_name_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"artifacts": [listed("0" * 64, name)]})

    with client_of(handler) as client, pytest.raises(UnexpectedAnswer, match="no name"):
        client.save_artefacts("abc", tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


def test_all_studies_are_listed_page_by_page() -> None:
    pages = {
        None: {"studies": [{"id": "c"}, {"id": "b"}], "next_cursor": "older"},
        "older": {"studies": [{"id": "a"}], "next_cursor": None},
    }

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=pages[request.url.params.get("cursor")])

    with client_of(handler) as client:
        assert [study["id"] for study in client.all_studies()] == ["c", "b", "a"]


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


@pytest.mark.parametrize("url", ["http://host:port", "series.zip", "ftp://host", "http://", ""])
def test_text_that_is_no_address_of_a_service_is_refused(url: str) -> None:
    with pytest.raises(InvalidUrl, match="not a URL"):
        CacscoreClient(url)


def test_service_that_is_away_is_named(archive: Path) -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    with client_of(handler) as client:
        for ask in (lambda: client.submit(archive), lambda: list(client.events("abc"))):
            with pytest.raises(Unreachable, match=r"http://service.*serve"):
                ask()


def test_every_error_of_the_client_is_one_of_its_tree() -> None:
    import cacscore_client  # noqa: PLC0415

    public = [getattr(cacscore_client, name) for name in cacscore_client.__all__]
    errors = [one for one in public if issubclass(one, Exception)]

    assert len(errors) == 17
    assert all(issubclass(error, ClientError) for error in errors)
