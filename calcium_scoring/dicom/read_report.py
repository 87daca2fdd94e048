"""What a structured report of ours says, read back: its total scores and what it refers to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset

from calcium_scoring.dicom.codes import CALCIUM_SCORE, CALCIUM_VOLUME
from calcium_scoring.dicom.headers import PARSER_ERRORS, number, quiet_pydicom, text
from calcium_scoring.errors import StructuredReportRejected

TOTAL_IDENTIFIER: Final = "Coronary calcium, total"
"""Tracking identifier of the measurement group that holds the total scores."""

_TRACKING_IDENTIFIER: Final = "112039"
_MEASUREMENT_GROUP: Final = "125007"
"""Codes of DCM (PS3.16 TID 1501)."""

_EVIDENCE: Final = "CurrentRequestedProcedureEvidenceSequence"


@dataclass(frozen=True)
class ReportedTotals:
    """Scores of all coronary arteries together, and the objects that they were measured on."""

    agatston_score: float
    volume_score_mm3: float
    series_instance_uids: frozenset[str]
    sop_instance_uids: frozenset[str]


def read_report(path: Path) -> ReportedTotals:
    """Read the totals of a report that ``write_report`` wrote.

    Raises
    ------
    StructuredReportRejected
        The file is damaged, or has no measurement group with the total scores.
    """
    with quiet_pydicom():
        try:
            report = dcmread(path)
            group = _total_group(report)
            score, volume = (_value(group, code.value) for code in (CALCIUM_SCORE, CALCIUM_VOLUME))
            references = [
                series
                for study in report.get(_EVIDENCE, None) or ()
                for series in study.ReferencedSeriesSequence
            ]
            return ReportedTotals(
                score,
                volume,
                frozenset(str(one.SeriesInstanceUID) for one in references),
                frozenset(
                    str(instance.ReferencedSOPInstanceUID)
                    for one in references
                    for instance in one.ReferencedSOPSequence
                ),
            )
        except PARSER_ERRORS as error:
            raise StructuredReportRejected(
                "The structured report cannot be read: it is damaged or incomplete."
            ) from error


def _total_group(report: Dataset) -> Dataset:
    for group in _items(report):
        if _code_of(group, "ConceptNameCodeSequence") != _MEASUREMENT_GROUP:
            continue
        for item in group.get("ContentSequence", None) or ():
            is_name = _code_of(item, "ConceptNameCodeSequence") == _TRACKING_IDENTIFIER
            if is_name and text(item, "TextValue") == TOTAL_IDENTIFIER:
                return group
    raise StructuredReportRejected(
        f"The structured report has no measurement group {TOTAL_IDENTIFIER!r}; one that cacscore "
        "wrote is accepted."
    )


def _value(group: Dataset, code: str) -> float:
    for item in group.ContentSequence:
        if _code_of(item, "ConceptNameCodeSequence") == code:
            value = number(item.MeasuredValueSequence[0], "NumericValue")
            if value is not None:
                return value
    raise StructuredReportRejected(
        f"The structured report has no number for the code {code} (DCM)."
    )


def _items(container: Dataset) -> Iterator[Dataset]:
    """Yield every content item below, depth first."""
    for item in container.get("ContentSequence", None) or ():
        yield item
        yield from _items(item)


def _code_of(item: Dataset, keyword: str) -> str | None:
    sequence = item.get(keyword, None)
    return text(sequence[0], "CodeValue") if sequence else None
