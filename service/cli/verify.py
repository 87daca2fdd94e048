"""`cacscore verify`: whether a report follows from its mask and series."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from calcium_scoring.dicom.read_segmentation import read_segmentation, read_segmentation_origin
from calcium_scoring.dicom.read_series import read_ct_series
from service.application.errors import ReportRejected
from service.application.report_document import INTENDED_USE, ReportDocument
from service.application.verify_report import NOT_RECOMPUTED, Verification, verify_report
from service.cli.console import print_json, progress_bars, stdout
from service.cli.outcome import FoundDifferent

MAX_DIFFERENCES_SHOWN = 30
"""Longer tables are not read. Our choice; ``--json`` has all of them."""


def verify_files(report: Path, segmentation: Path, series_path: Path, *, wants_json: bool) -> None:
    """Compare, print, and raise FoundDifferent where the report does not follow."""
    document = _read_report(report)
    with tempfile.TemporaryDirectory(prefix="cacscore-") as workdir, progress_bars() as progress:
        progress.add_task("Reading", total=None)
        series = read_ct_series(series_path, Path(workdir))
        found = verify_report(
            document,
            read_segmentation(segmentation, series),
            series,
            read_segmentation_origin(segmentation),
        )
    if wants_json:
        print_json(_document_of(found))
    else:
        _print(found)
    if not found.is_equal:
        raise FoundDifferent


def _read_report(path: Path) -> ReportDocument:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReportRejected(
            f"{path.name} is not JSON; the report of `cacscore score --json` or of the service is "
            "accepted."
        ) from error
    if not isinstance(document, dict):
        raise ReportRejected(
            f"{path.name} is JSON, but no object; a report of cacscore is accepted."
        )
    return document


def _document_of(found: Verification) -> dict[str, Any]:
    return {
        "is_equal": found.is_equal,
        "protocol": found.protocol.name,
        "compared_count": found.compared_count,
        "differences": [asdict(difference) for difference in found.differences],
        "not_recomputed": [
            {"field": field, "reason": reason} for field, reason in NOT_RECOMPUTED.items()
        ],
        "intended_use": INTENDED_USE,
    }


def _print(found: Verification) -> None:
    if found.is_equal:
        stdout.print(
            f"Equal: all {found.compared_count} values that mask and series decide are as "
            f"reported, under the protocol {found.protocol.name}.",
            markup=False,
        )
    else:
        stdout.print(
            Text(
                f"Different: {len(found.differences)} of {found.compared_count} values do not "
                f"follow from mask and series, under the protocol {found.protocol.name}.",
                "bold",
            )
        )
        table = Table()
        for heading in ("field", "reported", "recomputed"):
            table.add_column(heading, overflow="fold")
        for one in found.differences[:MAX_DIFFERENCES_SHOWN]:
            table.add_row(
                one.field,
                "(absent)" if one.kind == "absent_from_report" else _short(one.reported),
                "(none)" if one.kind == "only_in_report" else _short(one.recomputed),
            )
        stdout.print(table)
        hidden = len(found.differences) - MAX_DIFFERENCES_SHOWN
        if hidden > 0:
            stdout.print(f"… and {hidden} more differences; --json lists all.", markup=False)
    parts = "; ".join(f"{name} ({why})" for name, why in NOT_RECOMPUTED.items())
    stdout.print(f"Not decided by mask and series alone: {parts}.", markup=False)
    stdout.print(INTENDED_USE, markup=False)


def _short(value: object) -> str:
    """Return a value on one line; a lesion that one side lacks is told by its score."""
    if isinstance(value, dict) and "agatston_score" in value:
        return f"an entry with Agatston score {value['agatston_score']}"
    return json.dumps(value, ensure_ascii=False)
