"""The audit log in SQL; triggers of the schema refuse to change or remove an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, insert, select, text

from service.adapters.database.access_tables import audit_entries
from service.adapters.database.engine import WRITES
from service.adapters.database.transactions import transaction
from service.application.access import Principal, utc_now
from service.application.audit import AuditEntry

_POSTGRESQL_LOCK: Final = 0x6361636175646974
"""Key of the advisory lock that lets one entry in after the other: "cacaudit". Our choice."""

_ROWS_AT_ONCE: Final = 1000


class SqlAuditLog:
    """An AuditLog in SQLite or PostgreSQL."""

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{WRITES: True})
        self._now = now

    def append(self, principal: Principal, action: str, study_id: str | None) -> None:
        """Add an entry to the end of the chain."""
        with transaction(self._writers) as connection:
            _wait_for_turn(connection)
            row = connection.execute(
                select(audit_entries).order_by(audit_entries.c.number.desc()).limit(1)
            ).one_or_none()
            entry = AuditEntry.following(
                None if row is None else _entry(row),
                at=self._now(),
                actor=principal.actor,
                tenant=principal.tenant,
                action=action,
                study_id=study_id,
            )
            connection.execute(
                insert(audit_entries).values(
                    number=entry.number,
                    at=entry.at,
                    actor=entry.actor,
                    tenant=entry.tenant,
                    action=entry.action,
                    study_id=entry.study_id,
                    previous_sha256=entry.previous_sha256,
                    sha256=entry.sha256,
                )
            )

    def entries(self) -> Iterator[AuditEntry]:
        """Give every entry in its order."""
        with transaction(self._readers) as connection:
            rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(
                select(audit_entries).order_by(audit_entries.c.number)
            )
            for row in rows:
                yield _entry(row)


def _wait_for_turn(connection: Connection) -> None:
    """SQLite lets one writer in at a time; PostgreSQL has to be asked."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        number=row.number,
        at=row.at,
        actor=row.actor,
        tenant=row.tenant,
        action=row.action,
        study_id=row.study_id,
        previous_sha256=row.previous_sha256,
        sha256=row.sha256,
    )
