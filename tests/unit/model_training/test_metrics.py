"""Voxel counts and what follows from them."""

from __future__ import annotations

import numpy as np
import pytest

from model_training.metrics import VoxelCounts


def test_f1_of_three_found_one_wrong_two_missed() -> None:
    found = np.array([1, 1, 1, 1, 0, 0, 0], dtype=np.bool_)
    calcium = np.array([1, 1, 1, 0, 1, 1, 0], dtype=np.bool_)

    counts = VoxelCounts.of(found, calcium)

    assert counts == VoxelCounts(3, 1, 2)
    assert counts.precision == 0.75
    assert counts.sensitivity == 0.6
    assert counts.f1 == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))


def test_nothing_to_find_and_nothing_found_is_perfect() -> None:
    assert VoxelCounts(0, 0, 0).f1 == 1.0


def test_one_false_voxel_in_a_patient_without_calcium_is_an_f1_of_zero() -> None:
    assert VoxelCounts(0, 1, 0).f1 == 0.0


def test_counts_of_scans_add_up() -> None:
    assert VoxelCounts(1, 2, 3) + VoxelCounts(10, 20, 30) == VoxelCounts(11, 22, 33)
