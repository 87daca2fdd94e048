"""The loop: it learns, goes on where it stood, and refuses to mix runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from calcium_scoring.model_input.spec import ALL_LABELS
from model_training.dataset import Patch, SamplingConfig
from model_training.losses import UNKNOWN_KIND
from model_training.network import DenseRAUnet
from model_training.settings import OptimizerConfig, TrainingConfig
from model_training.train import (
    CHECKPOINT,
    Checkpoint,
    crop_agreement,
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


NAMING = replace(TINY, labels=ALL_LABELS, network=replace(SMALL_NETWORK, label_count=8))
STANDING_STILL = OptimizerConfig(kind="adamw", learning_rate=0.0)


def run(
    config: TrainingConfig,
    root: Path,
    run_name: str,
    initial_weights: Mapping[str, Tensor] | None = None,
) -> Checkpoint:
    cases = [make_case(root / "cases", name, "train", seed=1) for name in ("a", "b")]
    validation = [make_case(root / "cases", "v", "validation", seed=2)]
    return train(
        config,
        cases=cases,
        validation_cases=validation,
        run_folder=root / run_name,
        worker_count=0,
        initial_weights=initial_weights,
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


@pytest.mark.parametrize("content", [b"not a checkpoint", b""])
def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(content)

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


def test_new_run_starts_from_the_weights_it_is_given(tmp_path: Path) -> None:
    torch.manual_seed(7)
    given = DenseRAUnet(SMALL_NETWORK)
    config = replace(TINY, optimizer=STANDING_STILL)

    trained = run(config, tmp_path, "run", given.state_dict())

    for (name, value), expected in zip(
        trained.network.named_parameters(), given.parameters(), strict=True
    ):
        assert torch.equal(value, expected), name


def test_network_that_names_starts_from_one_that_does_not(tmp_path: Path) -> None:
    torch.manual_seed(7)
    binary = DenseRAUnet(SMALL_NETWORK)
    config = replace(NAMING, optimizer=STANDING_STILL)

    trained = run(config, tmp_path, "run", binary.state_dict())

    weights, expected = trained.network.state_dict(), binary.state_dict()
    assert torch.equal(weights["head.3.weight"][:1], expected["head.3.weight"])
    assert torch.equal(weights["stem.0.weight"], expected["stem.0.weight"])


def test_run_that_goes_on_does_not_begin_again_from_the_given_weights(tmp_path: Path) -> None:
    trained = run(TINY, tmp_path, "run")
    torch.manual_seed(7)

    again = run(TINY, tmp_path, "run", DenseRAUnet(SMALL_NETWORK).state_dict())

    assert torch.equal(weights_of(again), weights_of(trained))


def test_weights_of_another_network_end_a_run_before_it_begins(tmp_path: Path) -> None:
    other = DenseRAUnet(replace(SMALL_NETWORK, growth_rate=12))

    with pytest.raises(ValueError, match="of another network"):
        run(TINY, tmp_path, "run", other.state_dict())
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_network_that_names_learns_and_comes_back_from_its_checkpoint(tmp_path: Path) -> None:
    trained = run(NAMING, tmp_path, "run")

    loaded = load_checkpoint(tmp_path / "run" / CHECKPOINT)

    assert loaded.config.labels == ALL_LABELS
    assert torch.equal(weights_of(loaded), weights_of(trained))
    torch.manual_seed(NAMING.seed)
    untrained = DenseRAUnet(NAMING.network).state_dict()["head.3.weight"]
    # Both the channel that decides and those that name have moved.
    change = loaded.network.state_dict()["head.3.weight"] - untrained
    moved = change.abs().amax(dim=(1, 2, 3))
    assert moved.min() > 0.0


def test_agreement_counts_dense_pixels_and_recall_of_each_kind_that_is_there() -> None:
    """Four dense pixels: coronary LAD, coronary RCA, a valve, and one of unknown kind."""
    logits = torch.full((1, 8, 1, 4), 0.0)
    logits[0, 0, 0] = torch.tensor([5.0, -5.0, 5.0, -5.0])
    for pixel, name in enumerate(("LAD", "LCX", "VALVE", "OTHER")):
        logits[0, ALL_LABELS.index(name), 0, pixel] = 3.0
    kind = [ALL_LABELS[1:].index(name) for name in ("LAD", "RCA", "VALVE")]
    batch = Patch(
        ct_patch=torch.zeros(1, 9, 1, 4),
        reference=torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]]),
        kind=torch.tensor([[[*kind, UNKNOWN_KIND]]]),
        is_counted=torch.ones(1, 1, 1, 4, dtype=torch.bool),
        is_dense=torch.ones(1, 1, 1, 4, dtype=torch.bool),
    )

    class Answer(torch.nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            return logits

    counts, recall = crop_agreement(Answer(), [batch], torch.device("cpu"))

    assert (counts.true_positives, counts.false_positives, counts.false_negatives) == (1, 1, 1)
    assert recall == {"LAD": 1.0, "RCA": 0.0, "VALVE": 1.0}
