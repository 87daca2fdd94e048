"""A request that is no upload has a small body, whatever it says of its length.

The framework reads a JSON body whole before any route is asked: without a limit one request could
take all memory.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem_response
from service.application.problem import Problem

LARGEST_BODY_BYTES: Final = 1024 * 1024
"""Documents that are sent have some hundred bytes; our choice."""


class BodyLimit:
    """Answers 413 to a body beyond the limit, before it is in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or _streams(scope):
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > LARGEST_BODY_BYTES:
            await _too_large()(scope, receive, send)
            return
        messages: list[Message] = []
        taken = 0
        while True:
            message = await receive()
            messages.append(message)
            taken += len(message.get("body", b""))
            if taken > LARGEST_BODY_BYTES:
                await _too_large()(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body", False):
                break

        async def receive_again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, receive_again, send)


def _streams(scope: Scope) -> bool:
    """Tell whether a route reads its body piece by piece, with limits of its own."""
    path = str(scope["path"]).rstrip("/")
    if path == "/studies":
        return True
    if path == "/dicomweb/studies":
        return True
    if path.startswith("/dicomweb/studies/") and path.count("/") == 3:
        return True
    return path == "/uploads" or (path.startswith("/uploads/") and path.count("/") == 2)


def _too_large() -> Response:
    return problem_response(
        Problem(
            "body_too_large",
            "The body is too large",
            f"Bodies of this path have at most {LARGEST_BODY_BYTES} bytes.",
            {"limit_bytes": LARGEST_BODY_BYTES},
        ),
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    )
