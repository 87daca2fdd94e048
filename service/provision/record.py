"""The record of a first start: its schema, and the keys whose text is in files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from service.adapters.database.engine import open_engine
from service.adapters.database.key_store import SqlKeyStore
from service.adapters.database.schema import upgrade_schema
from service.application.access import Scope, adopt_key
from service.provision.secret_files import FIRST_KEY, METRICS_KEY
from service.settings import Settings

KEYS: Final = ((FIRST_KEY, Scope.ADMIN), (METRICS_KEY, Scope.READ))
"""Files of keys, and what each may do."""


def provide_record(settings: Settings, keys: Path) -> list[str]:
    """Bring the schema to that of this code and adopt the keys; return the names of new ones.

    A key that the record knows, revoked or not, is left as it is.

    Raises
    ------
    RecordUnavailable, RecordSchemaUnknown
        The database is away, or has the schema of a later release.
    """
    engine = open_engine(settings.record_url)
    try:
        upgrade_schema(engine)
        store = SqlKeyStore(engine)
        adopted = []
        for name, scope in KEYS:
            text = (keys / name).read_text(encoding="utf-8").strip()
            if adopt_key(store, text, name=name, scopes=(scope,)):
                adopted.append(name)
        return adopted
    finally:
        engine.dispose()
