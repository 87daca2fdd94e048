from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.settings import ScanSettings, sample_scan


def scanner(**settings: float) -> Scanner:
    scan = ScanSettings(matrix_size=256, pixel_spacing_mm=0.7, z_extent_mm=30.0, **settings)  # type: ignore[arg-type]
    return Scanner(scan, (0.0, 0.0, 0.0))


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
        assert 0.6 <= scan.spacing_between_slices_mm <= 5.0
        assert scan.slice_thickness_mm >= scan.spacing_between_slices_mm - 1e-9
        assert 175.0 < scan.field_of_view_mm < 510.0


def test_negative_noise_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match=r"Noise \(-1.0 HU\)"):
        ScanSettings(noise_sd_hu=-1.0)


@pytest.mark.parametrize(
    ("kvp", "factor"), [(120.0, 1.0), (100.0, 446.0 / 400.0), (80.0, 544 / 400)]
)
def test_calcium_is_brighter_at_a_lower_tube_voltage(kvp: float, factor: float) -> None:
    # The bound of 400 HU of the Agatston score, adapted to the voltage, over itself at 120 kVp.
    assert scanner(kvp=kvp).calcium_factor == pytest.approx(factor, abs=0.001)


def test_padding_fills_what_lies_outside_the_field_of_view() -> None:
    scan = scanner(padding_hu=-2048.0)

    hu = scan.reconstructed(np.full((256, 256), 40.4, dtype=np.float32))

    assert hu[0, 0] == -2048.0
    assert hu[128, 128] == 40.0
