"""What jobs need to be steered: priority, options, who works on them; events; webhook outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.adapters.database.columns import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns to jobs, and two tables."""
    op.add_column("jobs", sa.Column("priority", sa.Integer, nullable=False, server_default="1"))
    op.add_column("jobs", sa.Column("options", sa.JSON(none_as_null=True)))
    op.add_column("jobs", sa.Column("callback_url", sa.String(2048)))
    op.add_column("jobs", sa.Column("worker", sa.String(255)))
    op.add_column("jobs", sa.Column("last_exit", sa.String(64)))
    op.create_index("ix_jobs_status_finished_at", "jobs", ["status", "finished_at"])
    events = op.create_table(
        "job_events",
        sa.Column(
            "study_id",
            sa.String(26),
            sa.ForeignKey("studies.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("job_number", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("problem_code", sa.String(64)),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    # What is known of studies that are there already becomes their first event.
    jobs = sa.table(
        "jobs",
        *(
            sa.column(name)
            for name in ("study_id", "number", "status", "stage", "progress", "attempt")
        ),
        sa.column("problem", sa.JSON),
        sa.column("updated_at"),
    )
    known = sa.select(
        jobs.c.study_id,
        jobs.c.number,
        jobs.c.number,
        jobs.c.status,
        jobs.c.stage,
        jobs.c.progress,
        jobs.c.attempt,
        jobs.c.problem["code"].as_string(),
        jobs.c.updated_at,
    )
    op.execute(events.insert().from_select([column.name for column in events.columns], known))
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column(
            "study_id",
            sa.String(26),
            sa.ForeignKey("studies.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("job_number", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("problem_code", sa.String(64)),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("finished_at", UtcDateTime, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", UtcDateTime),
        sa.Column("delivered_at", UtcDateTime),
        sa.Column("last_outcome", sa.String(255)),
    )
    op.create_index(
        "ix_webhook_deliveries_next_attempt_at", "webhook_deliveries", ["next_attempt_at"]
    )
