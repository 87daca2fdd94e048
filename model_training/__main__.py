"""``python -m model_training``: simulate cases, train, export, evaluate."""

from __future__ import annotations

import logging
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from calcium_scoring.errors import CacscoreError
from model_training.cases import require_cases
from model_training.evaluate import Agreement, CaseAgreement
from model_training.evaluate import evaluate as evaluate_model
from model_training.export_onnx import export_onnx, load_onnx
from model_training.settings import read_training_config
from model_training.simulate import simulate_cases
from model_training.train import load_checkpoint
from model_training.train import train as train_network

BUNDLED_MODEL = Path("service/adapters/onnx/calcium_segmenter.onnx")
"""Where the service looks for its model, below the root of the repository."""

app = typer.Typer(
    help="Train the calcium segmenter offline and hand it to the service as one ONNX file.",
    no_args_is_help=True,
    add_completion=False,
)
console = Console()


class SplitName(StrEnum):
    """Which patients: no patient is in two splits."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


CasesOption = Annotated[Path, typer.Option(help="Folder of the training cases.")]
DEFAULT_CASES = Path("runs/cases")


@app.command()
def simulate(
    cases: CasesOption = DEFAULT_CASES,
    split: Annotated[SplitName, typer.Option(help="Seeds of which split.")] = SplitName.TRAIN,
    n: Annotated[int, typer.Option(min=1, help="Number of patients.")] = 8,
    first: Annotated[int, typer.Option(min=0, help="First of them within the split.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Simulate patients whose calcium is known, and keep them as training cases."""
    for case in simulate_cases(cases, split.value, first=first, count=n, worker_count=workers):
        slices, rows, columns = case.hu.shape
        console.print(f"{case.case_id}: {slices} slices of {rows} x {columns}")


@app.command()
def train(
    *,
    run: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run goes on.")],
    config: Annotated[
        str, typer.Option(help="Shipped settings (paper, provisional) or a TOML file.")
    ] = "provisional",
    cases: CasesOption = DEFAULT_CASES,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of those of config.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that cut crops.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network on a CPU.")] = 1,
) -> None:
    """Train the network; checkpoints and TensorBoard events go to the folder of the run."""
    torch.set_num_threads(threads)
    settings = read_training_config(config)
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    result = train_network(
        settings,
        cases=require_cases(cases, "train"),
        validation_cases=require_cases(cases, "validation"),
        run_folder=run,
        device=device,
        worker_count=workers,
    )
    console.print(f"Step {result.step}: F1 {result.validation_f1:.3f} on held-out crops. {run}")


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Option(help="best.pt or checkpoint.pt of a run.")],
    model_version: Annotated[str, typer.Option(help="Version that reports will name.")],
    out: Annotated[Path, typer.Option(help="ONNX file to write.")] = BUNDLED_MODEL,
    provisional: Annotated[
        bool, typer.Option(help="Marks a model whose agreement is not established.")
    ] = True,
) -> None:
    """Write the ONNX file that the service reads, if it agrees with the checkpoint."""
    trained = load_checkpoint(checkpoint)
    spec = trained.config.model_spec(model_version=model_version, is_provisional=provisional)
    exported = export_onnx(trained.network, spec, out)
    console.print(
        f"{exported.path}: {exported.byte_count / 1e6:.1f} MB, step {trained.step}, "
        f"F1 {trained.validation_f1:.3f} on held-out crops; probabilities differ by at most "
        f"{exported.max_probability_difference:.1e}."
    )


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(help="ONNX file.")] = BUNDLED_MODEL,
    cases: CasesOption = DEFAULT_CASES,
    split: Annotated[SplitName, typer.Option(help="Which cases.")] = SplitName.TEST,
    json_out: Annotated[Path | None, typer.Option(help="Also write everything as JSON.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network.")] = 1,
) -> None:
    """Compare a model with the reference on whole scans: voxel F1, Agatston, risk category."""
    spec, predict_patch = load_onnx(model, thread_count=threads)
    agreement = evaluate_model(
        predict_patch,
        spec,
        require_cases(cases, split.value),
        progress=lambda case: console.print(f"{case.case_id}: {_scores(case)}"),
    )
    console.print(_table(agreement))
    if json_out is not None:
        agreement.write_json(json_out)


def _scores(case: CaseAgreement) -> str:
    return f"Agatston {case.agatston_score:.1f}, reference {case.reference_agatston_score:.1f}"


def _table(agreement: Agreement) -> Table:
    voxels = agreement.voxels
    table = Table(
        title=f"model {agreement.model_version}, n = {len(agreement.cases)}",
        caption=f"voxel F1 {voxels.f1:.3f} (precision {voxels.precision:.3f}, sensitivity "
        f"{voxels.sensitivity:.3f}); risk category right {agreement.category_accuracy:.2f}",
    )
    for heading in ("case", "gated", "spacing", "F1", "reference", "model", "category"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for case in agreement.cases:
        verdict = "=" if case.is_category_right else f"{case.reference_risk_category} ->"
        table.add_row(
            case.case_id,
            {True: "yes", False: "no", None: "-"}[case.is_ecg_gated],
            f"{case.spacing_between_slices_mm:.2f} mm",
            f"{case.voxels.f1:.3f}",
            f"{case.reference_agatston_score:.1f}",
            f"{case.agatston_score:.1f}",
            f"{verdict} {case.risk_category}",
        )
    return table


def main() -> None:
    """Run the command line; what cannot be done is said in a sentence."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        app()
    except (CacscoreError, ValueError) as error:
        console.print(f"[red]{error}[/red]")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
