"""The audit log on both databases: only its end can be written."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from service.adapters.database.audit_log import SqlAuditLog
from service.application.access import LOCAL
from service.application.audit import verify_chain

CHANGES = {
    "update": "UPDATE audit_entries SET actor = 'nobody'",
    "update of one": "UPDATE audit_entries SET action = 'x' WHERE number = 1",
    "delete": "DELETE FROM audit_entries",
    "delete of the last": "DELETE FROM audit_entries WHERE number = 3",
    "truncate": "TRUNCATE audit_entries",
    "truncate of all": "TRUNCATE audit_entries, studies CASCADE",
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_entry_can_neither_be_changed_nor_removed(engine: Engine, what: str) -> None:
    log = SqlAuditLog(engine)
    for action in ("GET /a", "GET /b", "GET /c"):
        log.append(LOCAL, action, None)
    before = list(log.entries())
    if "truncate" in what and engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")

    with (
        pytest.raises(DBAPIError, match="audit entries are never changed"),
        engine.begin() as connection,
    ):
        connection.exec_driver_sql(CHANGES[what])

    assert list(log.entries()) == before
    assert verify_chain(before).entry_count == 3
    log.append(LOCAL, "GET /d", None)
    assert verify_chain(log.entries()).is_sound
