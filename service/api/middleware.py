"""Around every request: a line in the log, safe headers, and an answer whatever happens."""

from __future__ import annotations

import time
from typing import Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import internal_error

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
    """Logs each request by its route, not its path; turns a crash into a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.monotonic()
        status = 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        error: Exception | None = None
        try:
            await self._app(scope, receive, send_guarded)
        except ClientDisconnect:
            pass
        except Exception as unforeseen:  # noqa: BLE001 - the last place that can answer
            error = unforeseen
            if status == 0:
                await internal_error()(scope, receive, send_guarded)
        _log.log(
            _level(status, error),
            "request",
            method=scope["method"],
            route=getattr(scope.get("route"), "path", None),
            status=status,
            duration_ms=round((time.monotonic() - begun) * 1000),
            exc_info=error,
        )


def _level(status: int, error: Exception | None) -> int:
    if error is not None:
        return 40
    return 20 if status < 500 else 30
