"""Smooth random fields in space: for textures, and for bending a patient out of the ideal shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.shapes import Distance, Vectors

_SPLINE_SPREAD: Final = float(np.sqrt(151.0 / 315.0))
"""Standard deviation along one axis of a cubic B-spline of white noise of standard deviation 1."""
_UNROLLINGS: Final = 3


def _spline_weights(positions: NDArray[np.float64], count: int) -> Distance:
    """Return cubic B-spline weights (position, node) of a periodic row of nodes."""
    lower = np.floor(positions).astype(int)
    t = positions - lower
    weights = np.zeros((len(positions), count), dtype=np.float32)
    rows = np.arange(len(positions))
    values = (
        (1.0 - t) ** 3 / 6.0,
        (3.0 * t**3 - 6.0 * t**2 + 4.0) / 6.0,
        (-3.0 * t**3 + 3.0 * t**2 + 3.0 * t + 1.0) / 6.0,
        t**3 / 6.0,
    )
    for offset, value in zip((-1, 0, 1, 2), values, strict=True):
        np.add.at(weights, (rows, (lower + offset) % count), value)
    return weights


@dataclass(frozen=True, eq=False)
class NoiseField:
    """Periodic noise of mean 0 and standard deviation 1, smooth over ``pitch_mm``.

    ``nodes`` (z, y, x) are the coefficients of a cubic B-spline.
    """

    nodes: Distance
    pitch_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, pitch_mm: float, count: int = 20) -> NoiseField:
        """Return a field that repeats after ``count`` pitches."""
        nodes = rng.standard_normal((count, count, count), dtype=np.float32)
        nodes -= nodes.mean()
        nodes /= nodes.std() * _SPLINE_SPREAD**3
        return cls(nodes, pitch_mm)

    def at(self, points: Vectors) -> NDArray[np.float64]:
        """Return the values at points (n, 3)."""
        coordinates = points[:, ::-1].T / self.pitch_mm
        values = ndimage.map_coordinates(
            self.nodes, coordinates, order=3, mode="grid-wrap", prefilter=False
        )
        return np.asarray(values, dtype=np.float64)

    def on(self, x: Distance, y: Distance) -> NoiseGrid:
        """Return the field on the grid of columns ``x`` and rows ``y``."""
        count = len(self.nodes)
        return NoiseGrid(
            self,
            _spline_weights(np.asarray(y, dtype=np.float64).ravel() / self.pitch_mm, count),
            np.ascontiguousarray(
                _spline_weights(np.asarray(x, dtype=np.float64).ravel() / self.pitch_mm, count).T
            ),
        )


@dataclass(frozen=True, eq=False)
class NoiseGrid:
    """A field on a fixed grid of a plane."""

    field: NoiseField
    from_rows: Distance
    from_columns: Distance

    def plane(self, z: float) -> Distance:
        """Return the values (row, column) at a height."""
        nodes = self.field.nodes
        weights = _spline_weights(np.array([z / self.field.pitch_mm]), len(nodes))[0]
        used = np.flatnonzero(weights)
        tile = np.tensordot(weights[used], nodes[used], axes=1)
        result: Distance = self.from_rows @ tile @ self.from_columns
        return result


@dataclass(frozen=True, eq=False)
class Warp:
    """Smooth shifts in x and y that vary in space: no two patients are made of ellipses.

    ``fields`` holds amplitude in mm and the fields for x and y. ``bend_mm`` (height, shift x,
    shift y) adds a shift of whole planes: scoliosis and kyphosis.
    """

    fields: tuple[tuple[float, NoiseField, NoiseField], ...]
    bend_mm: Vectors

    @classmethod
    def draw(
        cls, rng: np.random.Generator, amplitudes_mm: Sequence[tuple[float, float]], bend: Vectors
    ) -> Warp:
        """Return a warp; ``amplitudes_mm`` pairs an amplitude with the pitch of its fields."""
        return cls(
            tuple(
                (amplitude, NoiseField.draw(rng, pitch, 12), NoiseField.draw(rng, pitch, 12))
                for amplitude, pitch in amplitudes_mm
            ),
            bend,
        )

    def bend(self, z: Vectors | float) -> tuple[Vectors, Vectors]:
        """Return the shift of whole planes in x and y."""
        heights, x, y = self.bend_mm.T
        return np.interp(z, heights, x), np.interp(z, heights, y)

    def warped(self, points: Vectors) -> Vectors:
        """Return where points (..., 3) of the ideal patient lie in this one."""
        ideal = np.atleast_2d(np.asarray(points, dtype=np.float64))
        shift_x, shift_y = self.bend(ideal[:, 2])
        here = ideal.copy()
        for _ in range(_UNROLLINGS):
            moved = ideal.copy()
            moved[:, 0] += shift_x
            moved[:, 1] += shift_y
            for amplitude, in_x, in_y in self.fields:
                moved[:, 0] -= amplitude * in_x.at(here)
                moved[:, 1] -= amplitude * in_y.at(here)
            here = moved
        return here.reshape(np.shape(points))

    def on(self, x: Distance, y: Distance) -> WarpGrid:
        """Return the warp on the grid of columns ``x`` and rows ``y``."""
        return WarpGrid(self, np.atleast_2d(x), np.reshape(y, (-1, 1)))


@dataclass(frozen=True, eq=False)
class WarpGrid:
    """A warp on a fixed grid of a plane."""

    warp: Warp
    x: Distance
    y: Distance

    @cached_property
    def _grids(self) -> tuple[tuple[float, NoiseGrid, NoiseGrid], ...]:
        return tuple(
            (amplitude, in_x.on(self.x, self.y), in_y.on(self.x, self.y))
            for amplitude, in_x, in_y in self.warp.fields
        )

    def ideal(self, z: float) -> tuple[Distance, Distance]:
        """Return x and y (row, column) in the ideal patient of the grid at a height."""
        shift_x, shift_y = self.warp.bend(z)
        x = self.x - np.float32(shift_x) + np.zeros_like(self.y)
        y = self.y - np.float32(shift_y) + np.zeros_like(self.x)
        for amplitude, in_x, in_y in self._grids:
            x += np.float32(amplitude) * in_x.plane(z)
            y += np.float32(amplitude) * in_y.plane(z)
        return x, y
