"""``python -m model_training finetune``: the bundled model on somebody's own annotated scans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import torch
import typer
from rich.console import Console
from rich.table import Table

from model_training.agreement import Bootstrap
from model_training.cases import find_cases
from model_training.evaluation.commands import (
    DEFAULT_CASES,
    DEFAULT_MODEL,
    tell_left_out,
    tell_progress,
)
from model_training.export_onnx import heart_finder_of
from model_training.finetuning.finetune import (
    FineTuned,
    FineTuning,
    comparison_rows,
)
from model_training.finetuning.finetune import (
    finetune as finetune_model,
)
from model_training.finetuning.starting_point import starting_point
from model_training.finetuning.user_cases import (
    learning_cases,
    own_cases,
    patient_of,
    split_cases,
)
from model_training.importers.__main__ import NoAnnotationMeansZero, RoiNames, roi_meanings
from model_training.importers.data_sets import DataSetKind, ImportOptions
from model_training.settings import read_training_config
from model_training.simulate import is_simulated

BUNDLED: Final = "bundled"

console = Console()


def finetune(
    *,
    data: Annotated[
        str,
        typer.Option(
            help=f"Folder of imported cases, KIND=PATH (a KIND is {', '.join(DataSetKind)}), or a "
            "CSV table of scans and masks."
        ),
    ],
    run: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run goes on.")],
    start: Annotated[
        str, typer.Option("--from", help="bundled, a model file (.onnx) or a checkpoint (.pt).")
    ] = BUNDLED,
    config: Annotated[
        str | None,
        typer.Option(help="Settings of the network, where a model file fits no shipped ones."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = FineTuning.steps,
    learning_rate: Annotated[float, typer.Option(min=0.0)] = FineTuning.learning_rate,
    keep_simulated: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.9, help="Part of the crops that show simulated patients, as before."
        ),
    ] = 0.0,
    simulated_cases: Annotated[
        Path, typer.Option(help="Folder of simulated cases for --keep-simulated.")
    ] = DEFAULT_CASES,
    validation_part: Annotated[
        float,
        typer.Option(
            min=0.05, max=0.9, help="Of the patients, where none was imported for validation."
        ),
    ] = 0.2,
    no_annotation_means_zero: NoAnnotationMeansZero = False,
    roi_name: RoiNames = None,
    seed: Annotated[int, typer.Option(min=0)] = FineTuning.seed,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = (
        Bootstrap.resamples
    ),
    pictures: Annotated[int, typer.Option(min=0, help="Pictures of worst cases.")] = 4,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that cut crops.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network on a CPU.")] = 1,
) -> None:
    """Go on training on your own annotated scans, and see whether it helped on other patients."""
    torch.set_num_threads(threads)
    point = starting_point(
        DEFAULT_MODEL if start == BUNDLED else Path(start),
        config=None if config is None else read_training_config(config),
    )
    if point.file is None and DEFAULT_MODEL.is_file():
        # A checkpoint holds one network; the heart is found as in the service.
        point = replace(point, heart_finder=heart_finder_of(DEFAULT_MODEL))
    options = ImportOptions(no_annotation_means_zero, roi_meanings(roi_name or []))
    own, validation = split_cases(
        own_cases(data, run / "cases", options, left_out=tell_left_out),
        validation_part=validation_part,
    )
    simulated = (
        [case for case in find_cases(simulated_cases, "train") if is_simulated(case)]
        if keep_simulated
        else []
    )
    if keep_simulated and not simulated:
        raise ValueError(
            f"There is no simulated patient below {simulated_cases}. Make some: python -m "
            f"model_training simulate --cases {simulated_cases} --split train --n 8"
        )
    cases = learning_cases(own, validation, simulated=simulated, keep_simulated=keep_simulated)
    console.print(
        f"{len(own)} scans of {len({patient_of(case) for case in own})} patients to learn from, "
        f"{len(validation)} scans of {len({patient_of(case) for case in validation})} patients to "
        f"judge by; {len(cases.simulated)} simulated patients ({cases.simulated_part:.0%})."
    )
    tuned = finetune_model(
        point,
        cases,
        FineTuning(steps=steps, learning_rate=learning_rate, seed=seed),
        run_folder=run,
        device=device,
        worker_count=workers,
        thread_count=threads,
        bootstrap=Bootstrap(resamples),
        pictures=pictures,
        progress=tell_progress,
    )
    console.print(_comparison(tuned))
    console.print(_verdict(tuned))


def _comparison(tuned: FineTuned) -> Table:
    table = Table(
        title=f"{len(tuned.before.cases)} validation scans",
        caption="These patients chose the checkpoint: after fine-tuning the figures are hopeful.",
    )
    for place, heading in enumerate(("figure", "before", "after")):
        table.add_column(heading, justify="right" if place else "left")
    for row in comparison_rows(tuned):
        table.add_row(*row)
    return table


def _verdict(tuned: FineTuned) -> str:
    if tuned.is_better:
        return f"The fine-tuned model marks voxels better: {tuned.after_file}"
    return (
        "The fine-tuned model marks voxels no better: keep the one before, or try more scans, more "
        f"steps or another learning rate. It is {tuned.after_file}"
    )
