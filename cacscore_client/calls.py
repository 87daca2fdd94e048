"""Every request of the contract and how its answer is read, apart from who sends it.

Both clients send the same :class:`Call`: one waits for the answer, the other awaits it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import quote

import httpx

from cacscore_client.documents import (
    Artefact,
    CalciumReport,
    ExportFormat,
    MaskFormat,
    Priority,
    Readiness,
    ReportFormat,
    RerunRequest,
    ResultVersion,
    Risk,
    RiskRequest,
    Study,
    StudyPage,
    Version,
)
from cacscore_client.errors import (
    SCORE_NOT_READY_CODE,
    ScoreNotReady,
    ServiceProblem,
    UnexpectedAnswer,
    problem_kind,
)

DEFAULT_RETRY_AFTER_S: Final = 2.0
"""How long to wait where the service names no time."""

MAX_RETRY_AFTER_S: Final = 30.0
"""A longer wish of the service is not followed, so that an end is noticed soon. Our choice."""

MIN_RETRY_AFTER_S: Final = 0.1
"""A shorter wish would be a loop without a pause. Our choice."""

BUSY_STATUSES: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

EVENT_STREAM: Final = "text/event-stream"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request, and what its answer means.

    ``accepts_503``: that answer too is read; otherwise 429 and 503 ask to come back later, and any
    other answer but 2xx is a problem.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], Answer]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    accepts_503: bool = False

    def is_busy(self, answer: httpx.Response) -> bool:
        """Tell whether the service asks to come back later."""
        return answer.status_code in BUSY_STATUSES and not self.is_answered(answer)

    def is_answered(self, answer: httpx.Response) -> bool:
        """Tell whether the answer can be read."""
        return answer.is_success or (
            self.accepts_503 and answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        )


def submit(priority: Priority, callback_url: str | None, size_bytes: int) -> Call[Study]:
    """Send an archive; its bytes are the sender's matter."""
    params: dict[str, str] = {"priority": priority}
    if callback_url is not None:
        params["callback_url"] = callback_url
    headers = {"Content-Type": "application/zip", "Content-Length": str(size_bytes)}
    return Call("POST", "/studies", _study, params=params, headers=headers)


def study(study_id: str) -> Call[Study]:
    """Ask where a study stands."""
    return Call("GET", study_path(study_id), _study)


def studies(limit: int, cursor: str | None) -> Call[StudyPage]:
    """Ask for a page of studies."""
    params = {"limit": str(limit)} if cursor is None else {"limit": str(limit), "cursor": cursor}
    return Call("GET", "/studies", lambda answer: cast("StudyPage", json_object(answer)), params)


def score(study_id: str, version: int | None) -> Call[CalciumReport]:
    """Ask for the report; ScoreNotReady where the answer is 202."""

    def read(answer: httpx.Response) -> CalciumReport:
        if answer.status_code == HTTPStatus.ACCEPTED:
            status = json_object(answer).get("status")
            raise ScoreNotReady(
                status=answer.status_code,
                code=SCORE_NOT_READY_CODE,
                title="The study has not been scored yet",
                detail=f"The study is {status}; ask again in a few seconds.",
                evidence={"status": status},
                retry_after_s=retry_after_s(answer),
            )
        return cast("CalciumReport", json_object(answer))

    return Call("GET", f"{study_path(study_id)}/score", read, params=_version(version))


def risk(study_id: str, known: RiskRequest) -> Call[Risk]:
    """Ask what the score means for a patient."""
    path = f"{study_path(study_id)}/risk"
    return Call("POST", path, lambda answer: cast("Risk", json_object(answer)), json=known)


def results(study_id: str) -> Call[list[ResultVersion]]:
    """Ask for all results of a study."""
    return Call(
        "GET",
        f"{study_path(study_id)}/results",
        lambda answer: cast("list[ResultVersion]", _list_of(answer, "results")),
    )


def artefacts(study_id: str) -> Call[list[Artefact]]:
    """Ask for the list of files."""
    return Call(
        "GET",
        f"{study_path(study_id)}/artifacts",
        lambda answer: cast("list[Artefact]", _list_of(answer, "artifacts")),
    )


def artefact(study_id: str, name: str) -> Call[bytes]:
    """Ask for one file of the list."""
    return Call("GET", f"{study_path(study_id)}/artifacts/{quote(name, safe='')}", _content)


def report(study_id: str, form: ReportFormat) -> Call[bytes]:
    """Ask for the report in one of its forms."""
    return Call("GET", f"{study_path(study_id)}/report", _content, params={"format": form})


def mask(study_id: str, form: MaskFormat, version: int | None) -> Call[bytes]:
    """Ask for the calcium mask."""
    params = {"format": form, **_version(version)}
    return Call("GET", f"{study_path(study_id)}/mask", _content, params=params)


def slice_picture(study_id: str, slice_index: int, version: int | None) -> Call[bytes]:
    """Ask for the picture of a slice."""
    path = f"{study_path(study_id)}/slices/{slice_index}.png"
    return Call("GET", path, _content, params=_version(version))


def export(form: ExportFormat) -> Call[bytes]:
    """Ask for the table of all scores."""
    return Call("GET", "/studies/export", _content, params={"format": form})


def events(study_id: str, after: int) -> Call[None]:
    """Ask for the events after that number; 0 for all. Whoever sends it reads the stream."""
    headers = {"Accept": EVENT_STREAM, "Last-Event-ID": str(after)}
    return Call("GET", f"{study_path(study_id)}/events", lambda _answer: None, headers=headers)


def cancel(study_id: str) -> Call[Study]:
    """Cancel the scoring of a study."""
    return Call("POST", f"{study_path(study_id)}/cancel", _study)


def retry(study_id: str) -> Call[Study]:
    """Score a cancelled or given-up study again."""
    return Call("POST", f"{study_path(study_id)}/retry", _study)


def rerun(study_id: str, wish: RerunRequest) -> Call[Study]:
    """Score a study once more."""
    return Call("POST", f"{study_path(study_id)}/rerun", _study, json=wish)


def push(study_id: str, to: str) -> Call[Study]:
    """Send the results of a study to a destination."""
    return Call("POST", f"{study_path(study_id)}/push", _study, json={"to": to})


def delete(study_id: str) -> Call[None]:
    """Remove a study."""
    return Call("DELETE", study_path(study_id), lambda _answer: None)


def version() -> Call[Version]:
    """Ask which code answers."""
    return Call("GET", "/version", lambda answer: cast("Version", json_object(answer)))


def readiness() -> Call[Readiness]:
    """Ask whether an upload would be accepted; a 503 is an answer here."""

    def read(answer: httpx.Response) -> Readiness:
        document = json_object(answer)
        if "is_ready" not in document:
            raise UnexpectedAnswer(f"{answer.url} did not answer as a cacscore service does.")
        return cast("Readiness", document)

    return Call("GET", "/readyz", read, accepts_503=True)


def study_path(study_id: str) -> str:
    """Return the path of a study; whatever its id holds stays within one segment."""
    return f"/studies/{quote(study_id, safe='')}"


def refused(answer: httpx.Response) -> ServiceProblem | UnexpectedAnswer:
    """Return the error of an answer that is no success; its body has been read."""
    try:
        document = answer.json()
        code = str(document["code"])
        return problem_kind(answer.status_code, code)(
            status=answer.status_code,
            code=code,
            title=str(document["title"]),
            detail=str(document["detail"]),
            evidence=dict(document.get("evidence") or {}),
            retry_after_s=_named_retry_after_s(answer),
        )
    except (ValueError, KeyError, TypeError):
        return UnexpectedAnswer(
            f"{_origin(answer)} answered {answer.status_code}: {answer.reason_phrase}"
        )


def retry_after_s(answer: httpx.Response) -> float:
    """Return how long to wait before asking again: what the service says, within our limits."""
    named_s = _named_retry_after_s(answer)
    wish_s = DEFAULT_RETRY_AFTER_S if named_s is None else named_s
    return min(max(wish_s, MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S)


def json_object(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of an answer; UnexpectedAnswer where it has none."""
    try:
        document = answer.json()
    except ValueError as error:
        raise UnexpectedAnswer(
            f"{answer.url} did not answer with JSON; is that a cacscore service?"
        ) from error
    if not isinstance(document, dict):
        raise UnexpectedAnswer(f"{answer.url} did not answer with a JSON object.")
    return document


def _study(answer: httpx.Response) -> Study:
    return cast("Study", json_object(answer))


def _content(answer: httpx.Response) -> bytes:
    return answer.content


def _list_of(answer: httpx.Response, key: str) -> list[Any]:
    found = json_object(answer).get(key)
    if not isinstance(found, list):
        raise UnexpectedAnswer(f"{answer.url} did not answer with a list of {key}.")
    return found


def _version(number: int | None) -> dict[str, str]:
    return {} if number is None else {"version": str(number)}


def _named_retry_after_s(answer: httpx.Response) -> float | None:
    """Return the seconds of ``Retry-After``, a number or a date (RFC 9110, 10.2.3)."""
    named = answer.headers.get("Retry-After")
    if named is None:
        return None
    if named.strip().isdigit():
        return float(named)
    try:
        return (parsedate_to_datetime(named) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None


def _origin(answer: httpx.Response) -> str:
    url = answer.url
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
