"""Pushes of results to destinations, and which ones a job names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.adapters.database.columns import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty: what was scored before is pushed when it is asked for."""
    op.add_column("jobs", sa.Column("destinations", sa.JSON(none_as_null=True)))
    op.create_table(
        "pushes",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column(
            "study_id",
            sa.String(26),
            sa.ForeignKey("studies.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "job_id", sa.String(32), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("job_number", sa.Integer, nullable=False),
        sa.Column("result_key", sa.String(128), nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("requested_at", UtcDateTime, nullable=False),
        sa.Column("next_attempt_at", UtcDateTime),
        sa.Column("sent_at", UtcDateTime),
        sa.Column("committed_at", UtcDateTime),
        sa.Column("commitment_uid", sa.String(64)),
        sa.Column("last_outcome", sa.String(255)),
    )
    op.create_index("ix_pushes_next_attempt_at", "pushes", ["next_attempt_at"])
    op.create_index("ix_pushes_study_id", "pushes", ["study_id"])
    op.create_index("ix_pushes_commitment_uid", "pushes", ["commitment_uid"])
