"""``python -m model_training heart``: simulate, train, export, check the heart finder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

from calcium_scoring.model_input.heart_region import HeartSpec
from model_training.cases import Split, find_cases
from model_training.heart_finder.cases import (
    find_heart_cases,
    heart_case_of,
    simulate_heart_cases,
)
from model_training.heart_finder.export import export_heart_finder
from model_training.heart_finder.train import (
    CHECKPOINT,
    HeartTrainingConfig,
    heart_dice,
    load_heart_finder,
    train_heart_finder,
)

heart_app = typer.Typer(help="The small network that finds the heart.", no_args_is_help=True)
console = Console()

HeartsOption = Annotated[Path, typer.Option(help="Folder of the coarse volumes.")]
DEFAULT_HEARTS = Path("runs/hearts")
DEFAULT_RUN = Path("runs/heart-finder")


@heart_app.command()
def simulate(
    hearts: HeartsOption = DEFAULT_HEARTS,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    n: Annotated[int, typer.Option(min=1, help="Number of patients.")] = 100,
    first: Annotated[int, typer.Option(min=0, help="First of them within the split.")] = 0,
) -> None:
    """Simulate patients in quick coarse scans."""
    count = sum(
        1
        for _ in simulate_heart_cases(hearts, _split(split), first=first, count=n, spec=HeartSpec())
    )
    console.print(f"{count} coarse volumes in {hearts}")


@heart_app.command()
def gather(
    cases: Annotated[Path, typer.Option(help="Folder of training cases.")] = Path("runs/cases"),
    hearts: HeartsOption = DEFAULT_HEARTS,
) -> None:
    """Take the coarse volumes of all cases whose heart is known."""
    written = [
        heart_case_of(case, hearts, HeartSpec())
        for case in find_cases(cases)
        if case.heart is not None
    ]
    console.print(f"{len(written)} coarse volumes in {hearts}")


@heart_app.command()
def train(
    hearts: HeartsOption = DEFAULT_HEARTS,
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = DEFAULT_RUN,
    steps: Annotated[int, typer.Option(min=1)] = HeartTrainingConfig.steps,
    workers: Annotated[int, typer.Option(min=0, help="Processes that cut views.")] = 1,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Train, or go on with an unfinished run."""
    torch.set_num_threads(threads)
    train_heart_finder(
        HeartTrainingConfig(steps=steps),
        spec=HeartSpec(),
        cases=find_heart_cases(hearts, "train"),
        validation_cases=find_heart_cases(hearts, "validation"),
        run_folder=run,
        worker_count=workers,
    )


@heart_app.command()
def export(
    model_version: Annotated[str, typer.Option(help="Version that reports will name.")],
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = DEFAULT_RUN,
    out: Annotated[
        Path, typer.Option(help="ONNX file to write; `export --heart` takes it along.")
    ] = DEFAULT_RUN / "heart_finder.onnx",
) -> None:
    """Write an ONNX file that a model file takes inside."""
    difference = export_heart_finder(
        load_heart_finder(run / CHECKPOINT), HeartSpec(model_version=model_version), out
    )
    console.print(f"{out}: probabilities differ by at most {difference:.1e}")


@heart_app.command()
def check(
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = DEFAULT_RUN,
    hearts: HeartsOption = DEFAULT_HEARTS,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
) -> None:
    """Print the Dice overlap with the known hearts of a split."""
    network = load_heart_finder(run / CHECKPOINT)
    overlaps = {
        case.case_id: heart_dice(network, case, HeartSpec())
        for case in find_heart_cases(hearts, _split(split))
    }
    worst = sorted(overlaps, key=overlaps.__getitem__)[:5]
    console.print(
        f"Dice {np.mean(list(overlaps.values())):.3f} on {len(overlaps)} volumes; worst: "
        + ", ".join(f"{case_id} {overlaps[case_id]:.3f}" for case_id in worst)
    )


def _split(name: str) -> Split:
    splits: dict[str, Split] = {"train": "train", "validation": "validation", "test": "test"}
    if name not in splits:
        raise ValueError(f"Split {name!r} is none of {', '.join(splits)}.")
    return splits[name]
