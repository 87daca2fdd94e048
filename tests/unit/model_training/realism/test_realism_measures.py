"""The measures of realism on pictures whose figures can be worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model_training.realism.noise import detrended, noise_of, spectrum_distance
from model_training.realism.recognition import area_under_curve
from model_training.realism.scans import AIR_HU, Level, Scan, Slab
from model_training.realism.tissues import (
    dense_spots,
    edge_widths_mm,
    peak_of,
    tissue_distance_hu,
)
from model_training.realism.zones import Zone, zone_map


def scan_of(hu: NDArray[np.float32], level: Level = Level.VALVE, pixel_mm: float = 0.5) -> Scan:
    slab = Slab(level, hu.astype(np.float32), (2.5, pixel_mm, pixel_mm))
    return Scan("a", "a", is_real=True, slabs=(slab,))


def everywhere(scan: Scan, zone: Zone) -> list[NDArray[np.uint8]]:
    return [np.full(slab.hu.shape, int(zone), dtype=np.uint8) for slab in scan.slabs]


def white_noise(seed: int, *, same_in_all_slices: bool = False) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(40.0, 10.0, (3, 72, 72))
    if same_in_all_slices:
        noise[:] = noise[0]
    return noise.astype(np.float32)


def chest(level: Level) -> Slab:
    """An ellipse of soft tissue with two lungs of air and a square of bone behind."""
    y, x = np.mgrid[-100.0:100.0:200j, -150.0:150.0:300j]
    image = np.full(x.shape, AIR_HU)
    image[(x / 140.0) ** 2 + (y / 90.0) ** 2 < 1.0] = 40.0
    for side in (-1.0, 1.0):
        image[((x - side * 75.0) / 40.0) ** 2 + (y / 60.0) ** 2 < 1.0] = -850.0
    image[(abs(x) < 15.0) & (abs(y - 70.0) < 10.0)] = 400.0
    return Slab(level, image[np.newaxis].astype(np.float32), (2.5, 1.0, 1.0))


def test_a_surface_of_second_order_is_not_noise() -> None:
    y, x = np.mgrid[-1.0:1.0:24j, -1.0:1.0:24j]

    residue = detrended((30.0 + 5.0 * x - 3.0 * y + 8.0 * x * y + 2.0 * y * y).astype(np.float32))

    assert np.abs(residue).max() < 1e-4


@pytest.mark.parametrize(("same", "along_z"), [(False, 0.0), (True, 1.0)])
def test_white_noise_has_its_sd_and_its_correlation_along_z(same: bool, along_z: float) -> None:
    scan = scan_of(white_noise(1, same_in_all_slices=same))

    noise = noise_of(scan, everywhere(scan, Zone.HEART), Zone.HEART)

    assert noise is not None
    # Each surface takes 6 of 576 degrees of freedom.
    assert noise.sd_hu == pytest.approx(10.0, abs=0.4)
    assert noise.correlation_along_z == pytest.approx(along_z, abs=0.05)


def test_noise_of_other_frequencies_is_at_a_distance() -> None:
    white, other_white = scan_of(white_noise(1)), scan_of(white_noise(2))
    # The mean of two neighbours keeps low frequencies only.
    smooth_hu = white_noise(3)
    smooth = scan_of(0.5 * (smooth_hu + np.roll(smooth_hu, 1, axis=2)))
    found = [noise_of(scan, everywhere(scan, Zone.HEART), Zone.HEART) for scan in (
        white, other_white, smooth)]  # fmt: skip

    first, second, third = found
    assert first is not None and second is not None and third is not None  # noqa: PT018
    assert spectrum_distance(first, second) < 0.06
    assert spectrum_distance(first, third) > 2.0 * spectrum_distance(first, second)
    assert third.mean_frequency_per_mm < first.mean_frequency_per_mm


def test_no_noise_is_measured_where_no_square_fits() -> None:
    scan = scan_of(white_noise(1)[:, :20, :20])

    assert noise_of(scan, everywhere(scan, Zone.HEART), Zone.HEART) is None


def test_fat_that_is_ten_units_denser_is_ten_units_away() -> None:
    fat = np.linspace(-120.0, -80.0, 500, dtype=np.float32)

    assert tissue_distance_hu(fat, fat + np.float32(10.0)) == pytest.approx(10.0, abs=0.01)
    assert tissue_distance_hu(fat, fat[:5]) is None


def test_the_peak_of_a_gaussian_is_its_mean_and_2_35_of_its_sd_wide() -> None:
    samples = np.random.default_rng(0).normal(-100.0, 20.0, 50_000).astype(np.float32)

    peak = peak_of(samples)

    assert peak is not None
    assert peak.position_hu == pytest.approx(-100.0, abs=6.0)
    # Smoothing over two bins of 4 HU widens it: sqrt(20^2 + 8^2) = 21.5.
    assert peak.width_hu == pytest.approx(2.355 * 21.5, abs=8.0)


def test_dense_spots_are_counted_per_slice_with_their_area() -> None:
    hu = np.full((2, 40, 40), 40.0, dtype=np.float32)
    hu[0, 10:13, 10:13] = 300.0
    hu[1, 5, 5] = 130.0
    scan = scan_of(hu)

    spots = dense_spots(scan, everywhere(scan, Zone.HEART), Zone.HEART)

    assert spots is not None
    assert spots.count_per_slice == 1.0
    # 9 and 1 pixels of 0.25 mm2; their median is halfway between.
    assert spots.median_area_mm2 == pytest.approx(0.5 * (2.25 + 0.25))
    assert spots.tiny_share == 0.5
    assert spots.share == pytest.approx(10 / 3200)
    assert dense_spots(scan, everywhere(scan, Zone.HEART), Zone.LUNG) is None


def test_a_ramp_of_four_millimetres_is_an_edge_of_four_millimetres() -> None:
    columns = np.arange(80) * 0.5
    ramp = np.clip((columns - 20.0) / 4.0, 0.0, 1.0) * 1000.0 - 960.0
    scan = scan_of(np.broadcast_to(ramp, (1, 60, 80)).astype(np.float32))
    zones = np.full((1, 60, 80), Zone.LUNG, dtype=np.uint8)
    zones[:, :, 44:] = Zone.HEART

    # The window of 6.5 mm around the middle of the ramp holds all of it.
    assert edge_widths_mm(scan, [zones])["heart and lung"] == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize(
    ("level", "between_lungs"),
    [(Level.VALVE, Zone.HEART), (Level.ARCH, Zone.MEDIASTINUM), (Level.ABDOMEN, Zone.ABDOMEN)],
)
def test_zones_of_a_section(level: Level, between_lungs: Zone) -> None:
    zones = zone_map(chest(level))[0]

    assert zones[100, 150] == between_lungs
    assert zones[100, 75] == Zone.LUNG
    assert zones[170, 150] == Zone.BONE
    assert zones[100, 15] == Zone.WALL
    assert zones[2, 2] == Zone.OUTSIDE


def test_area_under_the_curve_counts_pairs_and_ties_as_half() -> None:
    is_real = np.array([True, True, False, False])

    assert area_under_curve(np.array([2.0, 3.0, 0.0, 1.0]), is_real) == 1.0
    # Of four pairs one is won and two are ties.
    assert area_under_curve(np.array([1.0, 0.0, 0.0, 1.0]), is_real) == pytest.approx(0.5)
    assert area_under_curve(np.array([1.0, 1.0, 0.0, 1.0]), is_real) == pytest.approx(0.75)
