from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.phantom.motion import HeartMotion
from calcium_scoring.phantom.settings import ScanSettings

SIZE = 160


def motion(motion_mm: float, seed: int = 0) -> HeartMotion:
    scan = ScanSettings(z_extent_mm=100.0, spacing_between_slices_mm=2.5, motion_mm=motion_mm)
    return HeartMotion.draw(scan, np.random.default_rng(seed))


def heart() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside: np.ndarray[tuple[int, int], np.dtype[np.float32]] = np.float32(1.0) * (
        np.hypot(rows - 80, columns - 80) < 55
    )
    return inside


def spot(row: int, column: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    image = np.zeros((SIZE, SIZE), dtype=np.float32)
    image[row - 2 : row + 3, column - 2 : column + 3] = 600.0
    return image


def spread_px(image: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> float:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    weights = image / image.sum()
    middle = (rows * weights).sum(), (columns * weights).sum()
    return float(np.sqrt((weights * ((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2)).sum()))


def test_heart_at_rest_is_left_alone() -> None:
    assert motion(0.0).of_slice(0, heart(), (80.0, 80.0), 1.0) is None


def test_slice_without_heart_is_left_alone() -> None:
    nothing = np.zeros((SIZE, SIZE), dtype=np.float32)

    assert motion(4.0).of_slice(0, nothing, (80.0, 80.0), 1.0) is None


def test_weights_of_every_slice_sum_to_one() -> None:
    assert motion(5.0).weights.sum(axis=1) == pytest.approx(1.0)


def test_right_coronary_artery_is_blurred_more_than_the_left() -> None:
    beating = motion(6.0)
    # Columns ascend to the patient's left.
    right, left = spot(80, 45), spot(80, 115)
    blur = []
    for index in range(40):
        one = beating.of_slice(index, heart(), (80.0, 80.0), 1.0)
        assert one is not None
        blur.append(
            [spread_px(one.applied(image)) ** 2 - spread_px(image) ** 2 for image in (right, left)]
        )
    of_right, of_left = np.mean(blur, axis=0)

    assert of_right > 1.0  # px2 that motion adds to the variance
    assert of_right > 2.0 * of_left


def test_spine_does_not_move_with_the_heart() -> None:
    one = motion(6.0).of_slice(3, heart(), (80.0, 80.0), 1.0)
    bone = spot(156, 80)

    assert one is not None
    assert np.abs(one.applied(bone) - bone).max() < 30.0


def test_heart_lies_elsewhere_from_slice_to_slice() -> None:
    mean_mm = motion(6.0).displacements_mm.mean(axis=1)
    steps = np.linalg.norm(np.diff(mean_mm, axis=0), axis=1)

    assert steps.max() > 1.0
    assert np.abs(mean_mm).max() < 4.0 * 6.0
