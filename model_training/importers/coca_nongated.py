"""COCA, non-gated part: chest CT with Agatston scores from a gated scan, without masks.

Stanford AIMI, "COCA - Coronary Calcium and chest CT's"; registration and its own licence. Layout::

    deidentified_nongated/
      <n>/<n>/IM-*.dcm        5 mm slices; Series and Study Instance UID are missing
      scores.xlsx             filename, LCA, LAD, LCX, RCA, total

``filename`` is the number of the folder, in some releases followed by a letter (``12A``).
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openpyxl import load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from calcium_scoring.dicom.read_series import read_ct_files
from calcium_scoring.errors import CacscoreError
from calcium_scoring.upload.archive import list_upload
from calcium_scoring.volume.label_map import Artery
from model_training.importers.dicom_series import series_problems
from model_training.importers.imported_case import (
    ImportedCase,
    ImportProblem,
    ReferenceScores,
    RefusedCase,
)
from model_training.importers.patient_names import natural_order

SCORES_FILE: Final = "scores.xlsx"
NAME_COLUMN: Final = "filename"
TOTAL_COLUMN: Final = "total"
ARTERY_COLUMNS: Final[Mapping[str, Artery]] = {
    "lca": Artery.LM,
    "lad": Artery.LAD,
    "lcx": Artery.LCX,
    "rca": Artery.RCA,
}
"""LCA is the left main; headings are compared without regard to case."""

SUM_TOLERANCE: Final = 1.0
"""The total may differ this much from the sum of the arteries: scores were rounded. Our choice."""


def read_coca_nongated(
    root: Path, scores_file: Path | None = None
) -> Iterator[ImportedCase | RefusedCase]:
    """Read every patient of ``deidentified_nongated``, by number, with reference scores only.

    Parameters
    ----------
    root
        The folder that holds the folders of the patients.
    scores_file
        By default ``scores.xlsx`` in it.

    Raises
    ------
    ValueError
        If the scores cannot be read or lack a column.
    """
    rows = _read_scores(scores_file or root / SCORES_FILE)
    folders = {path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "."}
    for patient in sorted(folders | rows.keys(), key=natural_order):
        yield _read_patient(root / patient, rows.get(patient))


@dataclass(frozen=True)
class _Row:
    """What the table says of one patient, with what is odd about it."""

    arteries: Mapping[Artery, float | None]
    total: float | None
    problems: tuple[ImportProblem, ...]


def _read_patient(folder: Path, row: _Row | None) -> ImportedCase | RefusedCase:
    name = f"coca-nongated-{folder.name}"
    if not folder.is_dir():
        problem = ImportProblem("no_images", f"There are scores but no folder {folder.name}.")
        return RefusedCase(name, name, folder, (problem,))
    if row is None:
        problem = ImportProblem("no_annotation", f"{SCORES_FILE} has no row for {folder.name}.")
        return RefusedCase(name, name, folder, (problem,))
    if row.total is None:
        return RefusedCase(name, name, folder, row.problems)
    try:
        series = read_ct_files(list_upload(folder))
    except CacscoreError as error:
        return RefusedCase(name, name, folder, (*row.problems, ImportProblem.of_error(error)))
    return ImportedCase(
        name,
        name,
        folder,
        series.volume,
        ReferenceScores(row.total, row.arteries),
        (*row.problems, *series_problems(series)),
    )


def _read_scores(path: Path) -> dict[str, _Row]:
    try:
        workbook = load_workbook(path, read_only=True, data_only=True)
    except (OSError, InvalidFileException, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an Excel table (.xlsx): {error}") from error
    try:
        lines = [list(line) for line in workbook.worksheets[0].iter_rows(values_only=True)]
    finally:
        workbook.close()
    headings = [str(cell).strip().casefold() for cell in lines[0]] if lines else []
    missing = {NAME_COLUMN, TOTAL_COLUMN, *ARTERY_COLUMNS} - set(headings)
    if missing:
        raise ValueError(
            f"{path} lacks the columns {sorted(missing)}; its first line must be filename, LCA, "
            "LAD, LCX, RCA, total."
        )
    rows: dict[str, _Row] = {}
    for line in lines[1:]:
        cells = dict(zip(headings, line, strict=False))
        if cells[NAME_COLUMN] is None:
            continue
        patient = _patient_of(cells[NAME_COLUMN])
        row = _row(cells)
        rows[patient] = row if patient not in rows else _repeated(rows[patient], row)
    return rows


def _patient_of(filename: object) -> str:
    """Return the folder of a row: Excel may hold 12, 12.0, ``12`` or ``12A``."""
    if isinstance(filename, float) and filename.is_integer():
        filename = int(filename)
    name = str(filename).strip()
    numbered = re.fullmatch(r"(\d+)\s*[A-Za-z]?", name)
    return numbered.group(1) if numbered else name


def _row(cells: Mapping[str, object]) -> _Row:
    problems = []
    scores: dict[str, float | None] = {}
    for column in (*ARTERY_COLUMNS, TOTAL_COLUMN):
        value = cells[column]
        scores[column] = _score(value)
        if scores[column] is None:
            problems.append(
                ImportProblem(
                    "unreadable_score",
                    f"Column {column} holds {value!r}, which is no score (a number from 0).",
                    {"column": column},
                )
            )
    arteries = {artery: scores[column] for column, artery in ARTERY_COLUMNS.items()}
    known = [score for score in arteries.values() if score is not None]
    total = scores[TOTAL_COLUMN]
    if (
        total is not None
        and len(known) == len(arteries)
        and abs(sum(known) - total) > (SUM_TOLERANCE)
    ):
        problems.append(
            ImportProblem(
                "total_differs",
                f"The arteries sum to {sum(known):g}, the total says {total:g}; the total was "
                "used.",
                {"sum": sum(known), "total": total},
            )
        )
    return _Row(arteries, total, tuple(problems))


def _repeated(first: _Row, second: _Row) -> _Row:
    if (first.arteries, first.total) == (second.arteries, second.total):
        return first
    problem = ImportProblem(
        "contradicting_rows",
        f"Two rows of {SCORES_FILE} give totals of {first.total} and {second.total}.",
    )
    return _Row(first.arteries, None, (*first.problems, problem))


def _score(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        score = float(value)
    except ValueError:
        return None
    return score if math.isfinite(score) and score >= 0.0 else None
