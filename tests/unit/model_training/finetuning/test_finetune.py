"""From a trained network to one that has seen other scans, and a comparison of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_training.agreement import Bootstrap
from model_training.dataset import SamplingConfig
from model_training.evaluation import write_evaluation
from model_training.finetuning.finetune import (
    FineTuning,
    comparison_rows,
    finetune,
)
from model_training.finetuning.starting_point import StartingPoint, starting_point
from model_training.finetuning.user_cases import learning_cases
from model_training.settings import OptimizerConfig, TrainingConfig
from tests.small_network import SMALL_NETWORK
from tests.unit.model_training.conftest import make_case
from tests.unit.model_training.finetuning.test_starting_point import trained_network

CONFIG = TrainingConfig(
    name="small",
    epochs=7,
    batch_size=2,
    network=SMALL_NETWORK,
    sampling=SamplingConfig(crop_size=32, calcium_part=0.6),
    optimizer=OptimizerConfig(kind="sgd", learning_rate=0.5, average_decay=0.9),
)


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked at elsewhere and take longer than all the rest."""
    monkeypatch.setattr(write_evaluation, "write_plots", lambda *_: {})


def test_schedule_is_short_and_gentle_and_the_rest_stays() -> None:
    tuned = FineTuning(steps=200, learning_rate=1e-5).training_config(CONFIG)

    assert (tuned.epochs, tuned.steps_per_epoch, tuned.checkpoint_steps) == (1, 200, 20)
    assert (tuned.optimizer.kind, tuned.optimizer.learning_rate) == ("adamw", 1e-5)
    assert (tuned.network, tuned.sampling) == (CONFIG.network, CONFIG.sampling)
    assert tuned.optimizer.average_decay == 0.9


@pytest.mark.slow
def test_fine_tuning_ends_with_both_models_on_the_validation_patients(tmp_path: Path) -> None:
    own = [make_case(tmp_path / "cases", f"own-{index}", "train", seed=index) for index in (1, 2)]
    judges = [make_case(tmp_path / "cases", f"judge-{index}", "validation") for index in (1, 2, 3)]
    network = trained_network()
    start = StartingPoint(
        CONFIG, dict(network.state_dict()), CONFIG.model_spec(model_version="1.0.0")
    )

    def run(name: str, steps: int = 2) -> object:
        return finetune(
            start,
            learning_cases(own, judges, simulated=(), keep_simulated=0.0),
            replace(FineTuning(), steps=steps, validation_crops=2),
            run_folder=tmp_path / name,
            worker_count=0,
            bootstrap=Bootstrap(100),
        )

    tuned = run("site")

    assert tuned.before.model.version == "1.0.0"  # type: ignore[attr-defined]
    assert tuned.after.model.version == "1.0.0+site"  # type: ignore[attr-defined]
    for name in ("before", "after"):
        assert (tmp_path / "site" / name / "README.md").is_file()
    before, after = (
        starting_point(tmp_path / "site" / f"{name}.onnx", config=CONFIG)
        for name in ("before", "after")
    )
    moved = {
        name: (after.weights[name] - values).abs().max() for name, values in before.weights.items()
    }
    assert any(change > 0.0 for change in moved.values())
    rows = {row[0]: row[1:] for row in comparison_rows(tuned)}  # type: ignore[arg-type]
    assert set(rows) >= {"voxel F1", "Agatston ICC(A,1)", "risk category right"}

    # The same again takes up the finished run.
    assert run("site") == tuned
    with pytest.raises(ValueError, match="other settings"):
        run("site", steps=3)


@pytest.mark.slow
def test_first_step_starts_from_the_weights_that_were_given(tmp_path: Path) -> None:
    own = [make_case(tmp_path / "cases", "own", "train")]
    judge = [make_case(tmp_path / "cases", "judge", "validation")]
    network = trained_network()
    start = StartingPoint(
        CONFIG, dict(network.state_dict()), CONFIG.model_spec(model_version="1.0.0")
    )

    finetune(
        start,
        learning_cases(own, judge, simulated=(), keep_simulated=0.0),
        # The warm-up leaves a millionth of a step: nothing moves by more than rounding.
        replace(FineTuning(), steps=1, learning_rate=1e-9, validation_crops=2),
        run_folder=tmp_path / "run",
        worker_count=0,
        bootstrap=Bootstrap(100),
    )

    after = starting_point(tmp_path / "run" / "after.onnx", config=CONFIG).weights
    for name, values in network.state_dict().items():
        if name.endswith("weight") and values.ndim > 1:
            assert torch.allclose(after[name], values, atol=2e-3), name
