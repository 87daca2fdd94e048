"""API keys in SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Row, insert, select, update

from service.adapters.database.access_tables import api_keys
from service.adapters.database.engine import WRITES
from service.adapters.database.transactions import transaction
from service.application.access import ApiKey, Scope


class SqlKeyStore:
    """A KeyStore in SQLite or PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{WRITES: True})

    def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        with transaction(self._writers) as connection:
            connection.execute(
                insert(api_keys).values(
                    id=key.key_id,
                    name=key.name,
                    tenant=key.tenant,
                    scopes=" ".join(sorted(key.scopes)),
                    secret_sha256=key.secret_sha256,
                    created_at=key.created_at,
                    expires_at=key.expires_at,
                    revoked_at=key.revoked_at,
                )
            )

    def find(self, key_id: str) -> ApiKey | None:
        """Return a key, revoked or not; None where there is none of this id."""
        with transaction(self._readers) as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
        return None if row is None else _key(row)

    def all(self) -> list[ApiKey]:
        """Return every key, the oldest first."""
        with transaction(self._readers) as connection:
            rows = connection.execute(
                select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
            ).all()
        return [_key(row) for row in rows]

    def update(self, key: ApiKey) -> None:
        """Keep the times of a key that is there already."""
        with transaction(self._writers) as connection:
            connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key.key_id)
                .values(expires_at=key.expires_at, revoked_at=key.revoked_at)
            )


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        key_id=row.id,
        name=row.name,
        tenant=row.tenant,
        scopes=frozenset(Scope(word) for word in row.scopes.split()),
        secret_sha256=row.secret_sha256,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
