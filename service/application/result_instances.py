"""The DICOM objects of results, as QIDO-RS finds them and WADO-RS gives them out.

The worker, which reads DICOM, leaves the attributes of each object as DICOM JSON beside it; what a
query may ask for is kept in the record too, with the study and as long as it. The gateway reads
only that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from service.application.errors import InvalidDicomQuery

DicomJson = dict[str, Any]

AVAILABLE_TRANSFER_SYNTAX: Final = "00083002"
STUDY_UID, SERIES_UID, SOP_UID, SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"


class QueryLevel(StrEnum):
    """What a query returns one of for each match."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


LEVEL_TAGS: Final[dict[QueryLevel, tuple[str, ...]]] = {
    QueryLevel.STUDY: (
        "00080005",
        "00080020",
        "00080030",
        "00080050",
        "00080090",
        "00081030",
        "00100010",
        "00100020",
        "00100030",
        "00100040",
        STUDY_UID,
        "00200010",
    ),
    QueryLevel.SERIES: ("00080060", "0008103E", SERIES_UID, "00200011"),
    QueryLevel.INSTANCE: (
        SOP_CLASS,
        SOP_UID,
        AVAILABLE_TRANSFER_SYNTAX,
        "00200013",
        "00280008",
        "00280010",
        "00280011",
        "00280100",
    ),
}
"""Attributes that an answer has (PS3.18 tables 10.6.3-3 to 10.6.3-5) as far as the object has."""

KEPT_TAGS: Final = tuple(tag for tags in LEVEL_TAGS.values() for tag in tags)

MODALITIES_IN_STUDY: Final = "00080061"

MATCHING_KEYS: Final[dict[str, str]] = {
    "StudyInstanceUID": STUDY_UID,
    "SeriesInstanceUID": SERIES_UID,
    "SOPInstanceUID": SOP_UID,
    "SOPClassUID": SOP_CLASS,
    "PatientID": "00100020",
    "PatientName": "00100010",
    "AccessionNumber": "00080050",
    "StudyDate": "00080020",
    "StudyTime": "00080030",
    "StudyID": "00200010",
    "StudyDescription": "00081030",
    "ReferringPhysicianName": "00080090",
    "ModalitiesInStudy": MODALITIES_IN_STUDY,
    "Modality": "00080060",
    "SeriesNumber": "00200011",
    "SeriesDescription": "0008103E",
    "InstanceNumber": "00200013",
}
"""What can be asked for, by keyword or by tag."""

_TAGS: Final = {tag: tag for tag in MATCHING_KEYS.values()} | MATCHING_KEYS
_UID_TAGS: Final = frozenset({STUDY_UID, SERIES_UID, SOP_UID, SOP_CLASS})
_RANGE_TAGS: Final = frozenset({"00080020", "00080030"})
_UID: Final = re.compile(r"[0-9.]{1,64}")
_RANGE_VALUE: Final = re.compile(r"[0-9.]{1,16}|[0-9.]{0,16}-[0-9.]{0,16}")

LARGEST_LIMIT: Final = 500
"""Matches of one answer; our choice."""

LONGEST_VALUE: Final = 1024


@dataclass(frozen=True)
class ResultInstance:
    """A DICOM object among the files of a result; ``attributes`` are those of :data:`KEPT_TAGS`."""

    name: str
    attributes: DicomJson

    def text(self, tag: str) -> str:
        """Return the first value of an attribute as text; empty where there is none."""
        return first_text(self.attributes, tag)


@dataclass(frozen=True)
class StoredInstance:
    """A result's object as the record has it."""

    study_id: str
    result_key: str
    name: str
    attributes: DicomJson

    def text(self, tag: str) -> str:
        """Return the first value of an attribute as text; empty where there is none."""
        return first_text(self.attributes, tag)


@dataclass(frozen=True)
class Match:
    """One match of a query, and how many objects and series belong to it."""

    attributes: DicomJson
    modalities: tuple[str, ...] = ()
    series_count: int = 0
    instance_count: int = 0


@dataclass(frozen=True)
class DicomQuery:
    """What is looked for (PS3.18 8.3.4), all of it at once.

    ``uids`` match by list, ``ranges`` of date and time from and to, both included; ``words`` with
    ``*`` and ``?`` as in PS3.4 C.2.2.2.4, names of people without regard to case.
    """

    level: QueryLevel
    uids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    limit: int = LARGEST_LIMIT
    offset: int = 0

    @classmethod
    def of(
        cls,
        level: QueryLevel,
        parameters: Iterable[tuple[str, str]],
        *,
        limit: int,
        offset: int,
    ) -> DicomQuery:
        """Read the matching keys of a request; InvalidDicomQuery for what cannot be asked."""
        uids: dict[str, tuple[str, ...]] = {}
        ranges: dict[str, tuple[str, str]] = {}
        words: dict[str, str] = {}
        for name, value in parameters:
            tag = _TAGS.get(name.upper() if re.fullmatch("[0-9A-Fa-f]{8}", name) else name)
            if tag is None:
                raise InvalidDicomQuery(
                    f"The service cannot look for {name[:64]!r}", tuple(MATCHING_KEYS)
                )
            if len(value) > LONGEST_VALUE:
                raise InvalidDicomQuery(f"The value of {name} is too long", ())
            if value in {"", "*"}:
                continue
            if tag in _UID_TAGS:
                given = tuple(one for one in re.split(r"[,\\]", value) if one)
                if not given or not all(_UID.fullmatch(one) for one in given):
                    raise InvalidDicomQuery(f"The value of {name} is no UID", ())
                # Of the path and of the query: both must hold.
                uids[tag] = tuple(one for one in given if one in uids.get(tag, given))
            elif tag in _RANGE_TAGS:
                if _RANGE_VALUE.fullmatch(value) is None:
                    raise InvalidDicomQuery(f"The value of {name} is neither value nor range", ())
                first, dash, last = value.partition("-")
                ranges[tag] = (first, last if dash else first)
            else:
                words[tag] = value
        return cls(level, uids, ranges, words, limit, offset)


class DicomIndex(Protocol):
    """Finds the objects of the newest result of each study of a tenant."""

    def search(self, query: DicomQuery, *, tenant: str) -> list[Match]:
        """Return matches, those of the newest results first."""
        ...

    def instances(self, uids: Mapping[str, str], *, tenant: str) -> list[StoredInstance]:
        """Return every object with these UIDs (by tag), each SOP instance once, the newest.

        Empty where there is none.
        """
        ...


def first_text(attributes: Mapping[str, Any], tag: str) -> str:
    """Return the first value of an attribute of DICOM JSON as text; empty where there is none."""
    values = attributes.get(tag, {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, dict):  # a name of a person
        return str(value.get("Alphabetic", ""))
    return "" if value is None else str(value)


def read_result_instances(path: Path) -> tuple[ResultInstance, ...]:
    """Read what the record keeps of each object from what :func:`write_dicom_metadata` wrote."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        ResultInstance(name, {tag: found[tag] for tag in KEPT_TAGS if tag in found})
        for name, found in document.items()
    )
