"""Constants and the type of a report, for whoever shows one and measures nothing.

Apart from :mod:`service.application.report_document`, which makes reports and for that imports what
measures: the gateway needs the words and not the numerical libraries.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

ReportDocument: TypeAlias = dict[str, Any]
"""JSON values only; ``CalciumReportResponse`` of the API is its schema."""

SCHEMA_VERSION: Final = 3

INTENDED_USE: Final = (
    "Research use only. Not a medical device: not for diagnosis or for decisions on treatment."
)
