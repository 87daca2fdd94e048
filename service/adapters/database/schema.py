"""The schema of the record: which one a database has, and how it comes to be today's.

Alembic's revisions lie in the package, so that an installed wheel can upgrade a record. Gateways
upgrade when they start; several may do so at once, the first one does the work.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from service.adapters.database.engine import WRITES
from service.application.errors import RecordSchemaUnknown, RecordUnavailable

BASELINE_REVISION: Final = "0001"

BASELINE_TABLES: Final = frozenset({"studies", "jobs", "results"})
"""What releases before Alembic made."""

_MIGRATIONS: Final = Path(__file__).parent / "migrations"

_POSTGRESQL_LOCK: Final = 0x63616373636F7265
"""Key of the advisory lock of an upgrade: "cacscore" in ASCII. Our choice."""

# Which dialect is spoken is no news; what goes wrong is.
logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)

_WAY_OUT: Final = "Run `cacscore db upgrade`, or start a gateway of this version first."


@dataclass(frozen=True)
class SchemaState:
    """Revision of a database, None where it is empty, and the one that this code needs."""

    found: str | None
    needed: str

    @property
    def is_current(self) -> bool:
        """Whether the code and the database fit."""
        return self.found == self.needed


def schema_state(engine: Engine) -> SchemaState:
    """Return which schema the record has; RecordUnavailable where it cannot be read."""
    with _translated(), engine.connect() as connection:
        return SchemaState(_revision(connection), _scripts().get_current_head() or "")


def require_current_schema(engine: Engine) -> None:
    """Raise RecordSchemaUnknown unless the record has exactly the schema of this code."""
    state = schema_state(engine)
    if not state.is_current:
        raise _unknown(state)


def upgrade_schema(engine: Engine) -> SchemaState:
    """Bring the record to today's schema; return which one it had before.

    Everything is one transaction under a lock: a process that is killed in between leaves the
    schema it found, and processes that come at once wait for each other.

    Raises
    ------
    RecordSchemaUnknown
        The record has a schema that this code does not know: it was made by a newer release.
    RecordUnavailable
        The database cannot be reached.
    """
    scripts = _scripts()
    with _translated(), _upgrading(engine) as connection:
        state = SchemaState(_revision(connection), scripts.get_current_head() or "")
        known = {script.revision for script in scripts.walk_revisions()}
        if state.found is not None and state.found not in known:
            raise _unknown(state)
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        if state.found == BASELINE_REVISION and not _has_table(connection, "alembic_version"):
            command.stamp(config, BASELINE_REVISION)
        if not state.is_current:
            command.upgrade(config, "head")
        return state


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS))


def _revision(connection: Connection) -> str | None:
    """Return the revision of the database; tables from before Alembic are the baseline."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None and set(inspect(connection).get_table_names()) >= BASELINE_TABLES:
        return BASELINE_REVISION
    return found


def _has_table(connection: Connection, name: str) -> bool:
    return inspect(connection).has_table(name)


@contextmanager
def _upgrading(engine: Engine) -> Iterator[Connection]:
    """Give a connection in a transaction that nobody else upgrades in."""
    with engine.connect().execution_options(**{WRITES: True}) as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        if is_sqlite:
            # A table that is copied and dropped must not take the rows that refer to it along;
            # within a transaction SQLite ignores this.
            driver = connection.connection.driver_connection
            if driver is not None:
                driver.execute("PRAGMA foreign_keys = OFF")
        try:
            with connection.begin():
                if not is_sqlite:
                    connection.execute(
                        text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK}
                    )
                yield connection
                if is_sqlite:
                    _check_references(connection)
        finally:
            # The next user of the pool gets a connection that checks references again.
            connection.invalidate()


def _check_references(connection: Connection) -> None:
    if connection.execute(text("PRAGMA foreign_key_check")).first() is not None:
        raise RecordUnavailable("The upgrade would have left rows that refer to nothing.")


def _unknown(state: SchemaState) -> RecordSchemaUnknown:
    known = {script.revision for script in _scripts().walk_revisions()}
    is_older = state.found is None or state.found in known
    return RecordSchemaUnknown(
        found=state.found,
        needed=state.needed,
        way_out=_WAY_OUT if is_older else "It was made by a newer release: install that one.",
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise RecordUnavailable(
            f"The database did not do what was asked ({type(error.orig).__name__})."
        ) from error
