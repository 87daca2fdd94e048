"""Who asks, for whom, and what they may do; no technology.

A caller is known by an API key or by a bearer token of an identity provider. Either names a
tenant, an organisation whose studies nobody else sees, and scopes: ``admin`` may all that ``write``
may, and ``write`` all that ``read`` may.

A key is ``cacs_`` + its id + ``_`` + a secret of 256 random bits. Only the SHA-256 of the secret is
kept: a password would need a slow hash, 256 random bits cannot be guessed from a fast one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from service.application.errors import (
    InvalidTenant,
    KeyNotFound,
    NotAllowed,
    NotAuthenticated,
    ProvisioningRefused,
)

DEFAULT_TENANT: Final = "default"
"""Whose studies are those of a service without authentication."""

TENANT_PATTERN: Final = r"[a-z0-9][a-z0-9_-]{0,62}"
"""Letters, digits, ``-`` and ``_``; begins with a letter or digit."""

ASYMMETRIC_ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Signatures of tokens that only the provider can make (RFC 7518 3.1, RFC 8037)."""

KEY_PREFIX: Final = "cacs"
_KEY_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_KEY: Final = re.compile(rf"{KEY_PREFIX}_([0-9a-f]{{{2 * _KEY_ID_BYTES}}})_([A-Za-z0-9_-]{{43}})")


class Scope(StrEnum):
    """What a caller may do; each includes those before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        """Tell whether who has this scope may do what the other one allows."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Principal:
    """Who asks. ``actor`` names a key or a subject in the audit log, no person's name."""

    actor: str
    tenant: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Raise NotAllowed unless one of the scopes includes this one."""
        if not any(own.includes(scope) for own in self.scopes):
            raise NotAllowed(scope)


LOCAL: Final = Principal("local", DEFAULT_TENANT, frozenset({Scope.ADMIN}))
"""Whoever asks a service without authentication, on its own machine."""


@dataclass(frozen=True)
class ApiKey:
    """A key as it is kept; ``secret_sha256`` in hex, times in UTC."""

    key_id: str
    name: str
    tenant: str
    scopes: frozenset[Scope]
    secret_sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid_at(self, time: datetime) -> bool:
        """Tell whether the key opens anything at this time."""
        if self.revoked_at is not None and self.revoked_at <= time:
            return False
        return self.expires_at is None or time < self.expires_at


class KeyStore(Protocol):
    """Keeps API keys."""

    def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        ...

    def find(self, key_id: str) -> ApiKey | None:
        """Return a key, revoked or not; None where there is none of this id."""
        ...

    def all(self) -> list[ApiKey]:
        """Return every key, the oldest first."""
        ...

    def update(self, key: ApiKey) -> None:
        """Keep the times of a key that is there already."""
        ...


class TokenVerifier(Protocol):
    """Knows the tokens of an identity provider."""

    def verify(self, token: str) -> Principal:
        """Return whom a token names; NotAuthenticated where it is not good."""
        ...


def utc_now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


def create_key(
    keys: KeyStore,
    *,
    name: str,
    tenant: str = DEFAULT_TENANT,
    scopes: Iterable[Scope] = (Scope.READ, Scope.WRITE),
    lifetime: timedelta | None = None,
    now: Callable[[], datetime] = utc_now,
) -> tuple[ApiKey, str]:
    """Make a key; return it with the text that its owner needs and that is never shown again."""
    check_tenant(tenant)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    created_at = now()
    key = ApiKey(
        key_id=secrets.token_hex(_KEY_ID_BYTES),
        name=name,
        tenant=tenant,
        scopes=frozenset(scopes),
        secret_sha256=_sha256(secret),
        created_at=created_at,
        expires_at=None if lifetime is None else created_at + lifetime,
    )
    keys.add(key)
    return key, f"{KEY_PREFIX}_{key.key_id}_{secret}"


def new_key_text() -> str:
    """Return the text of a key that no store knows yet; ``adopt_key`` makes it known."""
    return f"{KEY_PREFIX}_{secrets.token_hex(_KEY_ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def adopt_key(
    keys: KeyStore,
    text: str,
    *,
    name: str,
    scopes: Iterable[Scope],
    tenant: str = DEFAULT_TENANT,
    now: Callable[[], datetime] = utc_now,
) -> bool:
    """Keep a key whose text was made before there was a store; False where it is there already.

    A key that was revoked stays revoked.

    Raises
    ------
    ProvisioningRefused
        The text is not that of a key.
    """
    match = _KEY.fullmatch(text)
    if match is None:
        raise ProvisioningRefused(
            f"The text of the API key {name!r} is not one: {KEY_PREFIX}_, 12 hexadecimal digits, "
            "_ and 43 letters, digits, '-' and '_' are."
        )
    if keys.find(match[1]) is not None:
        return False
    check_tenant(tenant)
    keys.add(ApiKey(match[1], name, tenant, frozenset(scopes), _sha256(match[2]), now()))
    return True


def rotate_key(
    keys: KeyStore, key_id: str, *, overlap: timedelta, now: Callable[[], datetime] = utc_now
) -> tuple[ApiKey, str]:
    """Make a successor with the same rights; the old key still opens for ``overlap``."""
    old = _find(keys, key_id)
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    made = create_key(
        keys, name=old.name, tenant=old.tenant, scopes=old.scopes, lifetime=lifetime, now=now
    )
    end = now() + overlap
    if old.is_valid_at(end):
        keys.update(replace(old, expires_at=end))
    return made


def revoke_key(keys: KeyStore, key_id: str, *, now: Callable[[], datetime] = utc_now) -> ApiKey:
    """Close a key at once; KeyNotFound where there is none."""
    key = _find(keys, key_id)
    revoked = key if key.revoked_at is not None else replace(key, revoked_at=now())
    keys.update(revoked)
    return revoked


def check_tenant(tenant: str) -> None:
    """Raise InvalidTenant unless this may name a tenant."""
    if re.fullmatch(TENANT_PATTERN, tenant) is None:
        raise InvalidTenant


class Doorkeeper:
    """Tells who asks by what they carry."""

    def __init__(
        self,
        keys: KeyStore,
        *,
        tokens: TokenVerifier | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._now = now

    def principal_of(self, credential: str | None) -> Principal:
        """Return whom an API key or bearer token names.

        Raises
        ------
        NotAuthenticated
            There is none, or it is unknown, expired, revoked or forged; which of these is not said.
        """
        if not credential:
            raise NotAuthenticated
        if credential.startswith(f"{KEY_PREFIX}_"):
            return self._by_key(credential)
        if self._tokens is None:
            raise NotAuthenticated
        return self._tokens.verify(credential)

    def _by_key(self, credential: str) -> Principal:
        match = _KEY.fullmatch(credential)
        if match is None:
            raise NotAuthenticated
        key = self._keys.find(match[1])
        expected = key.secret_sha256 if key is not None else _sha256("no such key")
        is_right = hmac.compare_digest(expected, _sha256(match[2]))
        if key is None or not is_right or not key.is_valid_at(self._now()):
            raise NotAuthenticated
        return Principal(f"key:{key.key_id}", key.tenant, key.scopes)


def _find(keys: KeyStore, key_id: str) -> ApiKey:
    key = keys.find(key_id)
    if key is None:
        raise KeyNotFound(key_id)
    return key


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
