"""What Alembic runs for every command: take the caller's connection and do the steps on it.

The caller (:mod:`service.adapters.database.schema`) holds the lock and the transaction; there is
no ``alembic.ini`` and no URL here.
"""

from __future__ import annotations

from alembic import context

from service.adapters.database import (  # noqa: F401 - their tables are in the metadata
    access_tables,
    crosswalk_tables,
    dicom_tables,
    job_tables,
    operations_tables,
    push_tables,
)
from service.adapters.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot change most of a table in place: batch operations copy it.
    render_as_batch=True,
    # All steps or none, on SQLite too; its driver is told where a transaction begins.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
