"""Tables of who may come in and of what they did; a study's tenant stands in its own row."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table

from service.adapters.database.columns import UtcDateTime
from service.adapters.database.tables import metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("tenant", String(63), nullable=False),
    # Words with a space between them.
    Column("scopes", String(40), nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    # 1, 2, 3 without a gap: the chain counts itself.
    Column(
        "number",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("tenant", String(63), nullable=False),
    Column("action", String(100), nullable=False),
    Column("study_id", String(26)),
    Column("previous_sha256", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
)
