"""From a CT volume to what the network sees, and from its probabilities back to the scan's grid.

Training prepares whole volumes (:func:`prepare_slices`), serving a box of each slice when a window
needs it (:class:`SliceWindows`): the same pixels hold the same bits.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.model_input.intensity import hu_to_model_units
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.resampling import (
    Box,
    InPlaneResampler,
    in_plane_grid,
    resample_slice,
)

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
    slices = np.zeros((slice_count, *padded_size(grid, spec)), dtype=np.float32)
    resampler = InPlaneResampler(native, grid)
    for index in range(slice_count):
        resampled = resampler.resample(volume.slice_hu(index))
        slices[index, :rows, :columns] = hu_to_model_units(resampled, spec.hu_range)
    slices.setflags(write=False)
    return ModelInput(slices, grid, native)


def padded_size(grid: VolumeGeometry, spec: ModelSpec) -> tuple[int, int]:
    """Return rows and columns of the network's grid, up to multiples of ``size_multiple``."""
    multiple = spec.size_multiple
    _, rows, columns = grid.shape
    return -(-rows // multiple) * multiple, -(-columns // multiple) * multiple


class SliceWindows:
    """The windows of a volume, of one box of its slices; only the slices of a window are held.

    Slices are prepared when first asked for and forgotten in the order of their last use, so that
    memory does not grow with the number of slices.

    Parameters
    ----------
    box
        Rows and columns of the network's grid, padding included.
    """

    def __init__(self, volume: CtVolume, spec: ModelSpec, box: Box) -> None:
        self._volume = volume
        self._spec = spec
        grid = in_plane_grid(volume.geometry, spec.pixel_spacing_mm)
        self._resampler = InPlaneResampler(volume.geometry, grid)
        self._size = box[0].stop - box[0].start, box[1].stop - box[1].start
        # What lies beyond the grid is padding.
        self._within = tuple(
            slice(min(part.start, total), min(part.stop, total))
            for part, total in zip(box, grid.shape[1:], strict=True)
        )
        self._held: OrderedDict[int, ModelArray] = OrderedDict()

    def window(self, slice_index: int) -> ModelArray:
        """Return the ``ct_patch`` (slice_count, row, column) around this slice."""
        indices = window_indices(
            slice_index, self._volume.geometry.shape[0], self._spec.slice_count
        )
        return np.stack([self._slice(int(index)) for index in indices])

    def _slice(self, index: int) -> ModelArray:
        if index in self._held:
            self._held.move_to_end(index)
            return self._held[index]
        rows, columns = self._within
        prepared = np.zeros(self._size, dtype=np.float32)
        resampled = self._resampler.resample(self._volume.slice_hu(index), (rows, columns))
        prepared[: rows.stop - rows.start, : columns.stop - columns.start] = hu_to_model_units(
            resampled, self._spec.hu_range
        )
        self._held[index] = prepared
        if len(self._held) > self._spec.slice_count:
            self._held.popitem(last=False)
        return prepared


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
