"""The heart finder learns, goes on where it stood, and reads no other file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model_training.heart_finder.cases import HeartCase, heart_case_of
from model_training.heart_finder.network import HeartFinder
from model_training.heart_finder.train import (
    CHECKPOINT,
    HeartSamples,
    HeartTrainingConfig,
    _random_cut,
    heart_dice,
    heart_loss,
    load_heart_finder,
    train_heart_finder,
)
from tests.unit.model_training.heart_finder.conftest import SPEC, ball_case

TINY = HeartTrainingConfig(steps=4, shape=(16, 16, 16), checkpoint_steps=2)


def coarse_balls(root: Path, count: int, *, first_seed: int = 0) -> list[HeartCase]:
    return [
        heart_case_of(ball_case(root / "cases", f"s{seed}", "train", seed=seed), root, SPEC)
        for seed in range(first_seed, first_seed + count)
    ]


def run(config: HeartTrainingConfig, root: Path, name: str, *validation: HeartCase) -> HeartFinder:
    cases = coarse_balls(root, 2)
    return train_heart_finder(
        config,
        spec=SPEC,
        cases=cases,
        validation_cases=validation or cases[:1],
        run_folder=root / name,
        worker_count=0,
    )


def weights_of(network: HeartFinder) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in network.parameters()])


@pytest.mark.parametrize("shape", [(8, 8, 8), (16, 24, 40)])
def test_logits_lie_on_the_grid_of_the_input(shape: tuple[int, int, int]) -> None:
    logits = HeartFinder()(torch.zeros(2, 1, *shape))

    assert logits.shape == (2, 1, *shape)


def test_overlap_and_cross_entropy_are_added() -> None:
    logits = torch.full((1, 1, 1, 1, 2), 0.0)
    heart = torch.tensor([[[[[1.0, 0.0]]]]])

    # Probability 1/2 everywhere: ln 2, and 1 - (2 x 0.5 + 1) / (1 + 1 + 1).
    assert heart_loss(logits, heart).item() == pytest.approx(log(2.0) + 1.0 / 3.0)


def test_a_ball_in_noise_is_learned(tmp_path: Path) -> None:
    config = HeartTrainingConfig(
        steps=60, shape=(16, 16, 16), learning_rate=1e-2, average_decay=0.9, checkpoint_steps=60
    )
    (unseen,) = coarse_balls(tmp_path, 1, first_seed=90)
    torch.manual_seed(config.seed)
    before = heart_dice(HeartFinder(), unseen, SPEC)

    trained = run(config, tmp_path, "run", unseen)

    assert before < 0.4
    assert heart_dice(trained, unseen, SPEC) > 0.7


def test_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    @dataclass(frozen=True)
    class Interruption(HeartCase):
        """Lets the first validation pass and ends the run at the second."""

        @property
        def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            if (tmp_path / "parts" / CHECKPOINT).is_file():
                raise Interrupted
            return HeartCase(self.case_id, self.path).arrays

    whole = run(TINY, tmp_path, "whole")
    (case,) = coarse_balls(tmp_path, 1)
    with pytest.raises(Interrupted):
        run(TINY, tmp_path, "parts", Interruption(case.case_id, case.path))
    stopped = load_heart_finder(tmp_path / "parts" / CHECKPOINT)

    resumed = run(TINY, tmp_path, "parts")

    assert not torch.equal(weights_of(stopped), weights_of(whole))
    assert torch.allclose(weights_of(resumed), weights_of(whole), atol=1e-6)


def test_finished_run_is_read_and_not_trained_further(tmp_path: Path) -> None:
    trained = run(TINY, tmp_path, "run")

    again = run(TINY, tmp_path, "run")
    loaded = load_heart_finder(tmp_path / "run" / CHECKPOINT)

    assert torch.equal(weights_of(again), weights_of(trained))
    assert torch.equal(weights_of(loaded), weights_of(trained))
    assert not loaded.training


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(TINY, tmp_path, "run")

    with pytest.raises(ValueError, match="other settings"):
        run(replace(TINY, seed=1), tmp_path, "run")


@pytest.mark.parametrize("content", [b"not a checkpoint", b""])
def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / CHECKPOINT
    path.write_bytes(content)

    with pytest.raises(ValueError, match="no checkpoint of the heart finder"):
        load_heart_finder(path)


def test_same_index_gives_the_same_view_whoever_asks(tmp_path: Path) -> None:
    cases = coarse_balls(tmp_path, 2)
    first, again = (HeartSamples(cases, SPEC, TINY) for _ in range(2))
    _ = again[0]

    for one, other in zip(first[5], again[5], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first[5][0], first[6][0])


def test_views_are_in_model_units_with_parts_of_voxels_that_are_heart(tmp_path: Path) -> None:
    samples = HeartSamples(coarse_balls(tmp_path, 2), SPEC, TINY)

    for index in range(len(samples)):
        ct_coarse, heart = samples[index]
        assert ct_coarse.shape == heart.shape == (1, 16, 16, 16)
        assert ct_coarse.dtype == heart.dtype == torch.float32
        for values in (ct_coarse, heart):
            assert 0.0 <= float(values.min()) <= float(values.max()) <= 1.0


def test_view_without_augmentation_of_pose_keeps_the_size_of_the_heart(tmp_path: Path) -> None:
    """Recoloured and moved about, the ball of 65 mL stays a ball of nearly that."""
    config = replace(TINY, steps=20, max_scale_change=0.0, cut_part=0.0, shape=(32, 32, 32))
    samples = HeartSamples(coarse_balls(tmp_path, 1), SPEC, config)

    volumes_ml = [float(samples[index][1].sum()) * 0.216 for index in range(len(samples))]

    # Axes are stretched by 6 % each (one standard deviation), so the volume by about 10 %.
    assert np.median(volumes_ml) == pytest.approx(65.4, rel=0.12)


def test_heart_ends_where_a_smaller_field_of_view_ends() -> None:
    """What was not scanned is air, and no network shall guess a heart there."""
    hu = np.full((24, 24, 24), 40.0, dtype=np.float32)
    heart = np.ones_like(hu)
    config = replace(TINY, cut_part=1.0)

    cuts = [_random_cut(hu, heart, config, np.random.default_rng(seed)) for seed in range(12)]

    for cut_hu, cut_heart in cuts:
        assert cut_hu.dtype == cut_heart.dtype == np.float32
        assert np.array_equal(cut_heart > 0, cut_hu > -1000.0)
        assert 0 < np.count_nonzero(cut_heart) < heart.size
    # Some of them lack slices at an end, all of them the corners of their slices.
    assert any(not cut_heart[0].any() or not cut_heart[-1].any() for _, cut_heart in cuts)
    assert hu.min() == 40.0, "the case itself stays as it is"
