"""Random poses and Hounsfield values: within their ranges, sides kept, deterministic."""

from __future__ import annotations

import numpy as np
import pytest

from model_training.augmentation import (
    NO_AUGMENTATION,
    AugmentationConfig,
    Pose,
    jitter_hu,
    random_pose,
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
