"""The tables of the record as the code of today uses them.

The migrations make them; a test holds that both say the same.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from service.adapters.database.columns import UtcDateTime

metadata = MetaData()

studies = Table(
    "studies",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("folder", String(64), nullable=False, unique=True),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Whose study it is; nobody else sees it.
    Column("tenant", String(63), nullable=False, server_default="default"),
    Index("ix_studies_created_at_id", "created_at", "id"),
    Index("ix_studies_tenant_created_at_id", "tenant", "created_at", "id"),
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
    # 0 before 1; see Priority.rank.
    Column("priority", Integer, nullable=False, server_default="1"),
    # What the job asks for beyond the settings of the worker; null for nothing.
    Column("options", JSON(none_as_null=True)),
    # Who is told when the job ends.
    Column("callback_url", String(2048)),
    # Host and process of the latest attempt, and how that process ended if it was lost.
    Column("worker", String(255)),
    Column("last_exit", String(64)),
    # Names of the destinations of the results; null leaves that to the service.
    Column("destinations", JSON(none_as_null=True)),
    UniqueConstraint("study_id", "number"),
    Index("ix_jobs_status_available_at", "status", "available_at"),
    Index("ix_jobs_status_finished_at", "status", "finished_at"),
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
