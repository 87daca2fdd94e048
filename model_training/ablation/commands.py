"""``python -m model_training ablation``: tables 1 and 2 of the paper on our scans."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from rich.console import Console
from rich.table import Table as TerminalTable

from model_training.ablation.ablation import AblationBudget, run_ablation
from model_training.ablation.rows import ABLATION_ROWS, PAPER_PATIENTS, AblationRow
from model_training.ablation.tables import Table, table_1, table_2, write_ablation
from model_training.agreement import Bootstrap
from model_training.cases import require_cases
from model_training.export_onnx import heart_finder_of, heart_model_of
from model_training.settings import read_training_config

DEFAULT_CASES: Final = Path("runs/cases")
DEFAULT_RUN: Final = Path("runs/ablation")
ROW_IDS: Final = ", ".join(row.row_id for row in ABLATION_ROWS)

console = Console()


def ablation(
    *,
    cases: Annotated[Path, typer.Option(help="Folder of the cases of all splits.")] = DEFAULT_CASES,
    run: Annotated[Path, typer.Option(help="Folder of the runs; finished rows are kept.")] = (
        DEFAULT_RUN
    ),
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables; that of the runs by default.")
    ] = None,
    config: Annotated[str, typer.Option(help="Shipped settings or a TOML file.")] = "provisional",
    steps: Annotated[int, typer.Option(min=1, help="Of each row.")] = 1000,
    n_train: Annotated[int | None, typer.Option(min=1, help="Only so many cases.")] = None,
    n_test: Annotated[int, typer.Option(min=1, help="At most so many test scans.")] = (
        PAPER_PATIENTS
    ),
    row: Annotated[
        list[str] | None, typer.Option(help=f"Only this row ({ROW_IDS}). May be repeated.")
    ] = None,
    heart: Annotated[
        Path | None,
        typer.Option(help="Model file whose heart finder says where to look; else everywhere."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = (
        Bootstrap.resamples
    ),
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that cut crops.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network on a CPU.")] = 1,
) -> None:
    """Train the paper's five networks on the same data and budget and print its two tables."""
    torch.set_num_threads(threads)
    budget = AblationBudget(read_training_config(config), steps, device, workers)
    heart_file = None if heart is None else heart_finder_of(heart)
    if heart is not None and heart_file is None:
        raise ValueError(f"{heart} holds no heart finder.")
    training, test = require_cases(cases, "train")[:n_train], require_cases(cases, "test")[:n_test]
    results = run_ablation(
        budget,
        cases=training,
        validation_cases=require_cases(cases, "validation"),
        test_cases=test,
        heart=None if heart_file is None else heart_model_of(heart_file, thread_count=threads),
        folder=run,
        rows=_chosen_rows(row or []),
        bootstrap=Bootstrap(resamples),
        progress=lambda one, what: console.print(f"{one.name}: {what}", highlight=False),
    )
    for title, table in (("Table 1", table_1(results)), ("Table 2", table_2(results))):
        console.print(_terminal(title, table))
    where = "everywhere" if heart is None else "in the heart region"
    command = ["python", "-m", "model_training", "ablation", "--config", config]
    command += ["--steps", str(steps), "--n-test", str(n_test)]
    write_ablation(
        results,
        budget,
        out or run,
        data=f"{len(training)} training and {len(test)} test scans, searched {where}",
        command=shlex.join(command),
    )
    console.print(f"Everything is in {out or run}.")


def _chosen_rows(names: list[str]) -> list[AblationRow]:
    unknown = set(names) - {one.row_id for one in ABLATION_ROWS}
    if unknown:
        raise ValueError(f"There is no row {', '.join(sorted(unknown))}; there are {ROW_IDS}.")
    return [one for one in ABLATION_ROWS if not names or one.row_id in names]


def _terminal(title: str, table: Table) -> TerminalTable:
    headings, rows = table
    shown = TerminalTable(title=title)
    for place, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if place else "left")
    for one in rows:
        shown.add_row(*one)
    return shown
