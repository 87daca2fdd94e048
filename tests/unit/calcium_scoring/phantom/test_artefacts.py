from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.phantom.artefacts import StreakStyle, beam_hardening, metal_streaks
from calcium_scoring.phantom.projections import coarse, enlarged, projector

SIZE = 128


def discs(
    *centres: tuple[float, float], radius: float, value: float, base: float = 0.0
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image = np.full((SIZE, SIZE), base, dtype=np.float32)
    for row, column in centres:
        image[np.hypot(rows - row, columns - column) < radius] = value
    return image


def test_every_projection_of_an_image_has_its_sum() -> None:
    image = discs((50.0, 70.0), radius=9.0, value=2.0)

    sums = projector(SIZE, 20).forward(image)

    assert sums.sum(axis=1) == pytest.approx(image.sum(), rel=1e-5)


def test_back_projection_brings_a_smooth_disc_back() -> None:
    image = discs((60.0, 66.0), radius=20.0, value=1.0)
    rays = projector(SIZE, 180)

    back = rays.backprojected(rays.forward(image))

    assert back[50:70, 56:76].mean() == pytest.approx(1.0, abs=0.05)
    assert abs(float(back[10:30, 10:30].mean())) < 0.05


def test_tissue_between_dense_bones_becomes_dark() -> None:
    bones = discs((64.0, 30.0), (64.0, 98.0), radius=14.0, value=900.0, base=40.0)

    error = beam_hardening(bones, 2.0, 1.0)

    assert error[62:67, 58:71].mean() < -3.0
    assert error[62:67, 58:71].mean() < error[20:30, 58:71].mean() - 3.0


def test_soft_tissue_alone_hardens_nothing() -> None:
    tissue = np.full((SIZE, SIZE), 60.0, dtype=np.float32)

    assert not beam_hardening(tissue, 2.0, 1.0).any()
    assert not beam_hardening(discs((64.0, 64.0), radius=9.0, value=900.0), 2.0, 0.0).any()


def test_metal_streaks_are_dark_and_bright_and_fade_with_the_distance() -> None:
    lead = discs((64.0, 64.0), radius=2.0, value=9000.0)
    style = StreakStyle(disagreement=0.5, coherence_deg=2.0, reduction=1.0)

    streaks = metal_streaks(lead, 0.7, style, np.random.default_rng(0))

    rows, columns = np.mgrid[:SIZE, :SIZE]
    distance = 0.7 * np.hypot(rows - 64.0, columns - 64.0)
    near, far = streaks[(distance > 4.0) & (distance < 10.0)], streaks[distance > 35.0]
    assert near.max() > 20.0
    assert near.min() < -20.0
    assert near.std() > 2.0 * far.std()
    assert abs(float(streaks[64, 64])) < 1.0  # metal itself stays bright


def test_reduction_of_metal_artefacts_leaves_a_share() -> None:
    lead = discs((64.0, 64.0), radius=2.0, value=9000.0)

    full, reduced = (
        metal_streaks(lead, 0.7, StreakStyle(0.5, 2.0, share), np.random.default_rng(0))
        for share in (1.0, 0.25)
    )

    assert np.abs(reduced - 0.25 * full).max() < 1e-2


def test_slice_without_metal_has_no_streaks() -> None:
    nothing = np.zeros((SIZE, SIZE), dtype=np.float32)
    style = StreakStyle(disagreement=0.5, coherence_deg=2.0, reduction=1.0)

    assert not metal_streaks(nothing, 0.7, style, np.random.default_rng(0)).any()


@pytest.mark.parametrize("size", [96, 100, 300, 512])
def test_coarse_grid_and_back_keeps_a_ramp(size: int) -> None:
    ramp = np.tile(np.arange(size, dtype=np.float32), (size, 1))

    blocks, factor = coarse(ramp, 128)
    back = enlarged(blocks, factor, size)

    assert blocks.shape[0] <= 128
    inner = slice(2 * factor, size - 2 * factor)
    assert np.abs(back[inner, inner] - ramp[inner, inner]).max() < 0.01
