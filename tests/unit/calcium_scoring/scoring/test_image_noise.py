"""The noise that a scan is found to have is the noise that it was given."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from calcium_scoring.scoring.image_noise import ImageNoise, measure_noise
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry

SHAPE = (14, 128, 128)


def white(seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(SHAPE)


def found_in(noise: NDArray[np.float64], tissue_hu: float = 45.0) -> ImageNoise | None:
    geometry = VolumeGeometry.axial(SHAPE, (3.0, 0.5, 0.5))
    return measure_noise(CtVolume(geometry, (tissue_hu + noise).astype(np.float32)))


def test_white_noise_has_its_strength_and_no_correlation() -> None:
    noise = found_in(20.0 * white())

    assert noise is not None
    assert noise.sd_hu == pytest.approx(20.0, rel=0.03)
    assert noise.slice_correlation == pytest.approx(0.0, abs=0.03)
    assert noise.row_correlation == pytest.approx(0.0, abs=0.03)
    assert noise.column_correlation == pytest.approx(0.0, abs=0.03)


def test_blurred_noise_is_alike_in_neighbours_along_the_axis_of_the_blur() -> None:
    # Neighbours that are means of two share one of two.
    sharp = white()
    blurred = (sharp + np.roll(sharp, 1, axis=2)) / np.sqrt(2.0)

    noise = found_in(20.0 * blurred)

    assert noise is not None
    assert noise.column_correlation == pytest.approx(0.5, abs=0.03)
    assert noise.row_correlation == pytest.approx(0.0, abs=0.03)


def test_slices_that_overlap_by_half_share_half_of_their_noise() -> None:
    thin = white()
    overlapping = (thin + np.roll(thin, 1, axis=0)) / np.sqrt(2.0)

    noise = found_in(20.0 * overlapping)

    assert noise is not None
    assert noise.slice_correlation == pytest.approx(0.5, abs=0.03)


def test_an_organ_in_half_of_the_picture_is_no_noise() -> None:
    scan = 10.0 * white()
    scan[:, :40, :] -= 140.0

    noise = found_in(scan)

    assert noise is not None
    assert noise.sd_hu == pytest.approx(10.0, rel=0.03)


@pytest.mark.parametrize("tissue_hu", [-800.0, -90.0, 400.0])
def test_a_scan_without_soft_tissue_has_no_noise_to_measure(tissue_hu: float) -> None:
    assert found_in(10.0 * white(), tissue_hu) is None


def test_a_scan_without_noise_has_none() -> None:
    assert found_in(0.0 * white()) == ImageNoise(0.0, 0.0, 0.0, 0.0)
