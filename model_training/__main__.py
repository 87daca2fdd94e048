"""``python -m model_training``: simulate cases, train, export, evaluate."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from calcium_scoring.errors import CacscoreError
from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.spec import ModelSpec
from model_training.ablation.commands import ablation
from model_training.backgrounds.commands import backgrounds
from model_training.cases import require_cases
from model_training.evaluation.commands import evaluate
from model_training.export_onnx import export_onnx, load_onnx, torch_predictor
from model_training.finetuning.commands import finetune
from model_training.finetuning.starting_point import starting_point
from model_training.heart_finder.commands import heart_app
from model_training.importers.__main__ import import_cases
from model_training.mining import mine_cases
from model_training.precision import Precision, calibration_windows, convert_precision
from model_training.realism.commands import realism
from model_training.repeatability.commands import repeatability
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
app.add_typer(heart_app, name="heart")
app.command("import")(import_cases)
app.command()(finetune)
app.command()(backgrounds)
app.command()(evaluate)
app.command()(realism)
app.command()(ablation)
app.command()(repeatability)
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
    *,
    cases: CasesOption = DEFAULT_CASES,
    split: Annotated[SplitName, typer.Option(help="Seeds of which split.")] = SplitName.TRAIN,
    n: Annotated[int, typer.Option(min=1, help="Number of patients.")] = 8,
    first: Annotated[int, typer.Option(min=0, help="First of them within the split.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    near_heart_mm: Annotated[
        float | None, typer.Option(help="Keep the heart with this margin, not the whole scan.")
    ] = None,
    hearts: Annotated[
        Path | None, typer.Option(help="Also write coarse volumes for the heart finder there.")
    ] = None,
    rich: Annotated[
        bool,
        typer.Option(help="Patients with many things that are mistaken for coronary calcium."),
    ] = False,
) -> None:
    """Simulate patients whose calcium is known, and keep them as training cases."""
    for case in simulate_cases(
        cases,
        split.value,
        first=first,
        count=n,
        worker_count=workers,
        near_heart_mm=near_heart_mm,
        hearts=hearts,
        is_rich=rich,
    ):
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
    start_from: Annotated[
        Path | None,
        typer.Option(help="Checkpoint or model file whose weights a new run starts from."),
    ] = None,
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
        initial_weights=(
            None if start_from is None else starting_point(start_from, config=settings).weights
        ),
    )
    console.print(f"Step {result.step}: F1 {result.validation_f1:.3f} on held-out crops. {run}")


@app.command()
def mine(
    checkpoint: Annotated[Path, typer.Option(help="best.pt or checkpoint.pt of a run.")],
    cases: CasesOption = DEFAULT_CASES,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network.")] = 1,
) -> None:
    """Note what a network gets wrong in its training cases; the next run learns from it."""
    torch.set_num_threads(threads)
    trained = load_checkpoint(checkpoint)
    spec = trained.config.model_spec(model_version="training")
    predict_patch = torch_predictor(trained.network)
    for mistakes in mine_cases(require_cases(cases, "train"), spec, predict_patch):
        console.print(
            f"{mistakes.case_id}: {mistakes.false_positives} voxels wrongly marked, "
            f"{mistakes.false_negatives} missed, {mistakes.pieces} pieces"
        )


@app.command()
def export(  # noqa: PLR0917 - options, passed by name
    checkpoint: Annotated[Path, typer.Option(help="best.pt or checkpoint.pt of a run.")],
    model_version: Annotated[str, typer.Option(help="Version that reports will name.")],
    out: Annotated[Path, typer.Option(help="ONNX file to write.")] = BUNDLED_MODEL,
    provisional: Annotated[
        bool, typer.Option(help="Marks a model whose agreement is not established.")
    ] = True,
    heart: Annotated[
        Path | None, typer.Option(help="ONNX file of the heart finder, to travel inside.")
    ] = None,
    naming_weight: Annotated[
        float, typer.Option(min=0.0, help="Say of the naming channels in what is calcium.")
    ] = 0.0,
    piece_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of its piece in a voxel's decision.")
    ] = 0.0,
    probability_threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="From which probability on it is calcium.")
    ] = ModelSpec.probability_threshold,
) -> None:
    """Write the ONNX file that the service reads, if it agrees with the checkpoint."""
    trained = load_checkpoint(checkpoint)
    spec = replace(
        trained.config.model_spec(model_version=model_version, is_provisional=provisional),
        naming_weight=naming_weight,
        piece_share=piece_share,
        probability_threshold=probability_threshold,
    )
    exported = export_onnx(
        trained.network, spec, out, heart_finder=None if heart is None else heart.read_bytes()
    )
    console.print(
        f"{exported.path}: {exported.byte_count / 1e6:.1f} MB, step {trained.step}, "
        f"F1 {trained.validation_f1:.3f} on held-out crops; probabilities differ by at most "
        f"{exported.max_probability_difference:.1e}."
    )


@app.command()
def convert(
    out: Annotated[Path, typer.Option(help="ONNX file to write.")],
    precision: Annotated[Precision, typer.Option(help="What the network computes with.")],
    model: Annotated[Path, typer.Option(help="Model file to convert.")] = BUNDLED_MODEL,
    cases: CasesOption = DEFAULT_CASES,
    windows: Annotated[int, typer.Option(min=1, help="Crops that int8 learns ranges from.")] = 64,
) -> None:
    """Write a model file in another precision; `evaluate --model` says what it costs."""
    crops: Iterable[ModelArray] = ()
    if precision is Precision.INT8:
        crops = calibration_windows(
            require_cases(cases, "train"), load_onnx(model).spec, count=windows
        )
    convert_precision(model, out, precision, windows=crops)
    console.print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {precision.value}.")


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
