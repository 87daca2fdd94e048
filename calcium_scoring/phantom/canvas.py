"""Drawing implicit shapes into one plane of pixels.

Large shapes are evaluated on a coarse grid, where their signed distance is smooth, and
interpolated in the box in which they are; small ones at the pixels around them. A distance becomes
a share of the pixel, so that edges carry partial volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.phantom.acquisition import FloatImage
from calcium_scoring.phantom.shapes import FAR_MM, Distance, Segments

Box: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
Where: TypeAlias = tuple[slice, slice]
Pixels: TypeAlias = NDArray[np.intp]
Value: TypeAlias = float | Distance


@dataclass(frozen=True, eq=False)
class CoarseGrid:
    """A coarse grid of columns ``x`` (1, n) and rows ``y`` (m, 1) over the pixels of a box."""

    where: Where
    x: Distance
    y: Distance
    _first: tuple[NDArray[np.intp], NDArray[np.intp]]
    _from_rows: Distance
    _from_columns: Distance

    @classmethod
    def over(cls, xs: Distance, ys: Distance, box: Box, pitch_mm: float) -> CoarseGrid:
        """Return the grid over those pixels, at ``xs`` and ``ys``, that lie in the box."""
        where, nodes, weights, first = [], [], [], []
        for values, (low, high) in zip((ys, xs), (box[1], box[0]), strict=True):
            start, stop = np.searchsorted(values, [low, high])
            part = values[start:stop]
            row = np.arange(2.0) if not part.size else np.arange(
                part[0] - 0.5 * pitch_mm, part[-1] + 2.0 * pitch_mm, pitch_mm
            )  # fmt: skip
            away = np.abs(part[:, np.newaxis] - row) / pitch_mm
            where.append(slice(int(start), int(stop)))
            nodes.append(row.astype(np.float32))
            weights.append(np.clip(1.0 - away, 0.0, 1.0).astype(np.float32))
            first.append(np.searchsorted(part, row).astype(np.intp))
        return cls(
            (where[0], where[1]),
            nodes[1][np.newaxis],
            nodes[0][:, np.newaxis],
            (first[0], first[1]),
            weights[0],
            np.ascontiguousarray(weights[1].T),
        )

    @property
    def is_empty(self) -> bool:
        """Whether no pixel lies in the box."""
        return 0 in (len(self._from_rows), self._from_columns.shape[1])

    def enlarged(self, coarse: Distance, where: Where | None = None) -> Distance:
        """Return values of the grid at the pixels of the box, or at part of them."""
        rows, columns = where or (slice(None), slice(None))
        in_rows, in_columns = self._from_rows[rows], self._from_columns[:, columns]
        result: Distance = in_rows @ (np.asarray(coarse, dtype=np.float32) @ in_columns)
        return result

    def box_of(self, inside: NDArray[np.bool_]) -> Where | None:
        """Return the pixels of the box around the nodes that are inside, or None."""
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not rows.size:
            return None
        found = []
        for nodes, first, size in (
            (rows, self._first[0], len(self._from_rows)),
            (columns, self._first[1], self._from_columns.shape[1]),
        ):
            low, high = max(int(nodes[0]) - 1, 0), min(int(nodes[-1]) + 1, len(first) - 1)
            start = int(first[low])
            stop = int(first[high]) if high < len(first) - 1 else size
            if stop <= start:
                return None
            found.append(slice(start, stop))
        return found[0], found[1]


class Canvas:
    """One plane of HU that shapes are painted into, one over the other."""

    def __init__(self, xs: Distance, ys: Distance, background_hu: float) -> None:
        self.xs, self.ys = xs, ys
        self.pixel_mm = float(xs[1] - xs[0])
        self.hu: FloatImage = np.full((len(ys), len(xs)), background_hu, dtype=np.float32)
        self._nearest = np.full(self.hu.size, FAR_MM, dtype=np.float32)

    def begin(self, background: FloatImage) -> None:
        """Start a new plane from a background, which is left as it is."""
        self.hu = background.copy()

    def share(self, distance: Distance) -> Distance:
        """Return how much of a pixel lies inside."""
        result: Distance = distance * np.float32(-1.0 / self.pixel_mm)
        result += np.float32(0.5)
        np.clip(result, 0.0, 1.0, out=result)
        return result

    def cover(self, where: Where, distance: Distance, value: Value) -> None:
        """Paint a value over what is there, inside a shape known at the pixels of ``where``."""
        self.blend(where, self.share(distance), value)

    def blend(self, where: Where, share: Distance, value: Value) -> None:
        """Paint a value over a share of what is there."""
        part = self.hu[where]
        if isinstance(value, np.ndarray):
            difference = value[where] - part
        else:
            difference = np.float32(value) - part
        difference *= share
        part += difference

    def cover_coarse(
        self, grid: CoarseGrid, distance: Distance, value: Value, *, grown: float = 0.0
    ) -> None:
        """Paint a shape that is known on a coarse grid; ``value`` may be an image of the plane."""
        where = grid.box_of(distance < grown + self.pixel_mm)
        if where is None:
            return
        fine = grid.enlarged(distance, where)
        if grown:
            fine -= np.float32(grown)
        self.cover(self.absolute(grid, where), fine, value)

    @staticmethod
    def absolute(grid: CoarseGrid, where: Where) -> Where:
        """Return pixels of a grid's box as pixels of the plane."""
        rows, columns = grid.where
        top, left = rows.start, columns.start
        return (
            slice(where[0].start + top, where[0].stop + top),
            slice(where[1].start + left, where[1].stop + left),
        )

    def near(self, segments: Segments, z: float, margin: float) -> tuple[Pixels, Distance] | None:
        """Return the pixels near capsules and their distance to the nearest; some come twice."""
        found = segments.pixels_near(self.xs, self.ys, z, margin + 0.5 * self.pixel_mm)
        if found is None:
            return None
        pixels, distance = found
        np.minimum.at(self._nearest, pixels, distance)
        nearest = self._nearest[pixels]
        self._nearest[pixels] = FAR_MM
        return pixels, nearest

    def cover_pixels(self, pixels: Pixels, distance: Distance, value: Value) -> None:
        """Paint single pixels; ``value`` is a number or one number a pixel."""
        flat = self.hu.reshape(-1)
        here = flat[pixels]
        flat[pixels] = here + self.share(distance) * (np.asarray(value, dtype=np.float32) - here)
