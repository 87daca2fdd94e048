"""Series in folders as data sets keep them: one, or several of which one is annotated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.dicom.select_series import select_series
from calcium_scoring.errors import NoCtSeries, NoDicomFound, UnsupportedImageType
from calcium_scoring.upload.archive import UnpackedFile, list_upload
from model_training.importers.imported_case import ImportProblem


def files_by_series(folder: Path) -> Iterator[list[UnpackedFile]]:
    """Return the files of each CT series below a folder; of each folder the best series first.

    Files of different folders are never one series: series without UIDs could be mixed
    otherwise. What is no CT slice is left out.
    """
    by_folder: dict[Path, list[UnpackedFile]] = {}
    for file in list_upload(folder):
        by_folder.setdefault(file.path.parent, []).append(file)
    for remaining in by_folder.values():
        while remaining:
            try:
                selection = select_series(remaining)
            except (NoDicomFound, NoCtSeries, UnsupportedImageType):
                break
            chosen = {image.path for image in selection.images}
            yield [file for file in remaining if file.path in chosen]
            remaining = [file for file in remaining if file.path not in chosen]  # noqa: PLW2901


def series_problems(series: CtSeries) -> list[ImportProblem]:
    """Return what reading a series warned of, and that it was not the only one."""
    problems = [ImportProblem.of_warning(warning) for warning in series.warnings]
    if series.other_series:
        problems.append(several_series(1 + len(series.other_series)))
    return problems


def several_series(count: int) -> ImportProblem:
    """Say that one of several series was taken."""
    return ImportProblem(
        "several_series",
        f"There are {count} CT series; the one that serving would score, or that the annotation "
        "fits, was taken.",
        {"series_count": count},
    )
