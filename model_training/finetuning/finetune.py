"""Fine-tuning: a short training with small steps, and whether it helped on other patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from model_training.agreement import Bootstrap
from model_training.evaluate import (
    CaseProgress,
    CaseScans,
    FoundCalcium,
    ModelFile,
    evaluate_scan_set,
)
from model_training.evaluation.markdown_report import agreement_figures
from model_training.evaluation.summary import EvaluationSummary, summarise
from model_training.evaluation.wording import NO_FIGURE, estimate_text
from model_training.evaluation.write_evaluation import write_evaluation, write_worst_cases
from model_training.export_onnx import export_onnx
from model_training.finetuning.starting_point import StartingPoint
from model_training.finetuning.user_cases import LearningCases
from model_training.settings import TrainingConfig
from model_training.train import BEST_CHECKPOINT, load_checkpoint, train

BEFORE: Final = "before"
AFTER: Final = "after"
CHECKPOINTS: Final = 10
"""Times that a fine-tuning is validated and saved; our choice."""


@dataclass(frozen=True)
class FineTuning:
    """How far and how fast the weights may move; every value is our choice."""

    steps: int = 500
    learning_rate: float = 1e-4
    """A tenth of what the bundled model was trained with."""
    warm_up_steps: int = 50
    """The moments of the optimiser start at zero: full steps at once would undo the training."""
    seed: int = 0
    validation_crops: int = 64

    def training_config(self, start: TrainingConfig) -> TrainingConfig:
        """Return the settings of the run: those of the start with a short, gentle schedule."""
        return replace(
            start,
            name=f"{start.name}, fine-tuned",
            seed=self.seed,
            epochs=1,
            steps_per_epoch=self.steps,
            checkpoint_steps=max(1, self.steps // CHECKPOINTS),
            validation_crops=self.validation_crops,
            optimizer=replace(
                start.optimizer,
                kind="adamw",
                schedule="cosine",
                learning_rate=self.learning_rate,
                warm_up_steps=min(self.warm_up_steps, max(1, self.steps // 4)),
            ),
        )


@dataclass(frozen=True)
class FineTuned:
    """The model files before and after, and how each agrees with the validation patients."""

    before_file: Path
    after_file: Path
    before: EvaluationSummary
    after: EvaluationSummary

    @property
    def is_better(self) -> bool | None:
        """Whether the voxel F1 rose; None where it is not defined before or after."""
        values = [
            None if one.voxels is None else one.voxels.f1.value for one in (self.before, self.after)
        ]
        if values[0] is None or values[1] is None:
            return None
        return values[1] > values[0]


def finetune(
    start: StartingPoint,
    cases: LearningCases,
    settings: FineTuning,
    *,
    run_folder: Path,
    device: str = "cpu",
    worker_count: int = 1,
    thread_count: int = 1,
    bootstrap: Bootstrap,
    pictures: int = 0,
    progress: CaseProgress | None = None,
    after_checkpoint: Callable[[int], None] | None = None,
) -> FineTuned:
    """Fine-tune, or go on where the run stands; then evaluate both models as the service runs them.

    Writes the files of a training run, ``after.onnx`` (and ``before.onnx``, if the start was no
    model file), and an evaluation of each on the validation patients in the folders ``before`` and
    ``after``.

    Raises
    ------
    ValueError
        If the folder holds a run of other settings.
    """
    config = settings.training_config(start.config)
    train(
        config,
        cases=[*cases.own, *cases.simulated],
        validation_cases=cases.validation,
        run_folder=run_folder,
        device=device,
        worker_count=worker_count,
        initial_weights=start.weights,
        after_checkpoint=after_checkpoint,
    )
    best = load_checkpoint(run_folder / BEST_CHECKPOINT)
    spec = replace(
        start.spec,
        model_version=f"{start.spec.model_version}+{run_folder.name}",
        is_provisional=True,
    )
    files = {BEFORE: start.file or run_folder / "before.onnx", AFTER: run_folder / "after.onnx"}
    if start.file is None:
        export_onnx(start.network, start.spec, files[BEFORE], heart_finder=start.heart_finder)
    export_onnx(best.network, spec, files[AFTER], heart_finder=start.heart_finder)
    scans = CaseScans("validation patients of a fine-tuning", cases.validation)
    summaries = {
        name: _evaluation(
            ModelFile(file, thread_count),
            scans,
            run_folder,
            name,
            bootstrap=bootstrap,
            pictures=pictures,
            progress=progress,
        )
        for name, file in files.items()
    }
    return FineTuned(files[BEFORE], files[AFTER], summaries[BEFORE], summaries[AFTER])


def comparison_rows(tuned: FineTuned) -> list[tuple[str, str, str]]:
    """Return name, value before and value after of every figure of all scans together."""
    after = {name: (estimate, digits) for name, estimate, digits in agreement_figures(tuned.after)}
    return [
        (
            name,
            estimate_text(estimate, digits),
            estimate_text(*after[name]) if name in after else NO_FIGURE,
        )
        for name, estimate, digits in agreement_figures(tuned.before)
    ]


def _evaluation(
    file: ModelFile,
    scans: CaseScans,
    run_folder: Path,
    name: str,
    *,
    bootstrap: Bootstrap,
    pictures: int,
    progress: CaseProgress | None,
) -> EvaluationSummary:
    kept = FoundCalcium(run_folder / "found")
    figures = evaluate_scan_set(file, scans, kept=kept, progress=progress)
    model = file.open()
    summary = summarise(model.identity, scans.description, figures, bootstrap)
    folder = run_folder / name
    shown = write_worst_cases(
        summary, folder, model=model, scan_set=scans, kept=kept, count=pictures
    )
    write_evaluation(summary, folder, command="python -m model_training finetune", pictures=shown)
    return summary
