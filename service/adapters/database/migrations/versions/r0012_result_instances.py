"""The DICOM objects of results, for queries over DICOMweb."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.adapters.database.columns import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_INDEXED = (
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "patient_id",
    "accession_number",
)


def upgrade() -> None:
    """Create the table, empty: results of earlier releases are found once they are rerun."""
    op.create_table(
        "result_instances",
        sa.Column(
            "study_id",
            sa.String(26),
            sa.ForeignKey("studies.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("result_key", sa.String(128), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("patient_id", sa.String(64), nullable=False),
        sa.Column("accession_number", sa.String(16), nullable=False),
        sa.Column("study_date", sa.String(8), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    for column in _INDEXED:
        op.create_index(f"ix_result_instances_{column}", "result_instances", [column])
