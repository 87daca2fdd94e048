"""What the search leaves out changes no bit of what it finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calcium_scoring.model_input.heart_region import HeartRegion, coarse_volume
from calcium_scoring.model_input.preprocessing import (
    ModelArray,
    SliceWindows,
    prepare_slices,
    slice_window,
    to_native_slice,
)
from calcium_scoring.model_input.spec import ALL_LABELS, ModelSpec
from calcium_scoring.model_input.tiling import search_volume
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import MaskArray
from calcium_scoring.volume.resampling import InPlaneResampler, in_plane_grid

SPEC = ModelSpec(labels=ALL_LABELS)


def noisy_volume(seed: int, spacing_mm: float, *, is_flipped: bool = False) -> CtVolume:
    """Return noise in which about one voxel in eight is dense."""
    rng = np.random.default_rng(seed)
    shape = (12, int(rng.integers(40, 130)), int(rng.integers(40, 130)))
    geometry = VolumeGeometry.axial(shape, (2.5, spacing_mm, spacing_mm), (-30.0, -20.0, 5.0))
    if is_flipped:
        affine = geometry.affine.copy()
        affine[:3, 3] += affine[:3, 1] * (shape[1] - 1)
        affine[:3, 1] *= -1
        geometry = VolumeGeometry(shape, affine)
    return CtVolume(geometry, rng.normal(0.0, 110.0, shape).astype(np.float32))


def of_every_pixel_alone(ct_patch: ModelArray) -> ModelArray:
    """Answer for each pixel from that pixel in all slices: exact whatever the window is cut to."""
    weights = np.random.default_rng(9).normal(0.0, 20.0, (len(ALL_LABELS), ct_patch.shape[1]))
    logits = np.zeros((1, len(ALL_LABELS), *ct_patch.shape[2:]), dtype=np.float32)
    for channel, of_slices in enumerate(weights.astype(np.float32)):
        for weight, plane in zip(of_slices, ct_patch[0], strict=True):
            logits[0, channel] += weight * (plane - np.float32(0.25))
    return logits


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    spacing_mm=st.floats(0.3, 1.4),
    is_flipped=st.booleans(),
    corner=st.tuples(st.floats(0.0, 0.7), st.floats(0.0, 0.7)),
)
def test_a_box_of_a_window_holds_the_bits_of_the_whole_prepared_scan(
    seed: int, spacing_mm: float, is_flipped: bool, corner: tuple[float, float]
) -> None:
    volume = noisy_volume(seed, spacing_mm, is_flipped=is_flipped)
    whole = prepare_slices(volume, SPEC).slices
    rows, columns = (
        slice(int(at * size), size) for at, size in zip(corner, whole.shape[1:], strict=True)
    )

    windows = SliceWindows(volume, SPEC, (rows, columns))

    for index in (0, 5, 6, 2, 11):
        expected = slice_window(whole[:, rows, columns], index, SPEC)
        np.testing.assert_array_equal(windows.window(index), expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), spacing_mm=st.floats(0.3, 1.4), is_flipped=st.booleans())
def test_a_box_is_interpolated_from_its_source_box_alone(
    seed: int, spacing_mm: float, is_flipped: bool
) -> None:
    native = noisy_volume(seed, spacing_mm, is_flipped=is_flipped).geometry
    grid = in_plane_grid(native, SPEC.pixel_spacing_mm)
    values = np.random.default_rng(seed).normal(size=grid.shape[1:]).astype(np.float32)
    resampler = InPlaneResampler(grid, native)
    box = np.s_[native.shape[1] // 3 : native.shape[1] - 3, 5 : native.shape[2] // 2]
    source = resampler.source_box(box)

    alone = resampler.resample(values[source], box, source_start=(source[0].start, source[1].start))

    np.testing.assert_array_equal(alone, resampler.resample(values)[box])


def test_what_is_read_back_does_not_depend_on_anything_beyond_the_source_box() -> None:
    native = noisy_volume(3, 0.45).geometry
    grid = in_plane_grid(native, SPEC.pixel_spacing_mm)
    resampler = InPlaneResampler(grid, native)
    box = np.s_[10:20, 12:30]
    values = np.full(grid.shape[1:], np.nan, dtype=np.float32)
    values[resampler.source_box(box)] = 1.0

    assert np.isfinite(resampler.resample(values, box)).all()


def heart_region(volume: CtVolume, seed: int) -> HeartRegion:
    coarse_hu, coarse = coarse_volume(volume.hu, volume.geometry, 8.0)
    distance_mm = np.random.default_rng(seed).uniform(0.0, 30.0, coarse.shape).astype(np.float32)
    # A heart in a part of the scan: elsewhere it is far away.
    distance_mm[: coarse.shape[0] // 3] = 40.0
    distance_mm[:, : coarse.shape[1] // 3] = 40.0
    distance_mm[:, :, 2 * coarse.shape[2] // 3 :] = 40.0
    return HeartRegion(coarse, volume.geometry, distance_mm, coarse_hu, 10.0, 500.0, is_cut=False)


@pytest.mark.parametrize("spacing_mm", [0.4, 0.7, 1.1])
@pytest.mark.parametrize("is_flipped", [False, True])
def test_the_region_is_that_of_every_voxel_asked_for_its_distance(
    spacing_mm: float, is_flipped: bool
) -> None:
    volume = noisy_volume(7, spacing_mm, is_flipped=is_flipped)
    region = heart_region(volume, 1)

    mask = region.mask

    resampler = InPlaneResampler(region.coarse, region.native)
    to_coarse = np.linalg.solve(region.coarse.affine, region.native.affine)
    for index, inside in enumerate(mask):
        at = np.clip(to_coarse[0, 0] * index + to_coarse[0, 3], 0, region.coarse.shape[0] - 1)
        low = int(at)
        high = min(low + 1, region.coarse.shape[0] - 1)
        share = np.float32(at - low)
        distance = (1 - share) * region.distance_mm[low] + share * region.distance_mm[high]
        np.testing.assert_array_equal(inside, resampler.resample(distance) <= 10.0)
    assert mask.any()
    assert not mask.all()


def exhaustive(volume: CtVolume, region: MaskArray) -> tuple[list[int], list[float]]:
    """Show every slice to the network whole; return dense voxels of the region and their answer."""
    model_input = prepare_slices(volume, SPEC)
    indices, probabilities = [], []
    for index in range(volume.geometry.shape[0]):
        logits = of_every_pixel_alone(slice_window(model_input.slices, index, SPEC)[np.newaxis])[0]
        probability = to_native_slice(
            np.float32(1.0) / (np.float32(1.0) + np.exp(-np.clip(logits[0], -30.0, 30.0))),
            model_input,
        )
        for row, column in np.argwhere((volume.hu[index] >= SPEC.threshold_hu) & region[index]):
            indices.append(int(np.ravel_multi_index((index, row, column), volume.geometry.shape)))
            probabilities.append(float(probability[row, column]))
    return indices, probabilities


@pytest.mark.parametrize("spacing_mm", [0.35, 0.7, 1.2])
@pytest.mark.parametrize("is_flipped", [False, True])
def test_the_search_finds_what_showing_every_whole_slice_to_the_network_would(
    spacing_mm: float, is_flipped: bool
) -> None:
    volume = noisy_volume(11, spacing_mm, is_flipped=is_flipped)
    region = heart_region(volume, 2).mask

    found = search_volume(volume, SPEC, of_every_pixel_alone, region=region)

    indices, probabilities = exhaustive(volume, region)
    assert found.voxels.indices.tolist() == indices
    assert found.voxels.probabilities is not None
    assert found.voxels.probabilities.tolist() == probabilities
    is_calcium = np.array(probabilities) >= SPEC.probability_threshold
    assert np.flatnonzero(found.label_map.labels).tolist() == list(np.array(indices)[is_calcium])
    assert 0 < np.count_nonzero(is_calcium) < len(indices)


def test_whole_hu_in_16_bits_are_shown_as_the_same_bits() -> None:
    noisy = noisy_volume(5, 0.5)
    hu = np.rint(noisy.hu)
    large = CtVolume(noisy.geometry, hu)
    small = CtVolume(noisy.geometry, hu.astype(np.int16))
    box = np.s_[8:40, 4:52]

    shown = SliceWindows(small, SPEC, box).window(6)

    np.testing.assert_array_equal(shown, SliceWindows(large, SPEC, box).window(6))
