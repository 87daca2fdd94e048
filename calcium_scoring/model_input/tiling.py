"""2.5D sliding: every slice of a volume through a network, one window of neighbours at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.model_input.preprocessing import (
    ModelArray,
    ModelInput,
    prepare_slices,
    slice_window,
    to_native_slice,
)
from calcium_scoring.model_input.spec import ARTERY_LABELS, CONFUSER_LABELS, ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import (
    BACKGROUND,
    CORONARY,
    Artery,
    LabelArray,
    LabelMap,
    MaskArray,
)
from calcium_scoring.volume.searched_voxels import SearchedPart, SearchedVoxels

PredictPatch: TypeAlias = Callable[[ModelArray], ModelArray]
"""``ct_patch`` (batch, slice, row, column) to ``calcium_logits`` (batch, label, row, column)."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many windows are done and how many there are."""

Box: TypeAlias = tuple[slice, slice]

CONTEXT_MM: Final = 20.0
"""What the network sees beyond a region on every side; our choice. It learned from crops of about
this reach, and its channel attention averages over all that it is shown."""

KIND_NAMES: Final = (*ARTERY_LABELS, *CONFUSER_LABELS)
"""What a network that names calls a dense voxel: the channels behind the one that decides."""

_ARTERY_CHANNELS: Final = slice(1, 1 + len(ARTERY_LABELS))
_KIND_CHANNELS: Final = slice(1, 1 + len(KIND_NAMES))
_EIGHT: Final = np.ones((3, 3), dtype=np.bool_)


def segment_volume(
    volume: CtVolume,
    spec: ModelSpec,
    predict_patch: PredictPatch,
    progress: Progress | None = None,
    *,
    region: MaskArray | None = None,
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
    region: MaskArray | None = None,
) -> SearchedVolume:
    """Label the calcium of a volume: probability and HU thresholds, on the scan's own grid.

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
        (slice, row, column): nothing is looked for outside, and the network is fed no more than
        the box around it with some context. None looks everywhere, in whole slices.
    """
    model_input = prepare_slices(volume, spec)
    box = _whole(model_input) if region is None else _box_around(region, model_input, spec)
    total = volume.geometry.shape[0]
    labels = np.full(volume.geometry.shape, BACKGROUND, dtype=np.uint8)
    said = _Said()
    for index in range(total):
        dense = volume.hu[index] >= spec.threshold_hu
        if region is not None:
            dense = dense & region[index]
        # A slice without one dense voxel cannot hold calcium, whatever the network says.
        if dense.any():
            window = slice_window(model_input.slices[:, box[0], box[1]], index, spec)
            logits = predict_patch(window[np.newaxis])[0]
            probability = _on_scan(_sigmoid(logits[0]), box, model_input)
            is_calcium = dense & (probability >= spec.probability_threshold)
            if is_calcium.any():
                labels[index] = _named(is_calcium, logits, box, model_input, spec)
            said.indices.append(np.flatnonzero(dense) + index * dense.size)
            said.probabilities.append(probability[dense])
            if spec.has_artery_labels:
                said.kinds.append(_kinds(np.nonzero(dense), logits, box, model_input))
        if progress is not None:
            progress(index + 1, total)
    return SearchedVolume(
        LabelMap(volume.geometry, labels), said.voxels(volume, spec, is_whole=region is None)
    )


@dataclass(frozen=True, eq=False)
class _Said:
    """What the network said of the dense voxels, slice by slice."""

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
    pixels: tuple[NDArray[np.intp], ...], logits: ModelArray, box: Box, model_input: ModelInput
) -> NDArray[np.uint8]:
    """Return for each pixel (rows, columns) of the scan the channel that speaks loudest there."""
    to_grid = np.linalg.solve(model_input.geometry.affine, model_input.native_geometry.affine)
    at = np.stack(
        [
            to_grid[axis, axis] * pixels[axis - 1] + to_grid[axis, 3] - box[axis - 1].start
            for axis in (1, 2)
        ]
    )
    evidence = [
        ndimage.map_coordinates(channel, at, order=1, mode="nearest")
        for channel in logits[_KIND_CHANNELS]
    ]
    kinds: NDArray[np.uint8] = np.argmax(evidence, axis=0).astype(np.uint8)
    return kinds


def _whole(model_input: ModelInput) -> Box:
    _, rows, columns = model_input.slices.shape
    return slice(0, rows), slice(0, columns)


def _box_around(region: MaskArray, model_input: ModelInput, spec: ModelSpec) -> Box:
    """Return rows and columns of the network's grid around a region of the scan's."""
    to_grid = np.linalg.solve(model_input.geometry.affine, model_input.native_geometry.affine)
    context = CONTEXT_MM / spec.pixel_spacing_mm
    box = []
    for axis in (1, 2):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(region.any(axis=others))
        total = model_input.slices.shape[axis]
        if not inside.size:
            return _whole(model_input)
        ends = to_grid[axis, axis] * inside[[0, -1]] + to_grid[axis, 3]
        low = max(0, int(np.floor(ends.min() - context)))
        high = min(total, int(np.ceil(ends.max() + context)) + 1)
        # Both sizes are multiples of the stride, so a box that is too large by less than one fits.
        size = -(-(high - low) // spec.size_multiple) * spec.size_multiple
        low = min(low, total - size)
        box.append(slice(low, low + size))
    return box[0], box[1]


def _on_scan(values: ModelArray, box: Box, model_input: ModelInput) -> ModelArray:
    """Bring values of a box of the network's grid to the pixels of the scan; 0 outside."""
    whole = np.zeros(model_input.slices.shape[1:], dtype=np.float32)
    whole[box] = values
    return to_native_slice(whole, model_input)


def _named(
    is_calcium: MaskArray, logits: ModelArray, box: Box, model_input: ModelInput, spec: ModelSpec
) -> LabelArray:
    """Return the labels of one slice."""
    if not spec.has_artery_labels:
        return np.where(is_calcium, CORONARY, BACKGROUND).astype(np.uint8)
    pieces, count = ndimage.label(is_calcium, structure=_EIGHT)
    numbers = np.arange(1, count + 1)
    evidence = np.stack(
        [
            ndimage.sum_labels(_on_scan(channel, box, model_input), pieces, numbers)
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
