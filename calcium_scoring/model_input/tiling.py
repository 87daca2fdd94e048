"""2.5D sliding: the slices of a volume through a network, one window of neighbours at a time.

Work is left out where it cannot matter: a slice without a dense voxel in the searched part is not
shown to the network, slices are prepared only where and when a window needs them, and answers come
back only to the pixels around the searched part. All that gives the same bits as doing everything
(tests hold it). The box that a window is cut to is the exception: the network averages over what
it is shown (ADR 0019).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import logsumexp

from calcium_scoring.model_input.heart_region import HeartRegion
from calcium_scoring.model_input.preprocessing import ModelArray, SliceWindows, padded_size
from calcium_scoring.model_input.spec import ARTERY_LABELS, CONFUSER_LABELS, ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import (
    BACKGROUND,
    CORONARY,
    Artery,
    LabelArray,
    LabelMap,
    MaskArray,
)
from calcium_scoring.volume.resampling import Box, InPlaneResampler, in_plane_grid
from calcium_scoring.volume.searched_voxels import SearchedPart, SearchedVoxels

PredictPatch: TypeAlias = Callable[[ModelArray], ModelArray]
"""``ct_patch`` (batch, slice, row, column) to ``calcium_logits`` (batch, label, row, column)."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many windows are done and how many there are."""

Region: TypeAlias = MaskArray | HeartRegion
"""Where calcium is looked for: (slice, row, column), or what says so of one slice after another."""

CONTEXT_MM: Final = 20.0
"""What the network sees beyond a region on every side; our choice. It learned from crops of about
this reach, and its channel attention averages over all that it is shown."""

KIND_NAMES: Final = (*ARTERY_LABELS, *CONFUSER_LABELS)
"""What a network that names calls a dense voxel: the channels behind the one that decides."""

_ARTERY_CHANNELS: Final = slice(1, 1 + len(ARTERY_LABELS))
_CONFUSER_CHANNELS: Final = slice(1 + len(ARTERY_LABELS), 1 + len(KIND_NAMES))
_KIND_CHANNELS: Final = slice(1, 1 + len(KIND_NAMES))
_EIGHT: Final = np.ones((3, 3), dtype=np.bool_)

_SURE: Final = 14.0
"""Log odds count no further: beyond one in a million, one pixel must not outvote its piece. Our
choice."""


def segment_volume(
    volume: CtVolume,
    spec: ModelSpec,
    predict_patch: PredictPatch,
    progress: Progress | None = None,
    *,
    region: Region | None = None,
) -> LabelMap:
    """Label the calcium of a volume, as :func:`search_volume` does, and return the labels alone."""
    return search_volume(volume, spec, predict_patch, progress, region=region).label_map


@dataclass(frozen=True, eq=False)
class SearchedVolume:
    """The calcium that was found, and every dense voxel that was looked at."""

    label_map: LabelMap
    voxels: SearchedVoxels


def search_volume(
    volume: CtVolume,
    spec: ModelSpec,
    predict_patch: PredictPatch,
    progress: Progress | None = None,
    *,
    region: Region | None = None,
) -> SearchedVolume:
    """Label the calcium of a volume: probability and HU thresholds, on the scan's own grid.

    What has a say in the probability of a voxel (its own pixels alone, the channels that name, the
    connected piece that it belongs to) is in the specification of the model.

    Where the network tells arteries apart, a connected piece of calcium within a slice gets the
    artery whose logits, summed over its pixels, are the highest (our choice): a single pixel says
    less than the whole lesion does. Lesions are formed later, by the scoring protocol.

    Of what the network said, the dense voxels of the region are kept and nothing else.

    Parameters
    ----------
    volume
        The scan.
    spec, predict_patch
        The network and how it is fed.
    progress
        Told after each slice.
    region
        Nothing is looked for outside, and the network is fed no more than the box around it with
        some context. None looks everywhere, in whole slices.
    """
    place = _Place.around(region, volume.geometry, spec)
    windows = SliceWindows(volume, spec, place.box)
    total = volume.geometry.shape[0]
    # Memory that is never written to is never taken: few slices hold calcium.
    said = _Said(np.zeros(volume.geometry.shape, dtype=np.uint8))
    for index in range(total):
        dense = _dense_pixels(volume, region, index, place)
        # A slice without one dense voxel cannot hold calcium, whatever the network says.
        if dense is not None:
            logits = predict_patch(windows.window(index)[np.newaxis])[0]
            _decide(index, dense, logits, place, said)
        if progress is not None:
            progress(index + 1, total)
    return SearchedVolume(
        LabelMap(volume.geometry, said.labels), said.voxels(volume, spec, is_whole=region is None)
    )


@dataclass(frozen=True, eq=False)
class _Place:
    """Where the network looks, and the pixels of the scan that its answers are brought to.

    ``box`` are rows and columns of the network's grid, padding included; ``native`` those of the
    scan that can belong to the searched part.
    """

    spec: ModelSpec
    geometry: VolumeGeometry
    box: Box
    native: Box
    to_native: InPlaneResampler
    to_grid: NDArray[np.float64]
    """Of indices of the scan to those of the network's grid."""

    @classmethod
    def around(cls, region: Region | None, geometry: VolumeGeometry, spec: ModelSpec) -> _Place:
        grid = in_plane_grid(geometry, spec.pixel_spacing_mm)
        rows, columns = padded_size(grid, spec)
        box: Box = slice(0, rows), slice(0, columns)
        native: Box = slice(0, geometry.shape[1]), slice(0, geometry.shape[2])
        to_grid = np.linalg.solve(grid.affine, geometry.affine).astype(np.float64, copy=False)
        if region is not None and (inside := _extent(region, geometry)) is not None:
            box = _box_around(inside, (rows, columns), to_grid, spec)
            native = inside
        return cls(spec, geometry, box, native, InPlaneResampler(grid, geometry), to_grid)


def _dense_pixels(
    volume: CtVolume, region: Region | None, index: int, place: _Place
) -> MaskArray | None:
    """Return the dense pixels of a slice, those of ``place.native``; None where there is none."""
    hu = volume.hu[index][place.native]
    if region is None:
        dense: MaskArray = hu >= place.spec.threshold_hu
    else:
        plane = _plane(region, index)
        if plane is None:
            return None
        dense = plane[place.native] & (hu >= place.spec.threshold_hu)
    return dense if dense.any() else None


def _plane(region: Region, index: int) -> MaskArray | None:
    """Return a slice (row, column) of a region; None where nothing of it is inside."""
    if isinstance(region, HeartRegion):
        return region.plane(index)
    plane: MaskArray = region[index]
    return plane if plane.any() else None


def _decide(index: int, dense: MaskArray, logits: ModelArray, place: _Place, said: _Said) -> None:
    """Keep what the network says of the dense pixels of one slice."""
    spec = place.spec
    probability = _probability(dense, logits, place)
    is_calcium = dense & (probability >= spec.probability_threshold)
    if is_calcium.any():
        said.labels[index][place.native] = _named(is_calcium, logits, place)
    rows, columns = np.nonzero(dense)
    pixels = rows + place.native[0].start, columns + place.native[1].start
    said.indices.append(np.ravel_multi_index((index, *pixels), place.geometry.shape))
    said.probabilities.append(probability[dense])
    if spec.has_artery_labels:
        said.kinds.append(_kinds(pixels, logits, place))


def _probability(dense: MaskArray, logits: ModelArray, place: _Place) -> ModelArray:
    """Return the probability of coronary calcium of the pixels ``native``; meant where ``dense``.

    The log odds of the deciding channel, plus those of any artery against any confuser with the
    weight of the specification, are mixed with their mean over the pixel's connected piece.
    """
    spec = place.spec
    if spec.decides_voxels_alone:
        return _on_scan(_sigmoid(logits[0]), place)
    odds = np.clip(logits[0], -_SURE, _SURE)
    if spec.naming_weight:
        arteries, confusers = logits[_ARTERY_CHANNELS], logits[_CONFUSER_CHANNELS]
        named = logsumexp(arteries, axis=0) - logsumexp(confusers, axis=0)
        odds = odds + spec.naming_weight * np.clip(named, -_SURE, _SURE)
    own = _on_scan(odds.astype(np.float32), place)
    pieces, count = ndimage.label(dense, structure=_EIGHT)
    means = ndimage.mean(own, pieces, np.arange(count + 1)).astype(np.float32)
    return _sigmoid((1.0 - spec.piece_share) * own + spec.piece_share * means[pieces])


@dataclass(frozen=True, eq=False)
class _Said:
    """What the network said, slice by slice: labels of all voxels, and more of the dense ones."""

    labels: LabelArray
    indices: list[NDArray[np.intp]] = field(default_factory=list)
    probabilities: list[ModelArray] = field(default_factory=list)
    kinds: list[NDArray[np.uint8]] = field(default_factory=list)

    def voxels(self, volume: CtVolume, spec: ModelSpec, *, is_whole: bool) -> SearchedVoxels:
        names = spec.has_artery_labels
        return SearchedVoxels(
            volume.geometry,
            SearchedPart.WHOLE_SCAN if is_whole else SearchedPart.HEART_REGION,
            np.concatenate([*self.indices, np.empty(0, dtype=np.intp)]),
            np.concatenate([*self.probabilities, np.empty(0, dtype=np.float32)]),
            np.concatenate([*self.kinds, np.empty(0, dtype=np.uint8)]) if names else None,
            KIND_NAMES if names else (),
        )


def _kinds(
    pixels: tuple[NDArray[np.intp], ...], logits: ModelArray, place: _Place
) -> NDArray[np.uint8]:
    """Return for each pixel (rows, columns) of the scan the channel that speaks loudest there."""
    to_grid = place.to_grid
    at = np.stack(
        [
            to_grid[axis, axis] * pixels[axis - 1] + to_grid[axis, 3] - place.box[axis - 1].start
            for axis in (1, 2)
        ]
    )
    evidence = [
        ndimage.map_coordinates(channel, at, order=1, mode="nearest")
        for channel in logits[_KIND_CHANNELS]
    ]
    kinds: NDArray[np.uint8] = np.argmax(evidence, axis=0).astype(np.uint8)
    return kinds


def _extent(region: Region, geometry: VolumeGeometry) -> Box | None:
    """Return the rows and columns that a region takes in any slice; None where it is empty."""
    flat = np.zeros(geometry.shape[1:], dtype=np.bool_)
    for index in range(geometry.shape[0]):
        plane = _plane(region, index)
        if plane is not None:
            flat |= plane
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    if not rows.size:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _box_around(
    inside: Box, size: tuple[int, int], to_grid: NDArray[np.float64], spec: ModelSpec
) -> Box:
    """Return rows and columns of the network's grid around a box of the scan's."""
    context = CONTEXT_MM / spec.pixel_spacing_mm
    box = []
    for axis, part, total in zip((1, 2), inside, size, strict=True):
        ends = to_grid[axis, axis] * np.array([part.start, part.stop - 1]) + to_grid[axis, 3]
        low = max(0, int(np.floor(ends.min() - context)))
        high = min(total, int(np.ceil(ends.max() + context)) + 1)
        # Both sizes are multiples of the stride, so a box that is too large by less than one fits.
        size_here = -(-(high - low) // spec.size_multiple) * spec.size_multiple
        low = min(low, total - size_here)
        box.append(slice(low, low + size_here))
    return box[0], box[1]


def _on_scan(values: ModelArray, place: _Place) -> ModelArray:
    """Bring values (row, column) of the network's box to the pixels ``native`` of the scan."""
    return place.to_native.resample(
        values, place.native, source_start=(place.box[0].start, place.box[1].start)
    )


def _named(is_calcium: MaskArray, logits: ModelArray, place: _Place) -> LabelArray:
    """Return the labels of the pixels ``native`` of one slice."""
    if not place.spec.has_artery_labels:
        return np.where(is_calcium, CORONARY, BACKGROUND).astype(np.uint8)
    pieces, count = ndimage.label(is_calcium, structure=_EIGHT)
    numbers = np.arange(1, count + 1)
    evidence = np.stack(
        [
            ndimage.sum_labels(_on_scan(channel, place), pieces, numbers)
            for channel in logits[_ARTERY_CHANNELS]
        ]
    )
    arteries = np.array([Artery[name].value for name in ARTERY_LABELS], dtype=np.uint8)
    of_piece = np.concatenate([[BACKGROUND], arteries[evidence.argmax(axis=0)]])
    labels: LabelArray = of_piece[pieces].astype(np.uint8)
    return labels


def _sigmoid(logits: ModelArray) -> ModelArray:
    # Clipped so that exp cannot overflow float32; sigmoid(+-30) is 0 or 1 to 13 decimals.
    exponentials = np.exp(-np.clip(logits, -30.0, 30.0)).astype(np.float32)
    return np.float32(1.0) / (np.float32(1.0) + exponentials)
