from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.noise import NoiseSource, Section
from calcium_scoring.phantom.settings import ScanSettings


def source(
    section_hu: np.ndarray[tuple[int, int], np.dtype[np.float32]] | None = None,
    **settings: float,
) -> NoiseSource:
    scan = ScanSettings(
        matrix_size=128,
        pixel_spacing_mm=0.7,
        z_extent_mm=30.0,
        **{"noise_sd_hu": 20.0, **settings},  # type: ignore[arg-type]
    )

    def section_at(_z_mm: float) -> Section:
        assert section_hu is not None
        half = 0.5 * (section_hu.shape[0] - 1) * 6.0
        return section_hu, 6.0, (-half, -half)

    return NoiseSource(
        Scanner(scan, (0.0, 0.0, 0.0)),
        np.random.SeedSequence(1),
        section_at=None if section_hu is None else section_at,
    )


def correlation(
    first: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    second: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("iterative_share", [0.0, 0.8])
@pytest.mark.parametrize("psf_sigma_mm", [0.4, 0.8])
def test_noise_has_the_standard_deviation_asked_for(
    psf_sigma_mm: float, iterative_share: float
) -> None:
    noise = source(psf_sigma_mm=psf_sigma_mm, iterative_share=iterative_share).of_slice(3)

    assert noise.std() == pytest.approx(20.0, rel=0.05)
    assert abs(noise.mean()) < 2.0


def test_soft_kernel_correlates_noise_over_more_pixels_than_a_sharp_one() -> None:
    def neighbours_alike(**settings: float) -> float:
        noise = source(None, **settings).of_slice(0)
        return correlation(noise[:, 1:], noise[:, :-1])

    assert neighbours_alike(psf_sigma_mm=0.8) > neighbours_alike(psf_sigma_mm=0.4) + 0.1
    assert neighbours_alike(psf_sigma_mm=0.5, iterative_share=0.8) > neighbours_alike(
        psf_sigma_mm=0.5
    )


def test_overlapping_slices_share_noise_and_those_side_by_side_do_not() -> None:
    overlapping = source(spacing_between_slices_mm=1.25, slice_thickness_mm=2.5)
    apart = source(spacing_between_slices_mm=2.5, slice_thickness_mm=2.5)

    # Slices of twice the spacing share half of their depth and blurred edges.
    assert correlation(overlapping.of_slice(0), overlapping.of_slice(1)) == pytest.approx(
        0.6, abs=0.15
    )
    assert abs(correlation(apart.of_slice(0), apart.of_slice(1))) < 0.2
    assert abs(correlation(apart.of_slice(1), apart.of_slice(3))) < 0.05


def test_noise_of_a_slice_does_not_depend_on_the_slices_taken_before() -> None:
    in_order = source(slice_thickness_mm=5.0)
    for index in range(3):
        in_order.of_slice(index)

    assert np.array_equal(in_order.of_slice(3), source(slice_thickness_mm=5.0).of_slice(3))


def test_wide_shoulders_make_horizontal_streaks() -> None:
    # 460 mm of tissue from side to side, 120 mm from front to back.
    shoulders = np.full((90, 90), -1000.0, dtype=np.float32)
    shoulders[35:55, 6:83] = 40.0

    noise = source(shoulders, streak_share=1.0).of_slice(0)[40:88, 40:88]

    along_rows = correlation(noise[:, 2:], noise[:, :-2])
    along_columns = correlation(noise[2:], noise[:-2])
    assert along_rows > along_columns + 0.2


def test_large_body_is_noisier_than_a_small_one() -> None:
    def deviation(radius_mm: float) -> float:
        offset = (np.arange(90) - 44.5) * 6.0
        inside = np.hypot(offset[:, np.newaxis], offset) < radius_mm
        body = np.where(inside, 40.0, -1000.0).astype(np.float32)
        return float(source(body).of_slice(0).std())

    assert deviation(170.0) > 1.15 * deviation(130.0)
