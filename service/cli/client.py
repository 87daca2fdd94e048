"""A small client of the HTTP contract: upload, wait, fetch; what `submit` and `demo` use."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx

from service.application.problem import Problem
from service.application.report_document import ReportDocument
from service.cli.outcome import CommandFailed, UsageMistake, failed_study

API_KEY_VARIABLE: Final = "CACSCORE_API_KEY"

CHUNK_BYTES: Final = 1 << 20

TIMEOUT: Final = httpx.Timeout(connect=10.0, read=120.0, write=120.0, pool=10.0)
"""Seconds; reading waits for the gateway to look through a large archive. Our choice."""

DEFAULT_RETRY_AFTER_S: Final = 2.0
MAX_RETRY_AFTER_S: Final = 30.0
"""A longer wish of the server is not followed, so that an end is noticed soon. Our choice."""

MAX_BUSY_ANSWERS: Final = 10
"""How often 429 or 503 in a row is waited out. Our choice."""

_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_REFUSING_STATUSES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)

OnBytes = Callable[[int], None]
OnProgress = Callable[[dict[str, Any]], None]


class ServiceClient:
    """Talks to one service; use as a context manager.

    Every method raises Refused for a problem about what was sent, and CommandFailed
    where the service cannot be reached, is too busy, gave the study up, or answers with
    something else.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """``api_key`` is that of the environment (CACSCORE_API_KEY) where it is not given."""
        self.url = url.rstrip("/")
        key = api_key or os.environ.get(API_KEY_VARIABLE)
        try:
            self._http = httpx.Client(
                base_url=self.url,
                timeout=TIMEOUT,
                headers={} if not key else {"Authorization": f"Bearer {key}"},
                transport=transport,
                # A proxy of the environment would look for this machine's service on itself.
                trust_env=not is_this_machine(httpx.URL(self.url).host),
            )
        except httpx.InvalidURL as error:
            raise UsageMistake(f"{url!r} is not a URL: {error}.") from error

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._http.close()

    def upload(
        self,
        archive: Path,
        on_bytes: OnBytes = lambda _count: None,
        *,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Stream a zip to ``POST /studies``; return the study. ``on_bytes`` hears of each chunk."""

        def chunks() -> Iterator[bytes]:
            with archive.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
                    on_bytes(len(chunk))

        headers = {
            "Content-Type": "application/zip",
            "Content-Length": str(archive.stat().st_size),
        }
        return self._document(
            lambda: self._http.post(
                "/studies", content=chunks(), headers=headers, params=params or {}
            )
        )

    def study(self, study_id: str) -> dict[str, Any]:
        """Return status, stage and progress of a study."""
        return self._document(lambda: self._http.get(f"/studies/{study_id}"))

    def newest_studies(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest studies, at most so many."""
        page = self._document(lambda: self._http.get("/studies", params={"limit": limit}))
        studies: list[dict[str, Any]] = page["studies"]
        return studies

    def score(self, study_id: str) -> ReportDocument:
        """Return the report of a study that is scored."""
        return self._document(lambda: self._http.get(f"/studies/{study_id}/score"))

    def ask(
        self, study_id: str, action: str, wish: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """POST to ``/studies/{study_id}/{action}``; return the study."""
        path = f"/studies/{study_id}/{action}"
        return self._document(lambda: self._http.post(path, json=wish))

    def wait_for_score(
        self,
        study_id: str,
        *,
        timeout_s: float,
        on_progress: OnProgress = lambda _study: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> ReportDocument:
        """Ask for the score until it is there, as often as ``Retry-After`` says."""
        deadline = time.monotonic() + timeout_s
        while True:
            response = self._answer(lambda: self._http.get(f"/studies/{study_id}/score"))
            if response.status_code == HTTPStatus.OK:
                return _object(response)
            on_progress(self.study(study_id))
            pause_s = _retry_after_s(response)
            if time.monotonic() + pause_s > deadline:
                raise CommandFailed(
                    f"The study {study_id} was not scored within {timeout_s:.0f} s; it goes on at "
                    f"{self.url}/studies/{study_id}"
                )
            sleep(pause_s)

    def download(self, path: str, target: Path, *, accept: str) -> None:
        """Write the body of a GET to a file."""
        response = self._answer(lambda: self._http.get(path, headers={"Accept": accept}))
        target.write_bytes(response.content)

    def _document(self, send: Callable[[], httpx.Response]) -> dict[str, Any]:
        return _object(self._answer(send))

    def _answer(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        for _ in range(MAX_BUSY_ANSWERS):
            try:
                response = send()
            except httpx.HTTPError as error:
                raise CommandFailed(
                    f"No answer from {self.url}: {str(error) or type(error).__name__}. "
                    "Is the service running there? `cacscore serve` starts one."
                ) from error
            if response.status_code not in _BUSY:
                break
            time.sleep(_retry_after_s(response))
        if response.is_success:
            return response
        problem = _problem(response)
        if problem is not None and response.status_code in _REFUSING_STATUSES:
            raise failed_study(problem)
        reason = response.reason_phrase if problem is None else problem.detail
        raise CommandFailed(f"{self.url} answered {response.status_code}: {reason}")


def is_this_machine(host: str) -> bool:
    """Tell whether a host of a URL is the machine that asks."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is one that only this machine reaches."""
    return is_this_machine(host) and host not in {"0.0.0.0", "::", ""}  # noqa: S104 - compared


def _retry_after_s(response: httpx.Response) -> float:
    try:
        wish_s = float(response.headers.get("Retry-After", DEFAULT_RETRY_AFTER_S))
    except ValueError:  # the header may also be a date
        wish_s = DEFAULT_RETRY_AFTER_S
    return min(max(wish_s, 0.1), MAX_RETRY_AFTER_S)


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError as error:
        raise CommandFailed(
            f"{response.url} did not answer with JSON; is that a cacscore service?"
        ) from error
    if not isinstance(document, dict):
        raise CommandFailed(f"{response.url} did not answer with a JSON object.")
    return document


def _problem(response: httpx.Response) -> Problem | None:
    """Return the problem object of an answer, None where it has none (a proxy's own page)."""
    try:
        document = response.json()
        return Problem(
            str(document["code"]),
            str(document["title"]),
            str(document["detail"]),
            dict(document.get("evidence") or {}),
        )
    except (ValueError, KeyError, TypeError):
        return None
