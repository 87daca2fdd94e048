from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.deposits import Deposit, image_of
from calcium_scoring.phantom.settings import ScanSettings
from calcium_scoring.volume.label_map import Artery


def scanner(**settings: float) -> Scanner:
    plain = ScanSettings(matrix_size=96, z_extent_mm=45.0, pixel_spacing_mm=0.6, noise_sd_hu=0.0)
    scan = replace(plain, **settings)  # type: ignore[arg-type]
    return Scanner(scan, (1.3, -2.1, 0.4))


LARGE_CRESCENT = Deposit(
    Artery.RCA, (0.0, 0.0, 0.0), np.eye(3)[[2, 0, 1]], (5.0, 4.0, 1.5), 600.0, bend_radius_mm=2.0
)


@pytest.mark.parametrize(
    "settings",
    [
        {"spacing_between_slices_mm": 3.0, "slice_thickness_mm": 3.0},
        {"spacing_between_slices_mm": 1.25, "slice_thickness_mm": 2.5},
        {"spacing_between_slices_mm": 5.0, "slice_thickness_mm": 5.0, "psf_sigma_mm": 0.8},
        {"edge_enhancement": 0.5},
    ],
)
def test_excess_of_a_plaque_is_conserved_by_every_scan(settings: dict[str, float]) -> None:
    scan = scanner(**settings)
    image = image_of(LARGE_CRESCENT, scan)

    assert image is not None
    measured = image.excess_hu.sum(dtype=np.float64) * scan.geometry.voxel_volume_mm3
    # 600 HU x 4/3 pi x 5 x 4 x 1.5 mm3
    assert measured == pytest.approx(600.0 * 125.664, rel=0.02)


def test_bending_leaves_the_volume_as_it_is() -> None:
    step = 0.15
    x, y, z = np.meshgrid(*[np.arange(-8.0, 8.0, step)] * 3, indexing="ij")

    counted = LARGE_CRESCENT.contains(x, y, z).sum() * step**3

    assert counted == pytest.approx(LARGE_CRESCENT.volume_mm3, rel=0.01)


def test_plaque_outside_the_scan_has_no_image() -> None:
    outside = Deposit(Artery.LM, (0.0, 0.0, 80.0), np.eye(3), (2.0, 2.0, 2.0), 600.0)

    assert image_of(outside, scanner()) is None


def test_plaque_appears_where_it_is() -> None:
    scan = scanner(spacing_between_slices_mm=1.0, slice_thickness_mm=1.0)
    deposit = Deposit(Artery.LM, (4.0, -3.0, 2.0), np.eye(3), (1.5, 1.5, 1.5), 600.0)
    image = image_of(deposit, scan)

    assert image is not None
    weights = image.excess_hu / image.excess_hu.sum()
    mean = [float((weights.sum(axis=axes) * np.arange(weights.shape[i])).sum())
            for i, axes in enumerate([(1, 2), (0, 2), (0, 1)])]  # fmt: skip
    index = tuple(corner + offset for corner, offset in zip(image.corner, mean, strict=True))
    assert scan.geometry.position_lps_mm(index) == pytest.approx((4.0, -3.0, 2.0), abs=0.05)  # type: ignore[arg-type]


def test_grains_change_neither_mass_nor_place_of_a_plaque() -> None:
    scan = scanner(spacing_between_slices_mm=1.0, slice_thickness_mm=1.0)
    rough = replace(LARGE_CRESCENT, roughness=0.6, texture_seed=5)
    smooth_image, rough_image = image_of(LARGE_CRESCENT, scan), image_of(rough, scan)

    assert smooth_image is not None
    assert rough_image is not None
    assert rough_image.excess_hu.sum() == pytest.approx(smooth_image.excess_hu.sum(), rel=0.02)
    assert rough.mass_mg == LARGE_CRESCENT.mass_mg
    assert not np.allclose(rough_image.excess_hu, smooth_image.excess_hu, atol=20.0)


def test_density_is_uniform_in_a_smooth_deposit_and_varies_in_a_rough_one() -> None:
    x, y, z = np.meshgrid(*[np.arange(-5.0, 5.0, 0.25)] * 3, indexing="ij")
    smooth = LARGE_CRESCENT.relative_density(x, y, z)
    rough = replace(LARGE_CRESCENT, roughness=0.5).relative_density(x, y, z)

    assert set(np.unique(smooth)) == {0.0, 1.0}
    # The logarithm varies by the roughness from grain to grain.
    assert np.log(rough[rough > 0.0]).std() == pytest.approx(0.5, rel=0.25)
    assert not (rough > 0.0)[smooth == 0.0].any()
