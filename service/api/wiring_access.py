"""What the door of the gateway is made of."""

from __future__ import annotations

from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.engine import open_engine
from service.adapters.database.key_store import SqlKeyStore
from service.adapters.identity.oidc import OidcTerms, OidcVerifier
from service.adapters.rate_limits.buckets import BucketTerms, InProcessBuckets, RedisBuckets
from service.api.access import Access, Buckets, UploadSlots
from service.application.access import Doorkeeper
from service.settings import Settings


def gateway_access(settings: Settings) -> Access:
    """Return the door; nothing is connected until it is used."""
    engine = open_engine(settings.record_url)
    return Access(
        doorkeeper=Doorkeeper(SqlKeyStore(engine), tokens=_verifier(settings))
        if settings.auth == "required"
        else None,
        buckets=_buckets(settings),
        uploads=UploadSlots(settings.uploads_at_once_per_key),
        audit=SqlAuditLog(engine),
    )


def _verifier(settings: Settings) -> OidcVerifier | None:
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        return None
    return OidcVerifier(
        OidcTerms(
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience,
            jwks_url=settings.oidc_jwks_url,
            algorithms=settings.oidc_algorithms,
            leeway_s=settings.oidc_leeway_s,
            tenant_claim=settings.oidc_tenant_claim,
            scope_claim=settings.oidc_scope_claim,
            scope_prefix=settings.oidc_scope_prefix,
        )
    )


def _buckets(settings: Settings) -> Buckets | None:
    if settings.rate_limit_per_s == 0:
        return None
    terms = BucketTerms(settings.rate_limit_per_s, settings.rate_limit_burst)
    url = "" if settings.broker_url is None else settings.broker_url.get_secret_value()
    # A broker of files, where no server can run, has only one gateway.
    return RedisBuckets(url, terms) if url.startswith("redis") else InProcessBuckets(terms)
