"""From a CT volume to what the network sees, and from its probabilities back to the scan's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.model_input.intensity import hu_to_model_units
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.resampling import in_plane_grid, resample_slice

ModelArray: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ModelInput:
    """All slices of a volume in model units, on the in-plane grid of the network.

    ``slices`` is (slice, row, column) float32; rows and columns are padded with air (0) at the far
    side to multiples of ``size_multiple``, beyond the extent of ``geometry``.
    """

    slices: ModelArray
    geometry: VolumeGeometry
    native_geometry: VolumeGeometry


def prepare_slices(volume: CtVolume, spec: ModelSpec) -> ModelInput:
    """Resample every slice to the network's pixel spacing and scale it to model units."""
    native = volume.geometry
    grid = in_plane_grid(native, spec.pixel_spacing_mm)
    slice_count, rows, columns = grid.shape
    multiple = spec.size_multiple
    slices = np.zeros(
        (slice_count, -(-rows // multiple) * multiple, -(-columns // multiple) * multiple),
        dtype=np.float32,
    )
    for index in range(slice_count):
        resampled = resample_slice(volume.hu[index], native, grid)
        slices[index, :rows, :columns] = hu_to_model_units(resampled, spec.hu_range)
    slices.setflags(write=False)
    return ModelInput(slices, grid, native)


def window_indices(
    slice_index: int, slice_total: int, slice_count: int, *, step: int = 1
) -> NDArray[np.intp]:
    """Return the neighbouring slices of a window; beyond an end the edge slice is repeated.

    ``step`` above 1 leaves slices out, to learn from a scan as if it had fewer of them.
    """
    half = slice_count // 2
    return np.clip(slice_index + step * np.arange(-half, half + 1), 0, slice_total - 1)


def slice_window(slices: ModelArray, slice_index: int, spec: ModelSpec) -> ModelArray:
    """Return the ``ct_patch`` (slice_count, row, column) whose middle slice is ``slice_index``."""
    return slices[window_indices(slice_index, slices.shape[0], spec.slice_count)]


def to_native_slice(probabilities: ModelArray, model_input: ModelInput) -> ModelArray:
    """Bring the probabilities (row, column) of one slice back to the pixels of the scan."""
    _, rows, columns = model_input.geometry.shape
    return resample_slice(
        probabilities[:rows, :columns], model_input.geometry, model_input.native_geometry
    )
