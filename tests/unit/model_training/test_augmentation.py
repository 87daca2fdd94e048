"""Random poses and Hounsfield values: within their ranges, sides kept, deterministic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_training.augmentation import (
    NO_AUGMENTATION,
    AugmentationConfig,
    Pose,
    jitter_hu,
    random_pose,
    random_slice_step,
)


def test_anatomy_is_never_mirrored() -> None:
    rng = np.random.default_rng(0)
    poses = [random_pose(AugmentationConfig(), rng) for _ in range(50)]

    assert all(np.linalg.det(pose.matrix) > 0.0 for pose in poses)


def test_poses_stay_within_their_ranges() -> None:
    config = AugmentationConfig(max_scale_change=0.25, max_rotation_degrees=10.0, max_shift_mm=5.0)
    rng = np.random.default_rng(1)

    for pose in (random_pose(config, rng) for _ in range(200)):
        assert 0.8 <= pose.scale <= 1.25
        assert abs(pose.rotation_degrees) <= 10.0
        assert max(map(abs, pose.shift_mm)) <= 5.0


def test_quarter_turn_leads_from_rows_to_columns() -> None:
    pose = Pose(scale=2.0, rotation_degrees=90.0, shift_mm=(0.0, 0.0))

    assert pose.matrix @ (1.0, 0.0) == pytest.approx([0.0, 2.0])


def test_no_augmentation_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    hu = np.array([[[-1000.0, 40.0, 130.0]]], dtype=np.float32)

    pose = random_pose(NO_AUGMENTATION, rng)

    assert pose == Pose(scale=1.0, rotation_degrees=0.0, shift_mm=(0.0, 0.0))
    assert np.array_equal(jitter_hu(hu, NO_AUGMENTATION, rng), hu)
    assert NO_AUGMENTATION.is_off


def test_added_noise_has_no_mean_and_at_most_the_given_deviation() -> None:
    config = AugmentationConfig(max_hu_offset=0.0, max_contrast_change=0.0, max_noise_hu=10.0)
    hu = np.full((9, 64, 64), 40.0, dtype=np.float32)

    changed = jitter_hu(hu, config, np.random.default_rng(3))

    assert changed.dtype == np.float32
    assert changed.mean() == pytest.approx(40.0, abs=0.3)
    assert 0.0 < changed.std() <= 10.5


@pytest.mark.parametrize(("spacing_mm", "step"), [(0.7, 2), (1.5, 2), (1.6, 1), (5.0, 1)])
def test_slices_are_left_out_only_where_the_spacing_stays_within_three_millimetres(
    spacing_mm: float, step: int
) -> None:
    config = AugmentationConfig(slice_skip_part=1.0)

    assert random_slice_step(config, spacing_mm, np.random.default_rng(0)) == step


def test_slices_are_left_out_in_the_part_of_the_crops_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    config = AugmentationConfig(slice_skip_part=0.3)

    steps = [random_slice_step(config, 1.0, rng) for _ in range(1000)]

    # Within three standard deviations of a binomial draw of 1000.
    assert np.mean(np.array(steps) == 2) == pytest.approx(0.3, abs=0.044)
    assert random_slice_step(NO_AUGMENTATION, 1.0, rng) == 1


def test_smoothed_noise_has_the_same_spread_and_neighbours_that_are_alike() -> None:
    flat = np.zeros((3, 64, 64), dtype=np.float32)
    only_noise = AugmentationConfig(0.0, 0.0, 0.0, 0.0, 0.0, max_noise_hu=12.0)

    white = jitter_hu(flat, only_noise, np.random.default_rng(3))
    smooth = jitter_hu(
        flat, replace(only_noise, max_noise_smoothing_pixels=3.0), np.random.default_rng(3)
    )

    def likeness(noise: np.ndarray) -> float:
        return float(np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1])

    assert smooth.std() == pytest.approx(white.std(), rel=0.05)
    assert abs(likeness(white)) < 0.05
    assert likeness(smooth) > 0.3


def test_kernels_change_edges_and_not_flat_tissue() -> None:
    step = np.zeros((1, 32, 32), dtype=np.float32)
    step[..., 16:] = 100.0
    config = AugmentationConfig(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, sharpness_part=1.0)

    changed = [jitter_hu(step, config, np.random.default_rng(seed)) for seed in range(20)]

    for hu in changed:
        assert hu[..., :8] == pytest.approx(0.0, abs=1e-3)
        assert hu[..., 24:] == pytest.approx(100.0, abs=1e-3)
    overshoot = [float(hu.max()) > 100.5 for hu in changed]
    assert any(overshoot), "some are sharpened"
    assert not all(overshoot), "others are blurred"
