"""Implicit shapes: approximate signed distances in mm, negative inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Distance: TypeAlias = NDArray[np.float32]
Vectors: TypeAlias = NDArray[np.float64]
Placement: TypeAlias = Callable[[object], Vectors]
"""From landmarks (..., 3) to where they lie in this patient."""
Coordinate: TypeAlias = NDArray[np.float32] | float

FAR_MM = 99.0
"""Distance that stands for nowhere near."""


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid; the rows of ``axes`` are the unit vectors that ``radii`` belong to."""

    centre: Vectors
    radii: tuple[float, float, float]
    axes: Vectors = field(default_factory=lambda: np.eye(3))

    def distance(self, x: Coordinate, y: Coordinate, z: Coordinate, grown: float = 0.0) -> Distance:
        """Return the distance; ``grown`` is added to every radius."""
        dx, dy, dz = x - self.centre[0], y - self.centre[1], z - self.centre[2]
        first: Distance | float = 0.0
        second: Distance | float = 0.0
        for axis, radius in zip(self.axes, self.radii, strict=True):
            a, b, c = (float(v) for v in axis)
            along = (dx * a + dy * b + dz * c) / (radius + grown)
            squared = along * along
            first = first + squared
            second = second + squared / (radius + grown) ** 2
        # Inigo Quilez's bound: exact on the surface, the right gradient near it.
        root = np.sqrt(first)
        return np.asarray(root * (root - 1.0) / np.sqrt(second + 1e-9), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Tube:
    """A chain of tapering capsules along ``points`` (n, 3) with ``radii`` (n,).

    With ``flattening`` below 1 the cross-section is taller (in z) than wide by its inverse.
    """

    points: Vectors
    radii: Vectors
    flattening: float = 1.0

    @cached_property
    def segments(self) -> Segments:
        """The capsules of the tube."""
        return Segments.of([self])

    def distance(self, x: Distance, y: Distance, z: float, reach: float) -> Distance:
        """Return the distance in the plane ``z`` on a grid of columns ``x`` (1, n) and rows ``y``.

        Beyond ``reach`` the distance is only known to be larger and is given as ``FAR_MM``.
        """
        nearest = np.full(np.broadcast_shapes(x.shape, y.shape), FAR_MM, dtype=np.float32)
        segments = self.segments
        for index in segments.near(z, reach):
            (left, right), (front, back) = segments.box(index, reach)
            columns = slice(*np.searchsorted(x[0], [left, right]))
            rows = slice(*np.searchsorted(y[:, 0], [front, back]))
            view = nearest[rows, columns]
            if view.size:
                part = segments.distance(index, x[:, columns], y[rows], z)
                np.minimum(view, part, out=view)
        return nearest


@dataclass(frozen=True, eq=False)
class Segments:
    """The capsules of one or many tubes: from ``starts`` over ``steps`` (n, 3), in scaled z.

    ``lows`` and ``highs`` bound them in z.
    """

    starts: Vectors
    steps: Vectors
    first_radii: Vectors
    last_radii: Vectors
    flattenings: Vectors
    lows: Vectors
    highs: Vectors

    @classmethod
    def of(cls, tubes: Sequence[Tube]) -> Segments:
        """Return the capsules of all tubes."""
        if not tubes:
            none = np.zeros(0)
            return cls(np.zeros((0, 3)), np.zeros((0, 3)), none, none, none, none, none)
        margins = [tube.radii / tube.flattening for tube in tubes]
        heights = [tube.points[:, 2] for tube in tubes]
        low = [h - m for h, m in zip(heights, margins, strict=True)]
        high = [h + m for h, m in zip(heights, margins, strict=True)]
        return cls(
            starts=np.concatenate([tube.points[:-1] for tube in tubes]),
            steps=np.concatenate([np.diff(tube.points, axis=0) for tube in tubes]),
            first_radii=np.concatenate([tube.radii[:-1] for tube in tubes]),
            last_radii=np.concatenate([tube.radii[1:] for tube in tubes]),
            flattenings=np.concatenate(
                [np.full(len(tube.points) - 1, tube.flattening) for tube in tubes]
            ),
            lows=np.concatenate([np.minimum(v[:-1], v[1:]) for v in low]),
            highs=np.concatenate([np.maximum(v[:-1], v[1:]) for v in high]),
        )

    def near(self, z: float, reach: float) -> list[int]:
        """Return the capsules that may come within ``reach`` of the plane."""
        found: list[int] = np.flatnonzero(
            (self.lows - reach <= z) & (self.highs + reach >= z)
        ).tolist()
        return found

    def pixels_near(
        self, x: Distance, y: Distance, z: float, reach: float
    ) -> tuple[NDArray[np.intp], Distance] | None:
        """Return flat indices of grid points near the plane's capsules, with their distances.

        ``x`` and ``y`` are evenly spaced. Points near several capsules come several times.
        """
        near = np.asarray(self.near(z, reach), dtype=np.intp)
        if not near.size:
            return None
        starts, steps = self.starts[near], self.steps[near]
        first, last = self.first_radii[near], self.last_radii[near]
        margin = (np.maximum(first, last) + reach)[:, np.newaxis]
        # Only that stretch of a capsule counts which comes near enough to the plane.
        rise = np.where(np.abs(steps[:, 2]) < 1e-6, 1e-6, steps[:, 2])
        room = margin[:, 0] / self.flattenings[near]
        ends = (z - starts[:, 2] + np.stack([-room, room])) / rise
        share = np.clip(np.sort(ends, axis=0), 0.0, 1.0)[:, :, np.newaxis]
        from_here, to_here = (starts + share * steps)[:, :, :2]
        low = np.minimum(from_here, to_here) - margin
        high = np.maximum(from_here, to_here) + margin
        origin = np.array([x[0], y[0]], dtype=np.float64)
        pitch = np.array(
            [float(v[1] - v[0]) if len(v) > 1 else 1.0 for v in (x, y)], dtype=np.float64
        )
        sizes = np.array([len(x), len(y)])
        corner = np.clip(np.ceil((low - origin) / pitch), 0, sizes).astype(np.intp)
        end = np.clip(np.floor((high - origin) / pitch) + 1.0, 0, sizes).astype(np.intp)
        extent = np.maximum(end - corner, 0)
        counts = extent[:, 0] * extent[:, 1]
        kept = counts > 0
        if not kept.any():
            return None
        counts, corner, widths = counts[kept], corner[kept], extent[kept, 0]
        owner = np.repeat(np.arange(len(counts)), counts)
        local = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        row_offset, column_offset = np.divmod(local, widths[owner])
        columns, rows = column_offset + corner[owner, 0], row_offset + corner[owner, 1]
        flattening = self.flattenings[near][kept]
        b = steps[kept].copy()
        b[:, 2] *= flattening
        squared = np.square(b).sum(axis=1) + 1e-9
        from_z = (z - starts[kept, 2]) * flattening
        facts = np.stack(
            [
                starts[kept, 0], starts[kept, 1], b[:, 0], b[:, 1], b[:, 2],
                b[:, 0] / squared, b[:, 1] / squared, from_z * b[:, 2] / squared, from_z,
                first[kept], (last - first)[kept],
            ]
        ).astype(np.float32)  # fmt: skip
        ax, ay, bx, by, bz, sx, sy, sz, fz, radius, taper = facts[:, owner]
        from_x, from_y = x[columns] - ax, y[rows] - ay
        along = from_x * sx
        along += from_y * sy
        along += sz
        np.clip(along, 0.0, 1.0, out=along)
        from_x -= along * bx
        from_y -= along * by
        fz -= along * bz
        distance = np.sqrt(from_x * from_x + from_y * from_y + fz * fz)
        distance -= radius
        distance -= along * taper
        return rows * len(x) + columns, distance

    def nearest(self, x: Distance, y: Distance, z: float, reach: float) -> Distance:
        """Return the distance (row, column) to the nearest capsule, ``FAR_MM`` beyond reach."""
        nearest = np.full((np.size(y), np.size(x)), FAR_MM, dtype=np.float32)
        found = self.pixels_near(np.ravel(x), np.ravel(y), z, reach)
        if found is not None:
            np.minimum.at(nearest.reshape(-1), *found)
        return nearest

    def roughly_nearest(
        self, x: Distance, y: Distance, z: float, reach: float, every: int
    ) -> Distance:
        """Return the distance from every so many-th grid point, interpolated at the others."""
        sparse = self.nearest(x[:, ::every], y[::every], z, reach)
        for axis, size in ((0, len(y)), (1, x.shape[1])):
            last = sparse.shape[axis] - 1
            position = np.minimum(np.arange(size) / every, last)
            lower = np.minimum(position.astype(np.intp), max(last - 1, 0))
            upper = np.minimum(lower + 1, last)
            share = np.expand_dims((position - lower).astype(np.float32), 1 - axis)
            sparse = sparse.take(lower, axis) * (1 - share) + sparse.take(upper, axis) * share
        return np.asarray(sparse, dtype=np.float32)

    def box(self, index: int, reach: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the bounds in x and y of one capsule and what lies within ``reach``."""
        x, y, _ = self.starts[index].tolist()
        dx, dy, _ = self.steps[index].tolist()
        margin = max(float(self.first_radii[index]), float(self.last_radii[index])) + reach
        return (
            (min(x, x + dx) - margin, max(x, x + dx) + margin),
            (min(y, y + dy) - margin, max(y, y + dy) + margin),
        )

    def distance(self, index: int, x: Distance, y: Distance, z: float) -> Distance:
        """Return the distance to one capsule in the plane ``z``."""
        ax, ay, az = self.starts[index].tolist()
        bx, by, bz = self.steps[index].tolist()
        flattening = float(self.flattenings[index])
        start, end = float(self.first_radii[index]), float(self.last_radii[index])
        bz *= flattening
        from_z = (z - az) * flattening
        scale = 1.0 / (bx * bx + by * by + bz * bz + 1e-9)
        from_x, from_y = x - np.float32(ax), y - np.float32(ay)
        along = from_x * np.float32(bx * scale) + (
            from_y * np.float32(by * scale) + np.float32(from_z * bz * scale)
        )
        np.minimum(np.maximum(along, 0.0, out=along), 1.0, out=along)
        across = np.square(from_x - along * np.float32(bx))
        across += np.square(from_y - along * np.float32(by))
        across += np.square(np.float32(from_z) - along * np.float32(bz))
        result: Distance = np.sqrt(across, out=across)
        along *= np.float32(end - start)
        result -= along
        result -= np.float32(start)
        return result


def smooth_tube(
    controls: Sequence[tuple[float, float, float, float]], *, step_mm: float = 3.0
) -> Tube:
    """Return a tube through control points (x, y, z, radius), a spline sampled at ``step_mm``."""
    points = np.array(controls, dtype=np.float64)
    lengths = np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(2, int(along[-1] / step_mm) + 1)
    sampled = CubicSpline(along, points, axis=0, bc_type="natural")(
        np.linspace(0.0, along[-1], count)
    )
    return Tube(sampled[:, :3], np.maximum(sampled[:, 3], 0.3))


def place_tubes(tubes: Sequence[Tube], placed: Placement) -> list[Tube]:
    """Return tubes where they lie in the scanner, all placed at once."""
    if not tubes:
        return []
    points = placed(np.concatenate([tube.points for tube in tubes]))
    parts = np.split(points, np.cumsum([len(tube.points) for tube in tubes])[:-1])
    return [replace(tube, points=part) for tube, part in zip(tubes, parts, strict=True)]


def smooth_min(first: Distance, second: Distance, blend_mm: float) -> Distance:
    """Return the union of two shapes whose seam is rounded over ``blend_mm``."""
    overlap = np.maximum(blend_mm - np.abs(first - second), 0.0)
    union = np.minimum(first, second) - overlap * overlap * (0.25 / blend_mm)
    return np.asarray(union, dtype=np.float32)


def smooth_max(first: Distance, second: Distance, blend_mm: float) -> Distance:
    """Return what two shapes share, its edge rounded over ``blend_mm``."""
    return -smooth_min(-first, -second, blend_mm)


def superellipse_distance(
    x: Distance, y: Distance, half_width: float, half_depth: float, exponent: float
) -> Distance:
    """Return the in-plane distance to a superellipse about the origin."""
    u = np.abs(x) / half_width + 1e-4
    v = np.abs(y) / half_depth + 1e-4
    u_power, v_power = u ** (exponent - 1.0), v ** (exponent - 1.0)
    total = u_power * u + v_power * v
    radius = total ** (1.0 / exponent)
    slope = np.hypot(u_power / half_width, v_power / half_depth) * radius / total
    result: Distance = np.asarray((radius - 1.0) / slope, dtype=np.float32)
    return result


def rotation(azimuth_deg: float, elevation_deg: float) -> Vectors:
    """Return the matrix that turns about z (towards posterior) and then about x."""
    a, e = np.radians(azimuth_deg), np.radians(elevation_deg)
    about_z = np.array([[np.cos(a), -np.sin(a), 0.0], [np.sin(a), np.cos(a), 0.0], [0, 0, 1.0]])
    about_x = np.array([[1.0, 0, 0], [0, np.cos(e), -np.sin(e)], [0, np.sin(e), np.cos(e)]])
    result: Vectors = about_x @ about_z
    return result


def frame_along(direction: Vectors) -> Vectors:
    """Return three orthonormal rows; the first is ``direction``."""
    first = direction / np.linalg.norm(direction)
    helper = np.eye(3)[int(np.argmin(np.abs(first)))]
    second = np.cross(first, helper)
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)])
