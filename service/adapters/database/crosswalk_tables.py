"""Table of who pseudonyms stand for; the originals are sealed."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, String, Table

from service.adapters.database.columns import UtcDateTime
from service.adapters.database.tables import metadata, studies

crosswalk_entries = Table(
    "crosswalk_entries",
    metadata,
    # A study that is deleted takes its entries with it.
    Column("study_id", ForeignKey(studies.c.id, ondelete="CASCADE"), primary_key=True),
    Column("pseudonym", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("sealed_original", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_crosswalk_entries_pseudonym", "pseudonym"),
)
