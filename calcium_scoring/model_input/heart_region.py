"""Where the heart is: a coarse look at the whole scan that says where calcium may be coronary.

A second, small network sees the scan on a grid of a few millimetres and marks what lies inside the
pericardial sac. Its mask, widened by a margin, is the region in which the calcium network's word
counts: ribs, shoulders, spine and abdomen are out of reach whatever they look like.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from calcium_scoring.model_input.intensity import hu_to_model_units
from calcium_scoring.model_input.spec import spec_values
from calcium_scoring.volume.ct_volume import CtVolume, HuArray
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import MaskArray
from calcium_scoring.volume.resampling import Box, InPlaneResampler, in_plane_grid

HEART_SPEC_VERSION: Final = 1
"""Raised whenever the meaning of a field changes; a service refuses any other version."""

HEART_METADATA_KEY: Final = "cacscore_heart_spec"
"""Key of the JSON text in the metadata of the ONNX file."""

HEART_FILE_KEY: Final = "cacscore_heart_finder"
"""Key under which the file of the calcium network carries this one, whole and in base64: one file
and one digest say everything that a score depends on."""

HEART_INPUT_NAME: Final = "ct_coarse"
HEART_OUTPUT_NAME: Final = "heart_logits"

PredictHeart: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""``ct_coarse`` to ``heart_logits``, both (batch, 1, slice, row, column)."""

_CUBIC_MM_PER_ML: Final = 1000.0


@dataclass(frozen=True)
class HeartSpec:
    """How a scan becomes ``ct_coarse`` and ``heart_logits`` a region; every value is our choice.

    ``ct_coarse`` is (batch, 1, slice, row, column) float32 in model units, its sizes multiples of
    ``size_multiple``; ``heart_logits`` is the same, one sigmoid.
    """

    model_name: str = "HeartFinder"
    model_version: str = "0.0.0"
    spacing_mm: float = 8.0
    """Of the coarse grid, in all directions."""
    hu_range: tuple[float, float] = (-300.0, 300.0)
    """HU that become 0 and 1."""
    size_multiple: int = 8
    smallest_shape: tuple[int, int, int] = (32, 40, 40)
    """What it learned from: a smaller scan is padded with air, or it would look like a close-up."""
    probability_threshold: float = 0.5
    margin_mm: float = 10.0
    """The region reaches this far beyond the heart: coronary arteries run on its surface, and the
    coarse grid rounds it."""
    smallest_heart_ml: float = 150.0
    """A smaller find is no heart: adult hearts with their fat take 400 to 1,200 mL."""
    spec_version: int = HEART_SPEC_VERSION

    def to_json(self) -> str:
        """Return the text that goes into the model file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> HeartSpec:
        """Read the text of a model file; a version or field that is not known is refused."""
        values = spec_values(
            text, cls.__name__, {field.name for field in fields(cls)}, HEART_SPEC_VERSION
        )
        values["hu_range"] = tuple(values["hu_range"])
        values["smallest_shape"] = tuple(values["smallest_shape"])
        return cls(**values)


@dataclass(frozen=True, eq=False)
class HeartRegion:
    """Where coronary calcium is looked for.

    ``distance_mm`` (slice, row, column) float32 on ``coarse``: how far a coarse voxel lies from the
    heart, 0 inside. ``coarse_hu`` on the same grid is the mean HU of each coarse voxel. ``native``
    is the grid of the scan.
    """

    coarse: VolumeGeometry
    native: VolumeGeometry
    distance_mm: NDArray[np.float32]
    coarse_hu: NDArray[np.float32]
    margin_mm: float
    heart_volume_ml: float
    is_cut: bool
    """Whether the heart reaches the first or last slice of the scan."""

    @property
    def mask(self) -> MaskArray:
        """(slice, row, column) on the grid of the scan; made anew each time it is asked for."""
        # Memory that is never written to is never taken: most of a chest lies outside.
        inside = np.zeros(self.native.shape, dtype=np.bool_)
        for number in range(self.native.shape[0]):
            plane = self.plane(number)
            if plane is not None:
                inside[number] = plane
        return inside

    def plane(self, slice_index: int) -> MaskArray | None:
        """Return one slice (row, column) of :attr:`mask`; None where nothing of it is inside."""
        resampler, box = self._reading
        last = self.coarse.shape[0] - 1
        position = float(
            np.clip(self._to_coarse[0, 0] * slice_index + self._to_coarse[0, 3], 0, last)
        )
        low = int(position)
        high = min(low + 1, last)
        # What lies between is no nearer than the nearest.
        if min(self.distance_mm[low].min(), self.distance_mm[high].min()) > self.margin_mm:
            return None
        share = np.float32(position - low)
        distance = (1 - share) * self.distance_mm[low] + share * self.distance_mm[high]
        inside = np.zeros(self.native.shape[1:], dtype=np.bool_)
        inside[box] = resampler.resample(distance, box) <= self.margin_mm
        return inside if inside.any() else None

    @cached_property
    def _to_coarse(self) -> NDArray[np.float64]:
        # Both grids share their axes, so each axis is read by itself.
        to_coarse = np.linalg.solve(self.coarse.affine, self.native.affine)
        return to_coarse.astype(np.float64, copy=False)

    @cached_property
    def _reading(self) -> tuple[InPlaneResampler, Box]:
        return InPlaneResampler(self.coarse, self.native), self._native_box(self._to_coarse)

    def _native_box(self, index: NDArray[np.float64]) -> Box:
        """Return rows and columns of the scan beyond which no pixel can be inside."""
        near = self.distance_mm <= self.margin_mm
        rows, columns = (
            _reach(near.any(axis=others), index[axis, axis], index[axis, 3], size)
            for axis, others, size in (
                (1, (0, 2), self.native.shape[1]),
                (2, (0, 1), self.native.shape[2]),
            )
        )
        return rows, columns


def _reach(near: MaskArray | np.bool_, scale: float, offset: float, size: int) -> slice:
    """Return the pixels, of ``size`` along an axis, that are interpolated from a near voxel.

    ``near`` says so of the coarse voxels along the axis, where pixel ``i`` lies at
    ``scale * i + offset``.
    """
    found = np.flatnonzero(near)
    if not found.size:
        return slice(0, 0)
    position = np.clip(scale * np.arange(size) + offset, 0, near.size - 1)
    reached = np.flatnonzero((position > found[0] - 1.0) & (position < found[-1] + 1.0))
    return slice(int(reached[0]), int(reached[-1]) + 1)


def find_heart(volume: CtVolume, spec: HeartSpec, predict: PredictHeart) -> HeartRegion | None:
    """Find the heart in a scan; None where nothing of a heart's size is seen."""
    coarse_hu, coarse = coarse_volume(volume.hu, volume.geometry, spec.spacing_mm)
    ct_coarse, inner = coarse_input(coarse_hu, spec)
    logits = predict(ct_coarse[np.newaxis, np.newaxis])[0, 0][inner]
    # sigmoid(x) >= p as a comparison of logits.
    limit = np.log(spec.probability_threshold / (1.0 - spec.probability_threshold))
    heart = _largest_part(logits >= limit)
    volume_ml = float(np.count_nonzero(heart)) * coarse.voxel_volume_mm3 / _CUBIC_MM_PER_ML
    if volume_ml < spec.smallest_heart_ml:
        return None
    # From middle to middle; the heart ends half a voxel before the first middle outside.
    distance = ndimage.distance_transform_edt(~heart, sampling=coarse.spacing_mm)
    distance = np.clip(distance - 0.5 * spec.spacing_mm, 0.0, None)
    return HeartRegion(
        coarse=coarse,
        native=volume.geometry,
        distance_mm=np.asarray(distance, dtype=np.float32),
        coarse_hu=coarse_hu,
        margin_mm=spec.margin_mm,
        heart_volume_ml=volume_ml,
        is_cut=bool(heart[0].any() or heart[-1].any()),
    )


def coarse_volume(
    values: HuArray, geometry: VolumeGeometry, spacing_mm: float
) -> tuple[NDArray[np.float32], VolumeGeometry]:
    """Average (slice, row, column) values over cubes of ``spacing_mm``.

    A coarse voxel is the mean of the voxels it covers, each by the part covered; where slices are
    farther apart than the cubes are high, neighbouring cubes read the same slice. At the far sides
    the last cube may reach beyond the scan and is the mean of what lies within.
    """
    in_plane = in_plane_grid(geometry, spacing_mm)
    gap_mm = geometry.spacing_between_slices_mm
    slice_count = max(1, int(np.ceil(geometry.shape[0] * gap_mm / spacing_mm - 1e-6)))
    affine = np.array(in_plane.affine)
    affine[:3, 0] *= spacing_mm / gap_mm
    first = 0.5 * (spacing_mm / gap_mm - 1.0)
    affine[:3, 3] += in_plane.affine[:3, 0] * first
    coarse = VolumeGeometry((slice_count, *in_plane.shape[1:]), affine)

    index = np.linalg.solve(geometry.affine, affine)
    weights = [
        _cover(geometry.shape[axis], coarse.shape[axis], index[axis, axis], index[axis, 3])
        for axis in range(3)
    ]
    # A cube covers few voxels: nearly all weights are 0.
    rows, columns = (sparse.csr_array(weights[axis]) for axis in (1, 2))
    thin = np.stack([(columns @ (rows @ plane).T).T for plane in values])
    averaged: NDArray[np.float32] = np.tensordot(weights[0], thin, axes=1).astype(np.float32)
    return averaged, coarse


def coarse_input(
    coarse_hu: NDArray[np.float32], spec: HeartSpec
) -> tuple[NDArray[np.float32], tuple[slice, slice, slice]]:
    """Scale to model units and pad with air (0) on all sides; also return where the scan lies."""
    padding = []
    for size, smallest in zip(coarse_hu.shape, spec.smallest_shape, strict=True):
        padded = -(-max(size, smallest) // spec.size_multiple) * spec.size_multiple
        before = (padded - size) // 2
        padding.append((before, padded - size - before))
    slices, rows, columns = (
        slice(before, before + size)
        for (before, _), size in zip(padding, coarse_hu.shape, strict=True)
    )
    return np.pad(hu_to_model_units(coarse_hu, spec.hu_range), padding), (slices, rows, columns)


def _cover(source: int, target: int, step: float, start: float) -> NDArray[np.float32]:
    """Return (target, source) weights: how much of a cube each source voxel makes up.

    Cube ``t`` has its middle at ``start + t * step`` source voxels and is ``abs(step)`` wide.
    """
    middle = start + step * np.arange(target)[:, np.newaxis]
    half = 0.5 * abs(step)
    voxel = np.arange(source)
    overlap = np.minimum(middle + half, voxel + 0.5) - np.maximum(middle - half, voxel - 0.5)
    weights = np.clip(overlap, 0.0, None)
    total = weights.sum(axis=1, keepdims=True)
    # A cube of which only a rounding error lies within the scan takes the edge.
    empty = total[:, 0] <= 0.0
    weights[empty, np.clip(np.rint(middle[empty, 0]).astype(int), 0, source - 1)] = 1.0
    normalised: NDArray[np.float32] = (weights / np.where(empty[:, np.newaxis], 1.0, total)).astype(
        np.float32
    )
    return normalised


def _largest_part(mask: MaskArray) -> MaskArray:
    numbers, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = ndimage.sum_labels(mask, numbers, np.arange(1, count + 1))
    largest: MaskArray = ndimage.binary_fill_holes(numbers == 1 + int(np.argmax(sizes)))
    return largest
