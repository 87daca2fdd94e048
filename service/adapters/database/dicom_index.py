"""Finding the DICOM objects of results in SQL.

Rows are of the newest result of each study. The same series in two uploads gives the same UIDs in
two studies: an answer has each UID once, the newest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Row,
    String,
    cast,
    delete,
    distinct,
    func,
    insert,
    select,
)

from service.adapters.database.dicom_tables import result_instances as table
from service.adapters.database.tables import studies
from service.adapters.database.transactions import transaction
from service.application.result_instances import (
    LEVEL_TAGS,
    MODALITIES_IN_STUDY,
    SERIES_UID,
    SOP_CLASS,
    SOP_UID,
    STUDY_UID,
    DicomQuery,
    Match,
    QueryLevel,
    ResultInstance,
    StoredInstance,
    first_text,
)

_ESCAPE: Final = "\\"
_MODALITY: Final = "00080060"
_PERSON_TAGS: Final = frozenset({"00100010", "00080090"})

_COLUMNS: Final[dict[str, Column[Any]]] = {
    STUDY_UID: table.c.study_instance_uid,
    SERIES_UID: table.c.series_instance_uid,
    SOP_UID: table.c.sop_instance_uid,
    SOP_CLASS: table.c.sop_class_uid,
    "00100020": table.c.patient_id,
    "00080050": table.c.accession_number,
    "00080020": table.c.study_date,
}

_KEY_OF_LEVEL: Final = {
    QueryLevel.STUDY: table.c.study_instance_uid,
    QueryLevel.SERIES: table.c.series_instance_uid,
    QueryLevel.INSTANCE: table.c.sop_instance_uid,
}


def keep_instances(
    connection: Connection,
    study_id: str,
    result_key: str,
    instances: Sequence[ResultInstance],
    now: datetime,
) -> None:
    """Let queries find these objects of a study instead of any before."""
    connection.execute(delete(table).where(table.c.study_id == study_id))
    for one in instances:
        connection.execute(
            insert(table).values(
                study_id=study_id,
                sop_instance_uid=one.text(SOP_UID),
                series_instance_uid=one.text(SERIES_UID),
                study_instance_uid=one.text(STUDY_UID),
                sop_class_uid=one.text(SOP_CLASS),
                result_key=result_key,
                name=one.name,
                attributes=one.attributes,
                patient_id=one.text("00100020")[:64],
                accession_number=one.text("00080050")[:16],
                study_date=one.text("00080020")[:8],
                created_at=now,
            )
        )


class SqlDicomIndex:
    """A DicomIndex in SQLite or PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def search(self, query: DicomQuery, *, tenant: str) -> list[Match]:
        """Return matches, those of the newest results first."""
        key = _KEY_OF_LEVEL[query.level]
        matching = (
            select(key.label("uid"), func.max(table.c.created_at).label("newest"))
            .join_from(table, studies, table.c.study_id == studies.c.id)
            .where(studies.c.tenant == tenant, *_conditions(query))
            .group_by(key)
            .order_by(func.max(table.c.created_at).desc(), key)
            .limit(query.limit)
            .offset(query.offset)
        )
        with transaction(self._engine) as connection:
            uids = [row.uid for row in connection.execute(matching)]
            rows = _rows_of(connection, key, uids, tenant)
            counts = _counts_of(connection, key, uids, tenant)
        newest = {getattr(row, key.name): row for row in rows}
        modalities: dict[str, set[str]] = {}
        for row in rows:
            found = first_text(row.attributes, _MODALITY)
            modalities.setdefault(getattr(row, key.name), set()).add(found)
        return [
            Match(
                _of_levels(newest[uid].attributes, query.level),
                tuple(sorted(modalities[uid] - {""})),
                *counts[uid],
            )
            for uid in uids
        ]

    def instances(self, uids: Mapping[str, str], *, tenant: str) -> list[StoredInstance]:
        """Return every object with these UIDs (by tag), each SOP instance once, the newest."""
        with transaction(self._engine) as connection:
            rows = connection.execute(
                select(table)
                .join_from(table, studies, table.c.study_id == studies.c.id)
                .where(
                    studies.c.tenant == tenant,
                    *(_COLUMNS[tag] == uid for tag, uid in uids.items()),
                )
                .order_by(table.c.created_at, table.c.study_id, table.c.name)
            ).all()
        newest = {row.sop_instance_uid: row for row in rows}
        return [
            StoredInstance(row.study_id, row.result_key, row.name, row.attributes)
            for row in newest.values()
        ]


def _rows_of(
    connection: Connection, key: Column[Any], uids: Sequence[str], tenant: str
) -> Sequence[Row[Any]]:
    """Return the rows of these UIDs, the newest last."""
    return connection.execute(
        select(table)
        .join_from(table, studies, table.c.study_id == studies.c.id)
        .where(studies.c.tenant == tenant, key.in_(uids))
        .order_by(table.c.created_at, table.c.study_id, table.c.name)
    ).all()


def _counts_of(
    connection: Connection, key: Column[Any], uids: Sequence[str], tenant: str
) -> dict[str, tuple[int, int]]:
    """Return how many series and objects belong to each UID."""
    rows = connection.execute(
        select(
            key.label("uid"),
            func.count(distinct(table.c.series_instance_uid)).label("series"),
            func.count(distinct(table.c.sop_instance_uid)).label("instances"),
        )
        .join_from(table, studies, table.c.study_id == studies.c.id)
        .where(studies.c.tenant == tenant, key.in_(uids))
        .group_by(key)
    ).all()
    return {row.uid: (row.series, row.instances) for row in rows}


def _conditions(query: DicomQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        _COLUMNS[tag].in_(uids) for tag, uids in query.uids.items()
    ]
    for tag, (first, last) in query.ranges.items():
        value = _value(tag)
        conditions.append(value != "")
        if first:
            conditions.append(value >= first)
        if last:
            # 1030 covers 103059: what is not said is everything.
            conditions.append(func.substr(value, 1, len(last)) <= last)
    for tag, words in query.words.items():
        value = _value(_MODALITY if tag == MODALITIES_IN_STUDY else tag)
        if tag in _PERSON_TAGS:
            value, words = func.lower(value), words.lower()  # noqa: PLW2901 - the same, folded
        conditions.append(
            value.like(_pattern(words), escape=_ESCAPE)
            if "*" in words or "?" in words
            else value == words
        )
    return conditions


def _value(tag: str) -> Any:  # noqa: ANN401 - an expression of SQLAlchemy of one of many classes
    """Return the expression of an attribute's first value."""
    if tag in _COLUMNS:
        return _COLUMNS[tag]
    value = table.c.attributes[(tag, "Value", 0)]
    if tag in _PERSON_TAGS:
        value = table.c.attributes[(tag, "Value", 0, "Alphabetic")]
    # Numbers of a series or instance are numbers in DICOM JSON.
    return cast(value.as_string(), String)


def _pattern(words: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        words = words.replace(special, _ESCAPE + special)
    return words.replace("*", "%").replace("?", "_")


def _of_levels(attributes: Mapping[str, Any], level: QueryLevel) -> dict[str, Any]:
    """Return the attributes of a level and of those above it."""
    levels = list(QueryLevel)
    tags = [tag for one in levels[: levels.index(level) + 1] for tag in LEVEL_TAGS[one]]
    return {tag: attributes[tag] for tag in tags if tag in attributes}
