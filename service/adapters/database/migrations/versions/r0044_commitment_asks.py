"""How often a destination was asked to commit to what it took, and under which UID before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what was sent before is not asked about again."""
    op.add_column("pushes", sa.Column("earlier_commitment_uid", sa.String(64)))
    op.add_column(
        "pushes", sa.Column("commitment_asks", sa.Integer, nullable=False, server_default="0")
    )
    op.create_index("ix_pushes_earlier_commitment_uid", "pushes", ["earlier_commitment_uid"])
