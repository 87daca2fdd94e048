"""``python -m model_training evaluate``: a model, annotated scans, and every figure of the card."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from model_training.agreement import Bootstrap
from model_training.cases import Split, find_cases, require_cases
from model_training.evaluate import (
    CaseScans,
    DataSetScans,
    FoundCalcium,
    ModelFile,
    ScanSet,
    evaluate_scan_set,
)
from model_training.evaluation.case_figures import CaseFigures
from model_training.evaluation.summary import summarise
from model_training.evaluation.terminal_report import terminal_tables
from model_training.evaluation.wording import value_text
from model_training.evaluation.write_evaluation import PAGE, write_evaluation, write_worst_cases
from model_training.importers.__main__ import NoAnnotationMeansZero, RoiNames, roi_meanings
from model_training.importers.data_sets import DataSet, DataSetKind, ImportOptions
from model_training.importers.imported_case import RefusedCase
from model_training.simulate import is_simulated

DEFAULT_MODEL: Final = Path("service/adapters/onnx/calcium_segmenter.onnx")
"""Where the service looks for its model, below the root of the repository."""
DEFAULT_CASES: Final = Path("runs/cases")
DEFAULT_OUT: Final = Path("runs/evaluation")
DEFAULT_CACHE: Final = Path("runs/evaluation-cache")
DEFAULT_PICTURES: Final = 4

console = Console()


class SplitChoice(StrEnum):
    """Which of the cases in a folder."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    ALL = "all"


_SPLITS: Final[dict[SplitChoice, Split]] = {
    SplitChoice.TRAIN: "train",
    SplitChoice.VALIDATION: "validation",
    SplitChoice.TEST: "test",
}


def evaluate(
    *,
    model: Annotated[Path, typer.Option(help="ONNX file, as the service reads it.")] = (
        DEFAULT_MODEL
    ),
    cases: Annotated[Path, typer.Option(help="Folder of the cases.")] = DEFAULT_CASES,
    split: Annotated[SplitChoice, typer.Option(help="Which cases.")] = SplitChoice.TEST,
    n: Annotated[int | None, typer.Option(min=1, help="Only so many of them, by name.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"Instead of cases: KIND=PATH of annotated scans, a KIND of "
            f"{', '.join(DataSetKind)}."
        ),
    ] = None,
    no_annotation_means_zero: NoAnnotationMeansZero = False,
    roi_name: RoiNames = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the page, the figures, plots and pictures.")
    ] = DEFAULT_OUT,
    cache: Annotated[
        Path, typer.Option(help="Folder that keeps what a model found in a scan.")
    ] = DEFAULT_CACHE,
    pictures: Annotated[int, typer.Option(min=0, help="Pictures of worst cases.")] = (
        DEFAULT_PICTURES
    ),
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = (
        Bootstrap.resamples
    ),
    workers: Annotated[int, typer.Option(min=1, help="Processes; of --cases only.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network in each.")] = 1,
) -> None:
    """Compare a model with the reference on whole scans, as the service would score them."""
    scan_set: ScanSet
    if data is not None:
        options = ImportOptions(no_annotation_means_zero, roi_meanings(roi_name or []))
        scan_set = DataSetScans(DataSet.parse(data), options, left_out=tell_left_out)
        command = ["--data", data]
    else:
        scan_set = case_scans(cases, split, n)
        command = ["--cases", str(cases), "--split", split.value]
        command += [] if n is None else ["--n", str(n)]
    file, kept = ModelFile(model, threads), FoundCalcium(cache)
    opened = file.open()
    figures = evaluate_scan_set(
        file, scan_set, kept=kept, worker_count=workers, progress=tell_progress
    )
    summary = summarise(opened.identity, scan_set.description, figures, Bootstrap(resamples))
    for table in terminal_tables(summary):
        console.print(table)
    shown = write_worst_cases(
        summary, out, model=opened, scan_set=scan_set, kept=kept, count=pictures
    )
    told = shlex.join(
        ["python", "-m", "model_training", "evaluate", "--model", str(model), *command]
    )
    write_evaluation(summary, out, command=told, pictures=shown)
    console.print(f"Everything is in {out / PAGE}.")


def case_scans(folder: Path, split: SplitChoice, n: int | None) -> CaseScans:
    """Return the cases of a split (or all) of a folder, the first ``n`` by name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if split is SplitChoice.ALL:
        cases = find_cases(folder)
        if not cases:
            raise ValueError(f"There is no case below {folder}.")
    else:
        cases = require_cases(folder, _SPLITS[split])
    chosen = cases[:n]
    kind = "simulated patients" if all(map(is_simulated, chosen)) else "cases"
    which = "all" if split is SplitChoice.ALL else f"split {split.value}"
    return CaseScans(f"{kind}, {which}", chosen)


def tell_progress(case: CaseFigures) -> None:
    """Say what was found in a scan."""
    console.print(
        f"{case.case_id}: Agatston {value_text(case.agatston_score, 1)}, reference "
        f"{value_text(case.reference_agatston_score, 1)}",
        highlight=False,
    )


def tell_left_out(case: RefusedCase) -> None:
    """Say why a scan is not used."""
    reasons = "; ".join(problem.message for problem in case.problems)
    console.print(f"{case.case_id}: left out. {reasons}", highlight=False, markup=False)
