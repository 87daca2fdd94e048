"""Who pseudonyms stand for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.adapters.database.columns import UtcDateTime

revision = "0040"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty."""
    op.create_table(
        "crosswalk_entries",
        sa.Column(
            "study_id",
            sa.String(26),
            sa.ForeignKey("studies.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("pseudonym", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("sealed_original", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_crosswalk_entries_pseudonym", "crosswalk_entries", ["pseudonym"])
