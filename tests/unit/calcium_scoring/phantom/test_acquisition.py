from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.settings import ScanSettings, sample_scan


def scanner(**settings: float) -> Scanner:
    scan = ScanSettings(matrix_size=256, pixel_spacing_mm=0.7, z_extent_mm=30.0, **settings)  # type: ignore[arg-type]
    return Scanner(scan, (0.0, 0.0, 0.0), np.tile([1.0, 0.0], (scan.slice_count, 1)))


@pytest.mark.parametrize("psf_sigma_mm", [0.4, 0.8])
def test_noise_has_the_standard_deviation_asked_for_in_the_middle(psf_sigma_mm: float) -> None:
    noise = scanner(noise_sd_hu=20.0, psf_sigma_mm=psf_sigma_mm).noise(
        np.random.default_rng(1), 0.0
    )

    assert noise[96:160, 96:160].std() == pytest.approx(20.0, rel=0.12)


def test_soft_kernel_correlates_noise_over_more_pixels_than_a_sharp_one() -> None:
    def neighbours_alike(psf_sigma_mm: float) -> float:
        noise = scanner(psf_sigma_mm=psf_sigma_mm).noise(np.random.default_rng(1), 0.0)
        return float(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1])

    assert neighbours_alike(0.8) > neighbours_alike(0.4) + 0.1


def test_weights_of_the_planes_of_a_slice_sum_to_one() -> None:
    for thickness_mm in (1.0, 2.5, 5.0):
        scan = scanner(spacing_between_slices_mm=2.5, slice_thickness_mm=thickness_mm)
        weights = [weight for _, weight in scan.planes_of_slice(3)]

        assert sum(weights) == pytest.approx(1.0, abs=0.03)


def test_point_spread_conserves_the_sum() -> None:
    image = np.zeros((65, 65), dtype=np.float32)
    image[32, 32] = 1000.0

    for scan in (scanner(psf_sigma_mm=0.6), scanner(psf_sigma_mm=0.5, edge_enhancement=0.4)):
        assert scan.blurred(image).sum() == pytest.approx(1000.0, rel=1e-4)


def test_slices_are_centred_on_the_block() -> None:
    geometry = scanner(spacing_between_slices_mm=3.0).geometry

    # 10 slices of 3 mm: the first centre lies 13.5 mm below the middle.
    assert geometry.position_lps_mm((0, 127.5, 127.5)) == pytest.approx((0.0, 0.0, -13.5))


@pytest.mark.parametrize("kind", ["gated", "chest"])
def test_drawn_scans_stay_within_clinical_ranges(kind: str) -> None:
    for seed in range(40):
        scan = sample_scan(seed, kind=kind)

        assert 8.0 <= scan.noise_sd_hu <= 50.0
        assert 0.7 <= scan.spacing_between_slices_mm <= 5.0
        assert scan.slice_thickness_mm >= scan.spacing_between_slices_mm - 1e-9
        assert 195.0 < scan.field_of_view_mm < 470.0


def test_negative_noise_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match=r"Noise \(-1.0 HU\)"):
        ScanSettings(noise_sd_hu=-1.0)
