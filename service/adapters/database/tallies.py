"""Running counts in the record, added to within the transaction of what they count."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from service.adapters.database.operations_tables import tallies

SEPARATOR: Final = "\x1f"
"""Between the parts of a label; the unit separator of ASCII is in no name of a model."""


class TallyName(StrEnum):
    """What is counted."""

    SCORES = "scores"
    """By model name and version."""
    FAILURES = "failures"
    """Jobs that ended without a score, by code."""
    ATTEMPTS = "attempts"
    """By outcome."""
    STAGE_COUNT = "stage_count"
    STAGE_SUM_S = "stage_sum_s"
    STAGE_WITHIN = "stage_within"
    """By stage and upper bound in seconds."""


TallyKey = tuple[TallyName, str]


def tally_key(name: TallyName, *label: str) -> TallyKey:
    """Return the key of one count; ``label`` says of which kind."""
    return name, SEPARATOR.join(label)


def add_to_tallies(connection: Connection, amounts: Mapping[TallyKey, float]) -> None:
    """Add to running counts; those that do not exist yet begin at zero."""
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    # Always in the same order: two transactions that add to the same rows never wait in a circle.
    for name, label in sorted(amounts):
        row = make(tallies).values(name=name, label=label, value=amounts[name, label])
        connection.execute(
            row.on_conflict_do_update(
                index_elements=[tallies.c.name, tallies.c.label],
                set_={"value": tallies.c.value + row.excluded.value},
            )
        )
