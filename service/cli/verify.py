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
from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from service.application.errors import ReportRejected
from service.application.provenance import (
    PROVENANCE_VERSION,
    ProvenanceVerdict,
    check_provenance,
    inputs_of,
    sha256_of,
)
from service.application.report_terms import INTENDED_USE, ReportDocument
from service.application.verify_report import NOT_RECOMPUTED, Verification, verify_report
from service.cli.console import print_json, progress_bars, stdout
from service.cli.outcome import FoundDifferent, UsageMistake

MAX_DIFFERENCES_SHOWN = 30
"""Longer tables are not read. Our choice; ``--json`` has all of them."""


def verify_files(
    report: Path,
    segmentation: Path,
    series_path: Path,
    *,
    provenance: Path | None,
    public_key: Path | None,
    wants_json: bool,
) -> None:
    """Compare, print, and raise FoundDifferent where the report does not follow.

    With ``provenance`` the record of where the result comes from is checked too; ``public_key`` is
    the one that must have signed it.
    """
    document = _read_report(report)
    if public_key is not None and provenance is None:
        raise UsageMistake("--public-key needs --provenance: the record that the key has signed.")
    with tempfile.TemporaryDirectory(prefix="cacscore-") as workdir, progress_bars() as progress:
        progress.add_task("Reading", total=None)
        series = read_ct_series(series_path, Path(workdir))
        found = verify_report(
            document,
            read_segmentation(segmentation, series),
            series,
            read_segmentation_origin(segmentation),
        )
        verdict = (
            None
            if provenance is None
            else _checked_record(provenance, public_key, document, series, (report, segmentation))
        )
    if wants_json:
        print_json(_document_of(found, verdict))
    else:
        _print(found)
        if verdict is not None:
            _print_provenance(verdict)
        stdout.print(INTENDED_USE, markup=False)
    if not found.is_equal or (verdict is not None and not verdict.is_right):
        raise FoundDifferent


def _checked_record(
    provenance: Path,
    public_key: Path | None,
    document: ReportDocument,
    series: CtSeries,
    files: tuple[Path, ...],
) -> ProvenanceVerdict:
    # Only where it is asked for: cryptography takes a while to import.
    from service.adapters.signing.ed25519 import is_signature, read_public_key  # noqa: PLC0415

    identity = series.volume.identity
    return check_provenance(
        _read_record(provenance),
        is_signature=is_signature,
        expected_key=None if public_key is None else read_public_key(public_key),
        inputs=(None if identity is None else inputs_of(identity.sop_instance_uids, series.paths)),
        files={path.name: sha256_of(path) for path in files},
        model=document.get("model"),
    )


def _read_record(path: Path) -> ReportDocument:
    record = _read_report(path)
    if record.get("provenance_version") != PROVENANCE_VERSION:
        raise ReportRejected(
            f"{path.name} is no record of version {PROVENANCE_VERSION}; the provenance.json of "
            "`cacscore score --artifacts-out` or of the service is accepted.",
            found=record.get("provenance_version"),
            accepted=PROVENANCE_VERSION,
        )
    return record


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


def _document_of(found: Verification, verdict: ProvenanceVerdict | None) -> dict[str, Any]:
    return {
        "is_equal": found.is_equal,
        "protocol": found.protocol.name,
        "compared_count": found.compared_count,
        "differences": [asdict(difference) for difference in found.differences],
        "not_recomputed": [
            {"field": field, "reason": reason} for field, reason in NOT_RECOMPUTED.items()
        ],
        "provenance": (
            None if verdict is None else {"is_right": verdict.is_right, **asdict(verdict)}
        ),
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


def _print_provenance(verdict: ProvenanceVerdict) -> None:
    if verdict.checked:
        stdout.print(
            f"Provenance: as recorded are {', '.join(verdict.checked)}.",
            markup=False,
            soft_wrap=True,
        )
    for problem in verdict.problems:
        stdout.print(Text(f"Provenance: {problem}", "bold"), soft_wrap=True)


def _short(value: object) -> str:
    """Return a value on one line; a lesion that one side lacks is told by its score."""
    if isinstance(value, dict) and "agatston_score" in value:
        return f"an entry with Agatston score {value['agatston_score']}"
    return json.dumps(value, ensure_ascii=False)
