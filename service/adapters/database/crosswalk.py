"""The crosswalk in SQL: whoever has the database and not the key learns nothing from it.

An original is sealed with Fernet (AES-128-CBC and HMAC-SHA-256) under a key that follows from that
of the pseudonyms by HKDF (RFC 5869); a pseudonym says nothing by itself.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from service.adapters.database.crosswalk_tables import crosswalk_entries
from service.adapters.database.engine import WRITES
from service.adapters.database.tables import studies
from service.adapters.database.transactions import transaction
from service.application.access import utc_now
from service.application.crosswalk import CrosswalkEntry, FoundEntry
from service.application.errors import CrosswalkSealed

_PURPOSE: Final = b"cacscore crosswalk"


class SqlCrosswalk:
    """A Crosswalk in SQLite or PostgreSQL."""

    def __init__(
        self, engine: Engine, key: bytes, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{WRITES: True})
        derived = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(key)
        self._seal = Fernet(base64.urlsafe_b64encode(derived))
        self._now = now

    def add(self, study_id: str, entries: Iterable[CrosswalkEntry]) -> None:
        """Remember who a study is about; the same entries again change nothing."""
        # Another attempt may add the same at the same time.
        with suppress(IntegrityError), transaction(self._writers) as connection:
            known = set(
                connection.execute(
                    select(crosswalk_entries.c.pseudonym).where(
                        crosswalk_entries.c.study_id == study_id
                    )
                ).scalars()
            )
            rows = [
                {
                    "study_id": study_id,
                    "pseudonym": one.pseudonym,
                    "kind": one.kind,
                    "sealed_original": self._seal.encrypt(one.original.encode()),
                    "created_at": self._now(),
                }
                for one in entries
                if one.pseudonym not in known
            ]
            if rows:
                connection.execute(insert(crosswalk_entries), rows)

    def find(self, pseudonym: str) -> list[FoundEntry]:
        """Return what stands behind a pseudonym; CrosswalkSealed where the key is another one."""
        with transaction(self._readers) as connection:
            rows = connection.execute(
                select(crosswalk_entries, studies.c.tenant)
                .join(studies, studies.c.id == crosswalk_entries.c.study_id)
                .where(crosswalk_entries.c.pseudonym == pseudonym)
                .order_by(crosswalk_entries.c.created_at, crosswalk_entries.c.study_id)
            ).all()
        try:
            return [
                FoundEntry(
                    CrosswalkEntry(
                        row.pseudonym, row.kind, self._seal.decrypt(row.sealed_original).decode()
                    ),
                    row.study_id,
                    row.tenant,
                    row.created_at,
                )
                for row in rows
            ]
        except InvalidToken as error:
            raise CrosswalkSealed(
                "The entry was sealed with another key than CACSCORE_DEIDENTIFY_KEY; set the key "
                "that the study was de-identified with."
            ) from error
