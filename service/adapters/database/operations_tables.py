"""Tables that operators look at: running counts, and the workers that were seen."""

from __future__ import annotations

from sqlalchemy import Column, Float, String, Table, Text

from service.adapters.database.columns import UtcDateTime
from service.adapters.database.tables import metadata

tallies = Table(
    "tallies",
    metadata,
    # What is counted, and of which kind: both are words of ours, never of an upload.
    Column("name", String(32), primary_key=True),
    Column("label", String(200), primary_key=True),
    Column("value", Float, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("model_name", String(128)),
    Column("model_version", String(64)),
    Column("execution_provider", String(64)),
    Column("detail", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)
