"""The loop: it learns, goes on where it stood, and refuses to mix runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_training.dataset import SamplingConfig
from model_training.settings import OptimizerConfig, TrainingConfig
from model_training.train import (
    CHECKPOINT,
    Checkpoint,
    learning_rate_factor,
    load_checkpoint,
    train,
)
from tests.small_network import SMALL_NETWORK
from tests.unit.model_training.conftest import make_case

TINY = TrainingConfig(
    name="tiny",
    epochs=1,
    steps_per_epoch=4,
    batch_size=2,
    validation_crops=4,
    checkpoint_steps=2,
    network=SMALL_NETWORK,
    sampling=SamplingConfig(crop_size=32, calcium_part=0.6),
    optimizer=OptimizerConfig(
        kind="adamw", learning_rate=0.003, schedule="cosine", average_decay=0.9
    ),
)


def run(config: TrainingConfig, root: Path, run_name: str) -> Checkpoint:
    cases = [make_case(root / "cases", name, "train", seed=1) for name in ("a", "b")]
    validation = [make_case(root / "cases", "v", "validation", seed=2)]
    return train(
        config,
        cases=cases,
        validation_cases=validation,
        run_folder=root / run_name,
        worker_count=0,
    )


def weights_of(checkpoint: Checkpoint) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in checkpoint.network.parameters()])


def test_checkpoint_holds_the_network_that_was_validated(tmp_path: Path) -> None:
    trained = run(TINY, tmp_path, "run")

    loaded = load_checkpoint(tmp_path / "run" / CHECKPOINT)

    assert (loaded.step, loaded.config) == (4, TINY)
    assert torch.equal(weights_of(loaded), weights_of(trained))
    assert not loaded.network.training


def test_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole = run(TINY, tmp_path, "whole")

    class Interrupted(Exception):
        pass

    def interrupt(step: int) -> None:
        if step == 2:
            raise Interrupted

    cases = [make_case(tmp_path / "cases", name, "train", seed=1) for name in ("a", "b")]
    validation = [make_case(tmp_path / "cases", "v", "validation", seed=2)]
    with pytest.raises(Interrupted):
        train(
            TINY,
            cases=cases,
            validation_cases=validation,
            run_folder=tmp_path / "parts",
            worker_count=0,
            after_checkpoint=interrupt,
        )
    assert load_checkpoint(tmp_path / "parts" / CHECKPOINT).step == 2
    resumed = run(TINY, tmp_path, "parts")

    assert resumed.step == 4
    assert torch.allclose(weights_of(resumed), weights_of(whole), atol=1e-6)


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(TINY, tmp_path, "run")

    with pytest.raises(ValueError, match="other settings"):
        run(replace(TINY, seed=1), tmp_path, "run")


def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"not a checkpoint")

    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)


@pytest.mark.slow
def test_network_learns_to_tell_a_plaque_from_a_valve(tmp_path: Path) -> None:
    config = replace(
        TINY,
        steps_per_epoch=150,
        batch_size=4,
        validation_crops=32,
        checkpoint_steps=150,
        sampling=SamplingConfig(
            crop_size=32,
            calcium_part=0.5,
            confuser_part=0.4,
            dense_part=0.1,
            counted_above_hu=90.0,
        ),
        optimizer=replace(TINY.optimizer, learning_rate=0.01),
    )

    trained = run(config, tmp_path, "run")

    # Half of the crops show a plaque of 16 pixels, the others a valve as large or far more bone:
    # to mark every dense pixel would have a precision, and so an F1, well below one half.
    assert trained.validation_f1 > 0.6


def test_learning_rate_of_the_paper_falls_by_one_per_cent_each_2000_steps() -> None:
    paper = TrainingConfig()

    factors = [learning_rate_factor(step, paper, 10_000) for step in (0, 1999, 2000, 4000)]

    assert factors == pytest.approx([1.0, 1.0, 0.99, 0.99**2])


def test_cosine_schedule_warms_up_and_falls_to_a_hundredth() -> None:
    config = replace(
        TINY, optimizer=OptimizerConfig(kind="adamw", schedule="cosine", warm_up_steps=10)
    )

    factors = [learning_rate_factor(step, config, 1000) for step in (0, 9, 1000)]

    assert factors == pytest.approx([0.1, 1.0, 0.01], abs=1e-3)
