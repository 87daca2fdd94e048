"""A report as one row of a table, for research: numbers as they are, one column a fact.

Columns never change their meaning; new ones are added at the end of their group and raise the
schema version of the report. What is not known is empty.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import Any, Final, TypeAlias

from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.volume.label_map import Artery
from service.application.report_terms import ReportDocument

Row: TypeAlias = dict[str, Any]

STUDY_ID: Final = "study_id"

OLDEST_SCHEMA: Final = 2
"""Reports of older schemas have no categories and conventions: only their score is exported."""

_TEXTS: Final = frozenset(
    {
        STUDY_ID,
        "study_instance_uid",
        "series_instance_uid",
        "risk_category",
        "cac_drs_category",
        "cac_drs",
        "sex",
        "race_or_ethnicity",
        "hoff_percentile",
        "mesa_percentile",
        "manufacturer",
        "manufacturer_model_name",
        "convolution_kernel",
        "protocol",
        "tube_voltage_table",
        "model_name",
        "model_version",
        "model_sha256",
        "warnings",
        "service_version",
    }
)
_TRUTHS: Final = frozenset({"category_stable", "is_ecg_gated"})
_WHOLE_NUMBERS: Final = frozenset({"age_years", "schema_version"})


def column_names() -> tuple[str, ...]:
    """Return the columns of an export, in order."""
    return tuple(report_row(_NOTHING_KNOWN))


def report_row(document: ReportDocument, study_id: str | None = None) -> Row:
    """Return the row of a report, with a value or None for each of :func:`column_names`."""
    if document["schema_version"] < OLDEST_SCHEMA:
        known = {"agatston_score", "risk_category", "lesion_count", "schema_version"}
        few = {name: document.get(name) if name in known else None for name in column_names()}
        return few | {STUDY_ID: study_id}
    categories, series = document["categories"], document["series"]
    protocol, model = document["protocol"], document["model"] or {}
    uncertainty = document["uncertainty"] or {}
    row: Row = {
        STUDY_ID: study_id,
        "study_instance_uid": series["study_instance_uid"],
        "series_instance_uid": series["series_instance_uid"],
        "agatston_score": document["agatston_score"],
        "volume_score_mm3": document["volume_score_mm3"],
        "interpolated_volume_score_mm3": document["interpolated_volume_score_mm3"],
        "mass_score_mg": document["mass_score_mg"],
        "lesion_count": document["lesion_count"],
        "vessel_count": document["vessel_count"],
        "risk_category": document["risk_category"],
        "cac_drs_category": document["cac_drs_category"],
        "cac_drs": categories["cac_drs"]["value"],
        "category_stable": document["category_stable"],
        "repeat_scan_low": uncertainty.get("low"),
        "repeat_scan_high": uncertainty.get("high"),
    }
    for artery in Artery:
        scores = document["arteries"].get(artery.name) or {}
        for name in ("agatston_score", "volume_score_mm3", "mass_score_mg", "lesion_count"):
            row[f"{artery.name.lower()}_{name}"] = scores.get(name)
    by_name = {one["name"]: one for one in document["conventions"]}
    for name in CONVENTIONS:
        is_reported = name == protocol["name"]
        scores = document if is_reported else by_name.get(name, {})
        row[f"{name}_agatston_score"] = scores.get("agatston_score")
    patient = categories["patient"]
    return row | {
        "age_years": patient["age_years"],
        "sex": patient["sex"],
        "race_or_ethnicity": patient["race_or_ethnicity"],
        "hoff_percentile": categories["hoff_percentile"]["value"],
        "mesa_percentile": categories["mesa_percentile"]["value"],
        "arterial_age_years": categories["arterial_age_years"]["value"],
        "slice_count": series["slice_count"],
        "spacing_between_slices_mm": series["spacing_between_slices_mm"],
        "row_spacing_mm": series["pixel_spacing_mm"][0],
        "column_spacing_mm": series["pixel_spacing_mm"][1],
        "slice_thickness_mm": series["slice_thickness_mm"],
        "kvp": series["kvp"],
        "is_ecg_gated": series["is_ecg_gated"],
        "manufacturer": series["manufacturer"],
        "manufacturer_model_name": series["manufacturer_model_name"],
        "convolution_kernel": "\\".join(series["convolution_kernel"]),
        "protocol": protocol["name"],
        "threshold_hu": protocol["threshold_hu"],
        "tube_voltage_table": protocol["tube_voltage_table"],
        "model_name": model.get("name"),
        "model_version": model.get("version"),
        "model_sha256": model.get("sha256"),
        "warnings": " ".join(one["code"] for one in document["warnings"]),
        "service_version": document["service_version"],
        "schema_version": document["schema_version"],
    }


def kind_of(column: str) -> type[str] | type[int] | type[bool] | type[float]:
    """Return the type of the values of a column, which may also be None."""
    if column in _TEXTS:
        return str
    if column in _TRUTHS:
        return bool
    return int if column in _WHOLE_NUMBERS or column.endswith("_count") else float


def csv_lines(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[str]:
    """Yield a CSV file (RFC 4180) line by line, its heading first; None is an empty field."""
    yield _line(columns)
    for row in rows:
        yield _line([_cell(row[name]) for name in columns])


def _line(cells: Sequence[object]) -> str:
    text = StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _cell(value: object) -> object:
    """Return a value as a spreadsheet may open it: a text is never a formula."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


_NOTHING_KNOWN: Final[ReportDocument] = {
    **dict.fromkeys(
        (
            "agatston_score",
            "volume_score_mm3",
            "interpolated_volume_score_mm3",
            "mass_score_mg",
            "lesion_count",
            "vessel_count",
            "risk_category",
            "cac_drs_category",
            "category_stable",
            "uncertainty",
            "model",
            "service_version",
        )
    ),
    "schema_version": OLDEST_SCHEMA,
    "arteries": {},
    "conventions": [],
    "warnings": [],
    "protocol": dict.fromkeys(("name", "threshold_hu", "tube_voltage_table")),
    "series": {
        **dict.fromkeys(
            (
                "study_instance_uid",
                "series_instance_uid",
                "slice_count",
                "spacing_between_slices_mm",
                "slice_thickness_mm",
                "kvp",
                "is_ecg_gated",
                "manufacturer",
                "manufacturer_model_name",
            )
        ),
        "pixel_spacing_mm": (None, None),
        "convolution_kernel": (),
    },
    "categories": {
        "patient": dict.fromkeys(("age_years", "sex", "race_or_ethnicity")),
        **{
            name: {"value": None}
            for name in ("cac_drs", "hoff_percentile", "mesa_percentile", "arterial_age_years")
        },
    },
}
"""A report of which only the shape is used: for the names of the columns."""
