"""What tests do to a database that is theirs alone."""

from __future__ import annotations

from sqlalchemy import Engine, MetaData


def drop_everything(engine: Engine) -> None:
    """Leave the database as it was before its first upgrade."""
    everything = MetaData()
    everything.reflect(engine)
    everything.drop_all(engine)
