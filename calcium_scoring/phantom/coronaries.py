"""The four coronary arteries of the phantom as centre lines in the grooves of the heart.

Control points are our choice in the frame of a heart of scale 1; each is then moved onto the
surface of this patient's heart, so that a vessel lies in fat whatever the heart's shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from scipy.interpolate import CubicSpline

from calcium_scoring.phantom.shapes import (
    FAR_MM,
    Distance,
    Ellipsoid,
    Placement,
    Tube,
    Vectors,
    smooth_min,
)
from calcium_scoring.volume.label_map import Artery

STEP_MM: Final = 1.5

_Course: TypeAlias = tuple[str, Artery, tuple[float, float], tuple[tuple[float, ...], ...]]
"""Name, artery, radius at origin and end, control points."""

_COURSES: Final[tuple[_Course, ...]] = (
    ("LM", Artery.LM, (2.3, 2.1), ((17, -65, 14), (24, -66, 17), (30, -69, 18))),
    (
        "LAD",
        Artery.LAD,
        (1.9, 0.8),
        ((30, -69, 18), (39, -76, 19), (47, -88, 16), (52, -101, 8), (58, -112, -6),
         (68, -118, -20), (80, -119, -36), (87, -112, -48)),
    ),
    (
        "LCX",
        Artery.LCX,
        (1.7, 0.9),
        ((30, -69, 18), (40, -64, 14), (50, -55, 9), (57, -46, 1), (55, -38, -9), (46, -32, -19),
         (34, -34, -28)),
    ),
    (
        "RCA",
        Artery.RCA,
        (1.9, 1.1),
        ((-2, -83, 12), (-5, -92, 11), (-10, -101, 5), (-15, -106, -8), (-17, -101, -22),
         (-12, -88, -36), (0, -72, -43), (14, -60, -44), (28, -66, -50), (44, -80, -54)),
    ),
    ("D1", Artery.LAD, (1.2, 0.7), ((50, -95, 12), (64, -98, 6), (76, -94, -4), (86, -88, -16))),
    ("D2", Artery.LAD, (1.1, 0.6), ((56, -108, 0), (72, -108, -8), (84, -102, -20))),
    ("OM1", Artery.LCX, (1.3, 0.7), ((47, -59, 11), (64, -56, 4), (80, -62, -6), (88, -72, -20))),
    ("AM", Artery.RCA, (1.1, 0.6), ((-16, -104, -16), (-2, -120, -24), (20, -126, -32))),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class CoronaryBranch:
    """A branch: its lumen and the fat-filled groove around it; points ``STEP_MM`` apart."""

    name: str
    artery: Artery
    lumen: Tube
    groove: Tube

    @property
    def length_mm(self) -> float:
        """Length of the centre line at scale 1."""
        steps = np.linalg.norm(np.diff(self.lumen.points, axis=0), axis=1)
        return float(steps.sum())


@dataclass(frozen=True, eq=False)
class CoronaryTree:
    """All branches; those named after an artery are its main course."""

    branches: tuple[CoronaryBranch, ...]


def grow_coronaries(
    *,
    chambers: Sequence[Ellipsoid],
    groove_fat: Ellipsoid,
    vessels: Sequence[Tube],
    in_heart: Placement,
    fat_mm: float,
    scale: float,
    rng: np.random.Generator,
) -> CoronaryTree:
    """Return the arteries of a heart, each moved onto the surface of chambers and great vessels."""

    def surface(points: Vectors) -> Vectors:
        x, y, z = points.T
        nearest: Distance = np.full(len(points), FAR_MM, dtype=np.float32)
        for shape in chambers:
            nearest = smooth_min(nearest, shape.distance(x, y, z), 18.0)
        nearest = np.maximum(nearest, -groove_fat.distance(x, y, z))
        for tube in vessels:
            apart = np.linalg.norm(points[:, np.newaxis] - tube.points, axis=2) - tube.radii
            nearest = np.minimum(nearest, apart.min(axis=1).astype(np.float32))
        return nearest.astype(np.float64)

    branches: list[CoronaryBranch] = []
    courses: dict[str, Vectors] = {}
    for name, artery, (first_radius, last_radius), controls in _COURSES:
        wander = rng.normal(0.0, 1.6, size=(len(controls), 3))
        wander[0] = 0.0
        thickness = float(rng.uniform(0.85, 1.15))
        points = in_heart(np.array(controls, dtype=np.float64) + wander)
        parent = {"LAD": "LM", "LCX": "LM", "D1": "LAD", "D2": "LAD", "OM1": "LCX", "AM": "RCA"}
        is_origin_fixed = name in parent
        if is_origin_fixed:
            course = courses[parent[name]]
            nearest = np.linalg.norm(course - points[0], axis=1).argmin()
            # LM divides at its end; the other branches leave where they come nearest.
            points[0] = course[-1] if parent[name] == "LM" else course[nearest]
        for _ in range(3):
            points = _resampled(points)
            count = len(points)
            radii = np.linspace(first_radius, last_radius, count) * thickness * scale
            pull = np.clip(np.arange(count) / 6.0, 0.0, 1.0)
            if not is_origin_fixed:
                # The ostium stays in the wall of the aorta.
                pull = np.clip((np.arange(count) - 1.0) / 8.0, 0.0, 1.0)
            points = _moved_onto(surface, points, radii + 0.6 + 0.12 * fat_mm, pull)
            points = _smoothed(points)
        courses[name] = points
        share = 1.5 if artery is Artery.RCA else 1.0
        if name not in Artery.__members__:
            share = 0.4  # Side branches run on the open wall.
        position = np.linspace(0.0, 1.0, count)
        depth = np.interp(position, [0.0, 0.25, 1.0], [0.5, 1.0, 0.4])
        groove = radii + 0.5 + 0.85 * share * fat_mm * depth
        branches.append(
            CoronaryBranch(name, artery, Tube(points, radii), Tube(points[::2], groove[::2]))
        )
    return CoronaryTree(tuple(branches))


def _moved_onto(
    surface: Callable[[Vectors], Vectors], points: Vectors, height: Vectors, pull: Vectors
) -> Vectors:
    """Return points moved along the gradient until they lie ``height`` above the surface."""
    for _ in range(5):
        here = surface(points)
        off = here - height
        gradient = np.stack([surface(points + step) - here for step in np.eye(3)], axis=1)
        norm = np.maximum(np.square(gradient).sum(axis=1), 0.05)
        move = -(off / norm * pull)[:, np.newaxis] * gradient
        points = points + np.clip(0.7 * move, -4.0, 4.0)
    return points


def _resampled(points: Vectors) -> Vectors:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    count = max(4, int(along[-1] / STEP_MM) + 1)
    spline = CubicSpline(along, points, axis=0, bc_type="natural")
    return np.asarray(spline(np.linspace(0.0, along[-1], count)))


def _smoothed(points: Vectors) -> Vectors:
    smooth = points.copy()
    for _ in range(3):
        smooth[1:-1] = 0.25 * smooth[:-2] + 0.5 * smooth[1:-1] + 0.25 * smooth[2:]
    return smooth
