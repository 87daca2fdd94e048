"""Tables of what leaves the service: pushes to destinations."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table

from service.adapters.database.columns import UtcDateTime
from service.adapters.database.tables import jobs, metadata, studies

pushes = Table(
    "pushes",
    metadata,
    # Derived from job and destination, so that nothing can make two of them.
    Column("id", String(64), primary_key=True),
    Column("study_id", ForeignKey(studies.c.id, ondelete="CASCADE"), nullable=False),
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), nullable=False),
    Column("job_number", Integer, nullable=False),
    Column("result_key", String(128), nullable=False),
    Column("destination", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    # Attempts begun; the fence of what a sender writes.
    Column("attempt", Integer, nullable=False),
    # Attempts begun since it was last asked for.
    Column("tries", Integer, nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    # Null: over. In the state "sent": when the commitment is asked for again.
    Column("next_attempt_at", UtcDateTime),
    Column("sent_at", UtcDateTime),
    Column("committed_at", UtcDateTime),
    # Transaction UID of the storage commitment that is waited for.
    Column("commitment_uid", String(64)),
    # That of the time before: a late report is taken, too.
    Column("earlier_commitment_uid", String(64)),
    # How often it was asked for; 0 while the destination has not got everything.
    Column("commitment_asks", Integer, nullable=False, server_default="0"),
    Column("last_outcome", String(255)),
    Index("ix_pushes_next_attempt_at", "next_attempt_at"),
    Index("ix_pushes_study_id", "study_id"),
    Index("ix_pushes_commitment_uid", "commitment_uid"),
    Index("ix_pushes_earlier_commitment_uid", "earlier_commitment_uid"),
)
