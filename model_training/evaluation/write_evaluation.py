"""A finished evaluation as a folder: a page, all figures as JSON, plots and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from calcium_scoring.volume.label_map import LabelMap
from model_training.evaluate import FoundCalcium, ModelToEvaluate, ScanSet, volume_digest
from model_training.evaluation.markdown_report import markdown_report
from model_training.evaluation.pictures import (
    caption,
    most_different_slice,
    worst_cases,
    write_picture,
)
from model_training.evaluation.plots import write_plots
from model_training.evaluation.summary import EvaluationSummary

PAGE: Final = "README.md"
FIGURES: Final = "figures.json"


def write_evaluation(
    summary: EvaluationSummary, folder: Path, *, command: str, pictures: dict[str, str]
) -> None:
    """Write the page, the figures and the plots.

    Parameters
    ----------
    summary
        Everything that was measured.
    folder
        Files of the same names are replaced.
    command
        The command that makes it again.
    pictures
        Captions of pictures that are in the folder, with their names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = json.dumps(summary.as_dict(), indent=1) + "\n"
    (folder / FIGURES).write_text(figures, encoding="utf-8")
    plots = write_plots(summary, folder)
    page = markdown_report(summary, command=command, plots=plots, pictures=pictures)
    (folder / PAGE).write_text(page, encoding="utf-8")


def write_worst_cases(
    summary: EvaluationSummary,
    folder: Path,
    *,
    model: ModelToEvaluate,
    scan_set: ScanSet,
    kept: FoundCalcium,
    count: int,
) -> dict[str, str]:
    """Write pictures of the worst cases, the worst first; return captions and names of files."""
    for old in folder.glob("worst-*.png"):
        old.unlink()
    worst = {case.case_id: case for case in worst_cases(summary.cases, count)}
    captions: dict[str, tuple[str, str]] = {}
    for scan in scan_set.scans(only=set(worst)) if worst else ():
        if not isinstance(scan.reference, LabelMap):
            continue
        found = kept.find(model, scan.case_id, scan.volume, volume_digest(scan.volume))
        slice_index = most_different_slice(found.label_map, scan.reference)
        name = f"worst-{list(worst).index(scan.case_id) + 1}.png"
        write_picture(folder / name, scan.volume, found.label_map, scan.reference, slice_index)
        captions[scan.case_id] = (caption(worst[scan.case_id], slice_index), name)
    return dict(captions[case_id] for case_id in worst if case_id in captions)
