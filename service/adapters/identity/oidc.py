"""Bearer tokens of an OpenID Connect provider: JWTs that its published keys have signed.

Accepted is a token of exactly one issuer, for exactly one audience, not expired, signed with one of
the algorithms that the operator named: never ``none``, and never one that would take a public key
for a shared secret. The keys are fetched from the provider and kept for some minutes.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import jwt
from jwt import PyJWKClient

from service.application.access import (
    ASYMMETRIC_ALGORITHMS,
    DEFAULT_TENANT,
    Principal,
    Scope,
    check_tenant,
)
from service.application.errors import IdentityProviderUnavailable, InvalidTenant, NotAuthenticated

_DISCOVERY: Final = "/.well-known/openid-configuration"
_TIMEOUT_S: Final = 10.0
_LARGEST_DISCOVERY_BYTES: Final = 1024 * 1024
_REQUIRED_CLAIMS: Final = ["exp", "iat", "iss", "aud", "sub"]
_LONGEST_ACTOR: Final = 190


@dataclass(frozen=True)
class OidcTerms:
    """What a token must say.

    Parameters
    ----------
    issuer, audience
        As the token must have them in ``iss`` and ``aud``.
    jwks_url
        Where the keys are; found by discovery below the issuer where it is None.
    algorithms
        Of :data:`ASYMMETRIC_ALGORITHMS`.
    leeway_s
        How far the clocks of the two machines may be apart.
    tenant_claim, scope_claim
        Names of claims; without a tenant claim in the settings all tokens are of one tenant.
        Scopes are words in a text, or a list: ``read``, ``write``, ``admin``, with ``scope_prefix``
        in front.
    keys_lifetime_s
        How long fetched keys are used.
    """

    issuer: str
    audience: str
    jwks_url: str | None = None
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    leeway_s: float = 60.0
    tenant_claim: str | None = None
    scope_claim: str = "scope"
    scope_prefix: str = "cacscore:"
    keys_lifetime_s: float = 300.0


class OidcVerifier:
    """A TokenVerifier for one provider; nothing is fetched before the first token comes."""

    def __init__(self, terms: OidcTerms) -> None:
        unknown = set(terms.algorithms) - ASYMMETRIC_ALGORITHMS
        if unknown or not terms.algorithms:
            raise ValueError(f"Algorithms of tokens are some of {sorted(ASYMMETRIC_ALGORITHMS)}.")
        self._terms = terms
        self._lock = Lock()
        self._keys: PyJWKClient | None = None

    def verify(self, token: str) -> Principal:
        """Return whom a token names.

        Raises
        ------
        NotAuthenticated
            It is not a token of this provider for this service, or not any more.
        IdentityProviderUnavailable
            The keys of the provider cannot be fetched.
        """
        terms = self._terms
        try:
            if jwt.get_unverified_header(token).get("alg") not in terms.algorithms:
                raise NotAuthenticated
            key = self._key_client().get_signing_key_from_jwt(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(terms.algorithms),
                audience=terms.audience,
                issuer=terms.issuer,
                leeway=terms.leeway_s,
                options={"require": _REQUIRED_CLAIMS},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise IdentityProviderUnavailable(
                "The keys of the identity provider cannot be fetched."
            ) from error
        except (jwt.PyJWTError, ValueError) as error:
            raise NotAuthenticated from error
        return Principal(
            f"oidc:{claims['sub']}"[:_LONGEST_ACTOR], self._tenant(claims), self._scopes(claims)
        )

    def _tenant(self, claims: dict[str, Any]) -> str:
        if self._terms.tenant_claim is None:
            return DEFAULT_TENANT
        tenant = claims.get(self._terms.tenant_claim)
        if not isinstance(tenant, str):
            raise NotAuthenticated
        try:
            check_tenant(tenant)
        except InvalidTenant as error:
            raise NotAuthenticated from error
        return tenant

    def _scopes(self, claims: dict[str, Any]) -> frozenset[Scope]:
        said = claims.get(self._terms.scope_claim, "")
        words: Sequence[object] = said.split() if isinstance(said, str) else said
        if not isinstance(words, list):
            raise NotAuthenticated
        prefix = self._terms.scope_prefix
        return frozenset(scope for scope in Scope if f"{prefix}{scope}" in words)

    def _key_client(self) -> PyJWKClient:
        with self._lock:
            if self._keys is None:
                self._keys = PyJWKClient(
                    self._terms.jwks_url or _discovered_jwks_url(self._terms.issuer),
                    cache_jwk_set=True,
                    lifespan=self._terms.keys_lifetime_s,
                    timeout=_TIMEOUT_S,
                )
            return self._keys


def _discovered_jwks_url(issuer: str) -> str:
    """Ask the provider where its keys are (OpenID Connect Discovery 1.0, section 4)."""
    url = f"{issuer.rstrip('/')}{_DISCOVERY}"
    try:
        # The settings take https only, or this machine's own http.
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            document = json.loads(answer.read(_LARGEST_DISCOVERY_BYTES))
        found = {"issuer": str(document["issuer"]), "jwks_uri": str(document["jwks_uri"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _undiscovered() from error
    if found["issuer"] != issuer:
        raise _undiscovered()
    return found["jwks_uri"]


def _undiscovered() -> IdentityProviderUnavailable:
    return IdentityProviderUnavailable(
        "The identity provider does not say where its keys are; set CACSCORE_OIDC_JWKS_URL."
    )
