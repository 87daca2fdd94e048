"""Inference without any of the shortcuts of the search, to compare it with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.model_input.heart_region import HeartRegion
from calcium_scoring.model_input.preprocessing import (
    ModelArray,
    ModelInput,
    prepare_slices,
    slice_window,
    to_native_slice,
)
from calcium_scoring.model_input.segmentation import CalciumModel
from calcium_scoring.model_input.tiling import _Place, _sigmoid
from calcium_scoring.volume.ct_volume import CtVolume

Answers = tuple[NDArray[np.intp], ModelArray]
"""Flat indices of the dense voxels of a region, ascending, and the probability of each."""


def deciding_voxels_alone(model: CalciumModel) -> CalciumModel:
    """Return the same networks without the rules that mix what the network said afterwards."""
    return replace(model, spec=replace(model.spec, naming_weight=0.0, piece_share=0.0))


def answers_in_the_box(volume: CtVolume, model: CalciumModel, region: HeartRegion) -> Answers:
    """Prepare the whole scan and show every slice to the network, cut to the box of the search."""
    place = _Place.around(region, volume.geometry, model.spec)
    model_input = prepare_slices(volume, model.spec)
    slices = model_input.slices[:, place.box[0], place.box[1]]

    def answer(index: int) -> ModelArray:
        logits = model.predict_patch(slice_window(slices, index, model.spec)[np.newaxis])[0]
        whole = np.zeros(model_input.slices.shape[1:], dtype=np.float32)
        whole[place.box] = _sigmoid(logits[0])
        return to_native_slice(whole, model_input)

    return _of_dense_voxels(volume, model, region, [answer(i) for i in range(len(slices))])


def answers_to_whole_slices(volume: CtVolume, model: CalciumModel, region: HeartRegion) -> Answers:
    """Show every slice to the network whole."""
    model_input: ModelInput = prepare_slices(volume, model.spec)

    def answer(index: int) -> ModelArray:
        window = slice_window(model_input.slices, index, model.spec)[np.newaxis]
        return to_native_slice(_sigmoid(model.predict_patch(window)[0, 0]), model_input)

    return _of_dense_voxels(
        volume, model, region, [answer(i) for i in range(volume.geometry.shape[0])]
    )


def _of_dense_voxels(
    volume: CtVolume, model: CalciumModel, region: HeartRegion, probabilities: list[ModelArray]
) -> Answers:
    dense = (volume.hu >= model.spec.threshold_hu) & region.mask
    return np.flatnonzero(dense), np.stack(probabilities)[dense]
