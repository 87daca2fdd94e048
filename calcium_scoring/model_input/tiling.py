"""2.5D sliding: every slice of a volume through a network, one window of neighbours at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from calcium_scoring.model_input.preprocessing import (
    ModelArray,
    prepare_slices,
    slice_window,
    to_native_slice,
)
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import BACKGROUND, CORONARY, Artery, LabelMap

PredictPatch: TypeAlias = Callable[[ModelArray], ModelArray]
"""``ct_patch`` (batch, slice, row, column) to ``calcium_logits`` (batch, label, row, column)."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many windows are done and how many there are."""


def segment_volume(
    volume: CtVolume,
    spec: ModelSpec,
    predict_patch: PredictPatch,
    progress: Progress | None = None,
) -> LabelMap:
    """Label the calcium of a volume: probability and HU thresholds, on the scan's own grid.

    Each output channel is a sigmoid; where several channels pass, the most probable one names
    the voxel. Connected components are formed later, by the scoring protocol.
    """
    model_input = prepare_slices(volume, spec)
    total = volume.geometry.shape[0]
    label_values = np.array([_label_value(name) for name in spec.labels], dtype=np.uint8)
    labels = np.full(volume.geometry.shape, BACKGROUND, dtype=np.uint8)
    for index in range(total):
        dense = volume.hu[index] >= spec.threshold_hu
        # A slice without one dense voxel cannot hold calcium, whatever the network says.
        if dense.any():
            logits = predict_patch(slice_window(model_input.slices, index, spec)[np.newaxis])[0]
            probabilities = np.stack(
                [to_native_slice(channel, model_input) for channel in _sigmoid(logits)]
            )
            best = probabilities.argmax(axis=0)
            is_calcium = dense & (probabilities.max(axis=0) >= spec.probability_threshold)
            labels[index][is_calcium] = label_values[best[is_calcium]]
        if progress is not None:
            progress(index + 1, total)
    return LabelMap(volume.geometry, labels)


def _label_value(name: str) -> int:
    return CORONARY if name == "CORONARY" else Artery[name].value


def _sigmoid(logits: ModelArray) -> ModelArray:
    # Clipped so that exp cannot overflow float32; sigmoid(+-30) is 0 or 1 to 13 decimals.
    exponentials = np.exp(-np.clip(logits, -30.0, 30.0)).astype(np.float32)
    return np.float32(1.0) / (np.float32(1.0) + exponentials)
