"""The coarse look at a scan: exact averages, true places, and a margin in millimetres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from calcium_scoring.model_input.heart_region import (
    HeartRegion,
    HeartSpec,
    coarse_input,
    coarse_volume,
    find_heart,
)
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry

LUNG_HU, MUSCLE_HU = -800.0, 40.0
CUBE_MM = 6.0
SPEC = HeartSpec(spacing_mm=CUBE_MM, smallest_shape=(8, 8, 8))


def axial(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> VolumeGeometry:
    return VolumeGeometry.axial(shape, spacing_mm, (-31.0, 17.0, -250.0))


def reversed_axes(
    values: NDArray[np.float32], geometry: VolumeGeometry, axes: tuple[int, ...]
) -> tuple[NDArray[np.float32], VolumeGeometry]:
    """The same scan whose rows or columns are stored the other way round."""
    affine = np.array(geometry.affine)
    for axis in axes:
        affine[:3, 3] += affine[:3, axis] * (geometry.shape[axis] - 1)
        affine[:3, axis] *= -1.0
    return np.ascontiguousarray(np.flip(values, axes)), VolumeGeometry(geometry.shape, affine)


def positions_mm(geometry: VolumeGeometry) -> NDArray[np.float64]:
    """(3, slice, row, column): LPS millimetres of every voxel."""
    index = np.indices(geometry.shape, dtype=np.float64).reshape(3, -1)
    positions = geometry.affine[:3, :3] @ index + geometry.affine[:3, 3:]
    return positions.reshape(3, *geometry.shape)


def dark_is_air(ct_coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """A "network" that takes everything above 0 HU for heart."""
    return (1000.0 * (ct_coarse - 0.5)).astype(np.float32)


def heart_scan(
    *, slices: tuple[int, int] = (15, 45), spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)
) -> CtVolume:
    """Lung with a heart of 60 mm on each side: 30 x 30 pixels in the slices given."""
    geometry = axial((60, 78, 90), spacing_mm)
    hu = np.full(geometry.shape, LUNG_HU, dtype=np.float32)
    hu[slices[0] : slices[1], 24:54, 30:60] = MUSCLE_HU
    return CtVolume(geometry, hu)


@pytest.mark.parametrize("spacing_mm", [(2.0, 1.5, 0.75), (1.25, 0.8, 0.6), (5.0, 2.0, 3.0)])
def test_the_mean_of_a_scan_is_that_of_its_cubes(spacing_mm: tuple[float, float, float]) -> None:
    # 60 mm x 48 mm x 36 mm, whole cubes of 6 mm.
    slice_mm, row_mm, column_mm = spacing_mm
    shape = (round(60 / slice_mm), round(48 / row_mm), round(36 / column_mm))
    values = np.random.default_rng(3).normal(0.0, 300.0, shape).astype(np.float32)

    averaged, coarse = coarse_volume(values, axial(shape, spacing_mm), CUBE_MM)

    assert averaged.shape == coarse.shape == (10, 8, 6)
    assert coarse.spacing_mm == pytest.approx((6.0, 6.0, 6.0))
    assert averaged.mean() == pytest.approx(values.mean(), abs=0.01)


def test_a_cube_is_the_mean_of_the_voxels_it_covers() -> None:
    values = np.arange(6 * 6 * 6, dtype=np.float32).reshape(6, 6, 6)

    averaged, _ = coarse_volume(values, axial((6, 6, 6), (2.0, 2.0, 2.0)), CUBE_MM)

    assert averaged[1, 0, 1] == pytest.approx(values[3:6, 0:3, 3:6].mean())


def test_cubes_across_five_millimetre_slices_take_their_share_of_each() -> None:
    values = np.array([0.0, 60.0, 120.0, -60.0, 30.0, 90.0], np.float32)[:, None, None]

    averaged, coarse = coarse_volume(
        values * np.ones((1, 6, 6), np.float32), axial((6, 6, 6), (5.0, 1.0, 1.0)), CUBE_MM
    )

    # 0 to 6 mm is 5 mm of the first slice and 1 mm of the second, and so on.
    expected = [
        (5 * 0 + 1 * 60) / 6,
        (4 * 60 + 2 * 120) / 6,
        (3 * 120 + 3 * -60) / 6,
        (2 * -60 + 4 * 30) / 6,
        (1 * 30 + 5 * 90) / 6,
    ]
    assert averaged[:, 0, 0] == pytest.approx(expected, abs=1e-3)
    # The lowest face of the scan is 2.5 mm below its first slice, 3 mm below the first cube.
    assert coarse.position_lps_mm((0, 0, 0))[2] == pytest.approx(-250.0 - 2.5 + 3.0)


def test_slices_farther_apart_than_cubes_are_read_by_neighbouring_cubes() -> None:
    values = np.array([0.0, 100.0], np.float32)[:, None, None] * np.ones((1, 6, 6), np.float32)

    averaged, _ = coarse_volume(values, axial((2, 6, 6), (12.0, 1.0, 1.0)), CUBE_MM)

    assert averaged[:, 0, 0] == pytest.approx([0.0, 0.0, 100.0, 100.0])


def test_the_last_cube_is_the_mean_of_what_lies_within_the_scan() -> None:
    # 8 mm along each axis: the second cube holds only the last slice, row and column.
    values = np.arange(64, dtype=np.float32).reshape(4, 4, 4)

    averaged, coarse = coarse_volume(values, axial((4, 4, 4), (2.0, 2.0, 2.0)), CUBE_MM)

    assert coarse.shape == (2, 2, 2)
    assert averaged[1, 1, 1] == pytest.approx(63.0)


@pytest.mark.parametrize("axes", [(), (1,), (2,), (1, 2)])
def test_a_cube_lies_where_its_voxels_are(axes: tuple[int, ...]) -> None:
    """Values that are their own position come out as the position of the cube."""
    geometry = axial((12, 16, 24), (2.0, 1.5, 0.75))
    for coordinate, ramp in enumerate(positions_mm(geometry)):
        values, stored = reversed_axes(ramp.astype(np.float32), geometry, axes)

        averaged, coarse = coarse_volume(values, stored, CUBE_MM)

        assert averaged == pytest.approx(positions_mm(coarse)[coordinate], abs=1e-3)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_a_scan_stored_the_other_way_round_gives_the_same_cubes(axes: tuple[int, ...]) -> None:
    geometry = axial((10, 16, 24), (3.0, 1.5, 0.75))
    values = np.random.default_rng(1).normal(0.0, 200.0, geometry.shape).astype(np.float32)

    averaged, coarse = coarse_volume(values, geometry, CUBE_MM)
    again, coarse_again = coarse_volume(*reversed_axes(values, geometry, axes), CUBE_MM)

    assert coarse_again.is_same_grid(coarse)
    assert again == pytest.approx(averaged, abs=1e-3)


@pytest.mark.parametrize("spacing_mm", [(1.0, 0.8, 0.8), (5.0, 0.7, 0.7), (2.5, 1.1, 0.9)])
def test_a_bright_ball_keeps_its_place_in_the_patient(
    spacing_mm: tuple[float, float, float],
) -> None:
    slice_mm, row_mm, column_mm = spacing_mm
    geometry = axial((round(120 / slice_mm), round(96 / row_mm), round(90 / column_mm)), spacing_mm)
    middle = np.array([10.0, 61.0, -195.0])
    distance = np.linalg.norm(positions_mm(geometry) - middle[:, None, None, None], axis=0)
    ball = (distance <= 25.0).astype(np.float32)

    averaged, coarse = coarse_volume(ball, geometry, CUBE_MM)

    found = (positions_mm(coarse) * averaged).sum(axis=(1, 2, 3)) / averaged.sum()
    assert found == pytest.approx(middle, abs=0.25)
    volume_ml = averaged.sum() * 0.216
    assert volume_ml == pytest.approx(4.0 / 3.0 * np.pi * 2.5**3, rel=0.03)


def test_a_scan_is_padded_with_air_on_all_sides_to_multiples_of_eight() -> None:
    ct_coarse, inner = coarse_input(np.full((9, 8, 3), 300.0, dtype=np.float32), SPEC)

    assert ct_coarse.shape == (16, 8, 8)
    assert inner == np.s_[3:12, 0:8, 2:5]
    assert ct_coarse[inner].min() == 1.0
    assert ct_coarse.sum() == 9 * 8 * 3


def test_a_small_scan_is_padded_to_what_the_network_learned_from() -> None:
    spec = replace(SPEC, smallest_shape=(32, 40, 40))

    ct_coarse, inner = coarse_input(np.full((20, 42, 40), 300.0, dtype=np.float32), spec)

    assert ct_coarse.shape == (32, 48, 40)
    assert inner == np.s_[6:26, 3:45, 0:40]
    assert ct_coarse[inner].min() == 1.0


def test_a_heart_is_found_with_its_volume() -> None:
    region = find_heart(heart_scan(), SPEC, dark_is_air)

    assert region is not None
    assert region.heart_volume_ml == pytest.approx(6.0**3)  # a cube of 6 cm
    assert not region.is_cut
    assert region.native.shape == (60, 78, 90)


@pytest.mark.parametrize("margin_mm", [6.0, 10.0, 15.0])
@pytest.mark.parametrize("axes", [(), (1,), (1, 2)])
def test_the_region_reaches_its_margin_beyond_the_heart(
    margin_mm: float, axes: tuple[int, ...]
) -> None:
    scan = heart_scan()
    hu, geometry = reversed_axes(scan.hu.astype(np.float32), scan.geometry, axes)

    region = find_heart(CtVolume(geometry, hu), replace(SPEC, margin_mm=margin_mm), dark_is_air)

    assert region is not None
    mask = np.flip(region.mask, axes)
    # Voxels of 2 mm: the first middle outside is 1 mm beyond the heart, the next 3 mm.
    beyond = int((margin_mm + 1.0) // 2.0)
    assert np.flatnonzero(mask[:, 40, 45]).tolist() == list(range(15 - beyond, 45 + beyond))
    assert np.flatnonzero(mask[30, :, 45]).tolist() == list(range(24 - beyond, 54 + beyond))
    assert np.flatnonzero(mask[30, 40, :]).tolist() == list(range(30 - beyond, 60 + beyond))


def test_the_region_of_thick_slices_lies_where_the_heart_is() -> None:
    geometry = axial((24, 80, 80), (5.0, 2.0, 2.0))
    hu = np.full(geometry.shape, LUNG_HU, dtype=np.float32)
    hu[6:18, 24:54, 24:54] = MUSCLE_HU  # 30 to 90 mm above the lowest face of the scan

    region = find_heart(CtVolume(geometry, hu), replace(SPEC, margin_mm=10.0), dark_is_air)

    assert region is not None
    assert region.heart_volume_ml == pytest.approx(216.0)
    # Slices whose middles lie from 20 to 100 mm.
    assert np.flatnonzero(region.mask[:, 35, 35]).tolist() == list(range(4, 20))


def test_what_is_smaller_than_a_heart_is_none() -> None:
    scan = heart_scan(slices=(15, 33))  # 36 mm x 60 mm x 60 mm are 129.6 mL

    assert find_heart(scan, SPEC, dark_is_air) is None
    assert find_heart(scan, replace(SPEC, smallest_heart_ml=129.0), dark_is_air) is not None


def test_only_the_largest_part_is_the_heart() -> None:
    scan = heart_scan()
    hu = scan.hu.copy()
    hu[15:45, 24:54, 72:84] = MUSCLE_HU  # a liver, 24 mm away

    region = find_heart(CtVolume(scan.geometry, hu), SPEC, dark_is_air)

    assert region is not None
    assert region.heart_volume_ml == pytest.approx(216.0)
    assert not region.mask[:, :, 72:].any()


def test_a_hole_in_the_heart_belongs_to_it() -> None:
    scan = heart_scan()
    hu = scan.hu.copy()
    hu[27:33, 36:42, 42:48] = LUNG_HU

    region = find_heart(CtVolume(scan.geometry, hu), SPEC, dark_is_air)

    assert region is not None
    assert region.heart_volume_ml == pytest.approx(216.0)


@pytest.mark.parametrize(
    ("slices", "is_cut"), [((0, 30), True), ((30, 60), True), ((6, 54), False)]
)
def test_a_heart_that_reaches_an_end_of_the_scan_is_cut(
    slices: tuple[int, int],
    is_cut: bool,
) -> None:
    region = find_heart(heart_scan(slices=slices), SPEC, dark_is_air)

    assert region is not None
    assert region.is_cut is is_cut


def test_the_probability_threshold_is_that_of_the_specification() -> None:
    def answer(ct_coarse: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability 0.7 for soft tissue, 0.1 elsewhere."""
        probability = np.where(ct_coarse > 0.5, 0.7, 0.1)
        return np.log(probability / (1.0 - probability)).astype(np.float32)

    assert find_heart(heart_scan(), replace(SPEC, probability_threshold=0.69), answer) is not None
    assert find_heart(heart_scan(), replace(SPEC, probability_threshold=0.71), answer) is None


def test_the_network_sees_a_batch_of_one_with_one_channel() -> None:
    seen: list[tuple[int, ...]] = []

    def answer(ct_coarse: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(ct_coarse.shape)
        return np.full_like(ct_coarse, -5.0)

    assert find_heart(heart_scan(), SPEC, answer) is None
    # 120, 156 and 180 mm are 20, 26 and 30 cubes.
    assert seen == [(1, 1, 24, 32, 32)]


def test_padding_that_a_network_takes_for_heart_does_not_count() -> None:
    # 20 x 26 x 30 cubes in 24 x 32 x 32.
    inner = np.s_[..., 2:22, 3:29, 1:31]

    def answer(ct_coarse: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = np.full_like(ct_coarse, 5.0)
        logits[inner] = dark_is_air(ct_coarse)[inner]
        return logits

    region = find_heart(heart_scan(), SPEC, answer)

    assert isinstance(region, HeartRegion)
    assert region.heart_volume_ml == pytest.approx(216.0)
    assert not region.is_cut
