"""Around every request: its id, a line in the log, safe headers, and an answer whatever happens."""

from __future__ import annotations

import re
import time
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import PROBLEM_CODE, internal_error
from service.api.telemetry import GatewayTelemetry
from service.application.jobs import STUDY_ID_PATTERN
from service.application.telemetry import REQUEST_ID, request_id_of

REQUEST_ID_HEADER: Final = "X-Request-ID"

_log = structlog.get_logger(__name__)

_HEADERS: Final = {
    # What is served belongs to a patient: no cache keeps it, no browser guesses its type.
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # Nothing that is served is a page, and no page of anybody may show or embed it.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class RequestGuard:
    """Logs, counts and traces each request by its route, not its path; a crash is a problem."""

    def __init__(self, app: ASGIApp, *, telemetry: GatewayTelemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = request_id_of(headers.get(REQUEST_ID_HEADER))
        with (
            structlog.contextvars.bound_contextvars(**{REQUEST_ID: request_id}),
            self._telemetry.trace_request(scope["method"], headers) as traced,
        ):
            begun = time.monotonic()
            self._telemetry.metrics.request_begun()
            status, error = await self._answer(scope, receive, send, request_id)
            duration_s = time.monotonic() - begun
            route = getattr(scope.get("route"), "path", None)
            code = scope.get("state", {}).get(PROBLEM_CODE)
            self._telemetry.metrics.request_ended(
                method=scope["method"],
                route=route,
                status=status,
                duration_s=duration_s,
                code=code,
            )
            traced.answered(route, status, code)
            _log.log(
                _level(status, error),
                "request",
                method=scope["method"],
                route=route,
                study_id=_study_id(scope),
                status=status,
                code=code,
                duration_ms=round(duration_s * 1000),
                exc_info=error,
            )

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> tuple[int, Exception | None]:
        """Return the status that was sent, 0 for none, and the error nobody foresaw."""
        status = 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_guarded)
        except ClientDisconnect:
            pass
        except Exception as unforeseen:  # noqa: BLE001 - the last place that can answer
            if status == 0:
                scope.setdefault("state", {})[PROBLEM_CODE] = "internal_error"
                await internal_error()(scope, receive, send_guarded)
            return status, unforeseen
        return status, None


def _study_id(scope: Scope) -> str | None:
    """Return the study of the path; None where the path has something else in its place."""
    found = scope.get("path_params", {}).get("study_id")
    return found if isinstance(found, str) and re.fullmatch(STUDY_ID_PATTERN, found) else None


def _level(status: int, error: Exception | None) -> int:
    if error is not None:
        return 40
    return 20 if status < 500 else 30
