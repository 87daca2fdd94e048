"""The tables of the record. Later needs (retries, result versions) add rows, not columns."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A time that is aware and UTC in Python, whatever the database can keep."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Bring a time to UTC; SQLite keeps it without the zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("The record takes aware times only.")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


metadata = MetaData()

studies = Table(
    "studies",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("folder", String(64), nullable=False, unique=True),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_studies_created_at_id", "created_at", "id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("study_id", ForeignKey(studies.c.id, ondelete="CASCADE"), nullable=False),
    # 1 for the job that the upload began; the highest number is the one that is shown.
    Column("number", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("progress", Float, nullable=False),
    # Attempts begun; the fence of every write by a worker.
    Column("attempt", Integer, nullable=False),
    Column("lease_expires_at", UtcDateTime),
    # Not to be claimed before; later than creation after a failed attempt.
    Column("available_at", UtcDateTime, nullable=False),
    # When a message was last sent; null asks the reaper to send one.
    Column("announced_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("problem", JSON(none_as_null=True)),
    UniqueConstraint("study_id", "number"),
    Index("ix_jobs_status_available_at", "status", "available_at"),
)

results = Table(
    "results",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("result_key", String(128), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("model_is_provisional", Boolean, nullable=False),
    Column("agatston_score", Float, nullable=False),
    Column("slice_count", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
