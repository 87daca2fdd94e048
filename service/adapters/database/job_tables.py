"""Tables beside the jobs: what happened to them, and whom to tell when they end."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, String, Table

from service.adapters.database.columns import UtcDateTime
from service.adapters.database.tables import metadata, studies

job_events = Table(
    "job_events",
    metadata,
    Column("study_id", ForeignKey(studies.c.id, ondelete="CASCADE"), primary_key=True),
    # 1, 2, ... within a study; what Last-Event-ID names.
    Column("number", Integer, primary_key=True),
    Column("job_number", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("progress", Float, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("problem_code", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    # Derived from the job, so that nothing can make two of them.
    Column("id", String(64), primary_key=True),
    Column("study_id", ForeignKey(studies.c.id, ondelete="CASCADE"), nullable=False),
    Column("job_number", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("problem_code", String(64)),
    Column("url", String(2048), nullable=False),
    Column("finished_at", UtcDateTime, nullable=False),
    # Attempts begun; the fence of what a sender writes.
    Column("attempt", Integer, nullable=False),
    # Null: delivered or given up.
    Column("next_attempt_at", UtcDateTime),
    Column("delivered_at", UtcDateTime),
    Column("last_outcome", String(255)),
    Index("ix_webhook_deliveries_next_attempt_at", "next_attempt_at"),
)
