"""The one door: every request passes here before any route sees it.

Who asks, how often, for whom, and may they? The check hangs on the application, not on routes, so
that a new route is behind it without a word: reading needs scope ``read``, everything else
``write``, and whatever names a study needs the study to be of the caller's tenant.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from fastapi import Depends, Request

from service.api.wiring import Parts
from service.application.access import LOCAL, Doorkeeper, Principal, Scope
from service.application.audit import AuditLog
from service.application.errors import NotAllowed, OnlyLocal, StudyNotFound, TooManyRequests

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/version", "/docs"})
"""What load balancers and readers of the documentation ask, without a key."""

NEEDED_SCOPES: Final = {("POST", "/studies/{study_id}/risk"): Scope.READ}
"""Where a method says less than it means: a risk is computed, nothing is kept."""

_READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

NOT_AUDITED: Final = frozenset(
    {
        ("GET", "/studies"),
        ("GET", "/studies/{study_id}"),
        ("GET", "/studies/{study_id}/events"),
        # Pieces of an upload; what it becomes is written down as a study.
        ("OPTIONS", "/uploads"),
        ("PATCH", "/uploads/{upload_id}"),
    }
)
"""Polling for a status shows nothing of a patient and would bury what does."""

UPLOAD_RETRY_AFTER_S: Final = 5.0
"""When to try again where too many uploads are under way; our choice."""

_LOCAL_NAMES: Final = frozenset({"localhost", ""})
_PROXY_HEADERS: Final = ("forwarded", "x-forwarded-for", "x-real-ip")


class Buckets(Protocol):
    """Token buckets by caller."""

    def take(self, caller: str) -> float:
        """Take a token; return 0, or how many seconds are missing to the next one."""
        ...


@dataclass(frozen=True)
class Access:
    """What the door is made of; without a doorkeeper only this machine is served."""

    doorkeeper: Doorkeeper | None
    buckets: Buckets | None
    uploads: UploadSlots
    audit: AuditLog


class UploadSlots:
    """How many uploads each caller has under way in this gateway; lives in its event loop."""

    def __init__(self, most_at_once: int) -> None:
        self._most_at_once = most_at_once
        self._taken: Counter[str] = Counter()

    @asynccontextmanager
    async def taken_by(self, principal: Principal) -> AsyncIterator[None]:
        """Hold a slot; TooManyRequests where the caller has all of theirs in use.

        Without authentication nobody can be told from anybody, and all share one machine.
        """
        if principal is not LOCAL and self._taken[principal.actor] >= self._most_at_once:
            raise TooManyRequests(
                f"{self._most_at_once} uploads of this caller are under way; wait for one to end.",
                retry_after_s=UPLOAD_RETRY_AFTER_S,
            )
        self._taken[principal.actor] += 1
        try:
            yield
        finally:
            self._taken[principal.actor] -= 1
            if not self._taken[principal.actor]:
                del self._taken[principal.actor]


def access_of(request: Request) -> Access:
    """Return the door of the application."""
    access = request.app.state.access
    if not isinstance(access, Access):
        raise TypeError("The application was started without its door.")
    return access


def authorize(request: Request, parts: Parts) -> None:
    """Let a request in or raise why not; leaves the caller in ``request.state.principal``.

    Raises
    ------
    OnlyLocal, NotAuthenticated, NotAllowed, TooManyRequests
        Of the caller.
    StudyNotFound
        The study is another tenant's: that it exists is not told.
    """
    route = getattr(request.scope.get("route"), "path", request.url.path)
    if route in OPEN_PATHS:
        return
    access = access_of(request)
    if access.doorkeeper is None:
        _require_this_machine(request)
        principal = LOCAL
    else:
        principal = access.doorkeeper.principal_of(_credential(request))
    if access.buckets is not None and access.doorkeeper is not None:
        wait_s = access.buckets.take(principal.actor)
        if wait_s > 0:
            raise TooManyRequests("This caller asks too often.", retry_after_s=wait_s)
    principal.require(needed_scope(request.method, route))
    study_id = request.path_params.get("study_id")
    if study_id is not None and parts.store.tenant_of(study_id) != principal.tenant:
        raise StudyNotFound(study_id)
    request.state.principal = principal
    if (request.method, route) not in NOT_AUDITED and request.method != "HEAD":
        access.audit.append(principal, f"{request.method} {route}", study_id)


def needed_scope(method: str, route: str) -> Scope:
    """Return the scope that a request to this route needs."""
    default = Scope.READ if method in _READING_METHODS else Scope.WRITE
    return NEEDED_SCOPES.get((method, route), default)


def _credential(request: Request) -> str | None:
    key = request.headers.get("x-api-key")
    if key is not None:
        return key
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def _require_this_machine(request: Request) -> None:
    """Raise OnlyLocal unless the request came to a loopback address under a local name.

    A name of elsewhere that leads here is how a web page makes a browser ask its own machine (DNS
    rebinding); a header of a proxy says that somebody else asks.
    """
    server = request.scope.get("server") or ("", None)
    # A unix socket has a path and no port.
    is_local = server[1] is None or _is_loopback(server[0])
    name = request.url.hostname or ""
    is_local_name = name in _LOCAL_NAMES or name.endswith(".localhost") or _is_loopback(name)
    if not is_local or not is_local_name or any(one in request.headers for one in _PROXY_HEADERS):
        raise OnlyLocal


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def caller_of(request: Request) -> Principal:
    """Return who was let in."""
    principal = request.state.principal
    if not isinstance(principal, Principal):
        raise NotAllowed(Scope.ADMIN)
    return principal


Caller = Annotated[Principal, Depends(caller_of)]
"""Who asks, for routes that need to know."""

Door = Annotated[Access, Depends(access_of)]
