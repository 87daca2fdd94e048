"""What a request and a message carry along: the id of the request, and its trace."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

import structlog

from service.application.operations import NOBODY, AttemptObserver

REQUEST_ID: Final = "request_id"
"""Its name in the log and in the headers of a message."""

_ACCEPTED_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
"""UUIDs, ULIDs, trace ids and the like. Without dots, so that no UID passes; long enough that no
usual patient number does. Our choice."""


def request_id_of(given: str | None) -> str:
    """Return the id that a client gave its request, or a new one where that cannot be used."""
    if given is not None and _ACCEPTED_REQUEST_ID.fullmatch(given):
        return given
    return uuid.uuid4().hex


def text_headers(headers: Mapping[str, object] | None) -> dict[str, str]:
    """Return those headers of a message that are texts; a message is not trusted."""
    given = headers or {}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def current_request_id() -> str | None:
    """Return the id of the request that is being answered here, if one is."""
    found = structlog.contextvars.get_contextvars().get(REQUEST_ID)
    return found if isinstance(found, str) else None


class AnsweredRequest(Protocol):
    """The trace of one request."""

    def answered(self, route: str | None, status: int, code: str | None) -> None:
        """Say what came of it; ``code`` is that of its problem."""
        ...


class Tracing(Protocol):
    """Traces requests of a gateway and attempts of a worker; messages carry the trace between."""

    def request(
        self, method: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[AnsweredRequest]:
        """Trace a request from here to the end of the block."""
        ...

    def message_headers(self) -> dict[str, str]:
        """Return the headers by which a worker goes on with the trace of this moment."""
        ...

    def attempt(self, headers: Mapping[str, str]) -> AbstractContextManager[AttemptObserver]:
        """Observe the attempt that a message with these headers begins."""
        ...

    def close(self) -> None:
        """Send what has not been sent yet."""
        ...


class NoTracing:
    """Where no collector is named."""

    def request(
        self,
        method: str,  # noqa: ARG002
        headers: Mapping[str, str],  # noqa: ARG002
    ) -> AbstractContextManager[AnsweredRequest]:
        """Trace nothing."""
        return nullcontext(_NotTraced())

    def message_headers(self) -> dict[str, str]:
        """Return none."""
        return {}

    def attempt(
        self,
        headers: Mapping[str, str],  # noqa: ARG002
    ) -> AbstractContextManager[AttemptObserver]:
        """Trace nothing."""
        return nullcontext(NOBODY)

    def close(self) -> None:
        """Do nothing."""


class _NotTraced:
    def answered(self, route: str | None, status: int, code: str | None) -> None:
        """Do nothing."""
