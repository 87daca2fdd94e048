"""The coronary arteries and cardiac veins of the phantom as centre lines in the heart's grooves.

Control points are our choice in the frame of a heart of scale 1; each is then moved onto the
surface of this patient's heart, so that a vessel lies in fat whatever the heart's shape. Which
side branches there are, how far the right and the circumflex artery reach (dominance), how
winding and how deep they run differs from patient to patient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

from calcium_scoring.phantom.shapes import (
    FAR_MM,
    Distance,
    Ellipsoid,
    Placement,
    Tube,
    Vectors,
    place_tubes,
    smooth_min,
)
from calcium_scoring.volume.label_map import Artery

STEP_MM: Final = 1.5

_Points: TypeAlias = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class _Course:
    """A course before it is fitted to a heart; ``odds`` is how often the branch exists."""

    name: str
    artery: Artery
    radii_mm: tuple[float, float]
    controls: _Points
    parent: str | None = None
    odds: float = 1.0
    shortest: float = 1.0
    """Smallest share of the course that is kept."""


_COURSES: Final = (
    _Course("LM", Artery.LM, (2.3, 2.1), ((17, -65, 14), (24, -66, 17), (30, -69, 18))),
    _Course(
        "LAD", Artery.LAD, (1.9, 0.7),
        ((30, -69, 18), (39, -76, 19), (47, -88, 16), (52, -101, 8), (58, -112, -6),
         (68, -118, -20), (80, -119, -36), (87, -112, -48)), "LM", shortest=0.8,
    ),
    _Course(
        "LCX", Artery.LCX, (1.7, 0.9),
        ((30, -69, 18), (40, -64, 14), (50, -55, 9), (57, -46, 1), (55, -38, -9), (46, -32, -19),
         (34, -34, -28), (22, -44, -36)), "LM", shortest=0.7,
    ),
    _Course(
        "RCA", Artery.RCA, (1.9, 1.1),
        ((-2, -83, 12), (-5, -92, 11), (-10, -101, 5), (-15, -106, -8), (-17, -101, -22),
         (-12, -88, -36), (0, -72, -43), (14, -60, -44)), shortest=0.72,
    ),
    _Course(
        "D1", Artery.LAD, (1.2, 0.6),
        ((50, -95, 12), (64, -98, 6), (76, -94, -4), (86, -88, -16)), "LAD", 0.95, 0.6,
    ),
    _Course(
        "D2", Artery.LAD, (1.1, 0.5),
        ((56, -108, 0), (72, -108, -8), (84, -102, -20)), "LAD", 0.7, 0.5,
    ),
    _Course(
        "D3", Artery.LAD, (0.9, 0.5),
        ((64, -115, -14), (78, -112, -20), (87, -104, -32)), "LAD", 0.25, 0.5,
    ),
    _Course(
        "RI", Artery.LCX, (1.2, 0.6),
        ((32, -69, 18), (48, -72, 15), (64, -80, 8), (80, -82, -4)), "LM", 0.2, 0.6,
    ),
    _Course(
        "OM1", Artery.LCX, (1.3, 0.6),
        ((47, -59, 11), (64, -56, 4), (80, -62, -6), (88, -72, -20)), "LCX", 0.9, 0.6,
    ),
    _Course(
        "OM2", Artery.LCX, (1.2, 0.6),
        ((57, -44, 0), (70, -48, -10), (82, -60, -24)), "LCX", 0.5, 0.6,
    ),
    _Course(
        "OM3", Artery.LCX, (1.0, 0.5),
        ((50, -34, -16), (66, -44, -26), (78, -62, -38)), "LCX", 0.25, 0.6,
    ),
    _Course(
        "CB", Artery.RCA, (0.9, 0.5),
        ((-6, -94, 10), (8, -110, 10), (22, -118, 2)), "RCA", 0.5, 0.5,
    ),
    _Course(
        "AM", Artery.RCA, (1.1, 0.5),
        ((-16, -104, -16), (-2, -120, -24), (20, -126, -32)), "RCA", 0.8, 0.5,
    ),
    _Course(
        "PDA", Artery.RCA, (1.2, 0.6),
        ((14, -60, -44), (28, -68, -50), (44, -82, -54), (60, -96, -56)), "RCA", 0.8, 0.5,
    ),
    _Course(
        "PL", Artery.RCA, (1.1, 0.6),
        ((14, -60, -44), (28, -50, -42), (46, -50, -40), (62, -62, -42)), "RCA", 0.6, 0.5,
    ),
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
    """All branches; those named after an artery are its main course. ``veins`` run with them."""

    branches: tuple[CoronaryBranch, ...]
    veins: tuple[Tube, ...]

    def placed(self, place: Placement) -> CoronaryTree:
        """Return the tree where it lies in the scanner."""
        lumens = place_tubes([branch.lumen for branch in self.branches], place)
        grooves = place_tubes([branch.groove for branch in self.branches], place)
        return CoronaryTree(
            tuple(
                replace(branch, lumen=lumen, groove=groove)
                for branch, lumen, groove in zip(self.branches, lumens, grooves, strict=True)
            ),
            tuple(place_tubes(self.veins, place)),
        )


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
    """Return the vessels of a heart, each moved onto the surface of chambers and great vessels."""

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

    calibre = float(np.clip(rng.lognormal(0.0, 0.14), 0.7, 1.4)) * scale
    winding = float(rng.uniform(0.0, 1.6))
    is_left_dominant = rng.random() < 0.15
    branches: list[CoronaryBranch] = []
    courses: dict[str, Vectors] = {}
    for course in _COURSES:
        wander = rng.normal(0.0, 2.0, size=(len(course.controls), 3))
        thickness = float(rng.uniform(0.8, 1.2)) * calibre
        exists, share = rng.random() < course.odds, float(rng.uniform(course.shortest, 1.0))
        own = np.random.default_rng(int(rng.integers(2**31)))
        if is_left_dominant and course.name in {"PDA", "PL"}:
            exists = False
        if course.name == "RCA" and is_left_dominant:
            share, thickness = 0.6, 0.7 * thickness
        if course.name == "LCX" and is_left_dominant:
            share, thickness = 1.0, 1.2 * thickness
        if not exists or (course.parent is not None and course.parent not in courses):
            continue
        controls = np.array(course.controls, dtype=np.float64)
        controls = controls[: max(3, round(share * len(controls)))]
        wander = wander[: len(controls)]
        wander[0] = 0.0
        points = in_heart(controls + wander)
        if course.parent is not None:
            trunk = courses[course.parent]
            nearest = np.linalg.norm(trunk - points[0], axis=1).argmin()
            # LM divides at its end; the other branches leave where they come nearest.
            points[0] = trunk[-1] if course.parent == "LM" else trunk[nearest]
        points, radii = _fitted(
            surface, points, course, thickness=thickness, winding=winding, fat_mm=fat_mm, rng=own
        )
        courses[course.name] = points
        branches.append(
            CoronaryBranch(
                course.name,
                course.artery,
                Tube(points, radii),
                _groove(course, points, radii, fat_mm, own),
            )
        )
    veins = _veins(courses, calibre, np.random.default_rng(int(rng.integers(2**31))))
    return CoronaryTree(tuple(branches), veins)


def _fitted(
    surface: Callable[[Vectors], Vectors],
    points: Vectors,
    course: _Course,
    *,
    thickness: float,
    winding: float,
    fat_mm: float,
    rng: np.random.Generator,
) -> tuple[Vectors, Vectors]:
    """Return a course on the surface, with its radii."""
    depth = float(rng.uniform(0.02, 0.22)) * fat_mm
    for turn in range(3):
        points = _resampled(points)
        count = len(points)
        if turn == 1 and winding > 0.0:
            bends = ndimage.gaussian_filter1d(rng.standard_normal((count, 3)), 3.5, axis=0)
            bends *= winding * np.clip(np.arange(count) / 8.0, 0.0, 1.0)[:, np.newaxis] * 3.0
            points = points + bends
        radii = np.linspace(course.radii_mm[0], course.radii_mm[1], count) * thickness
        pull = np.clip(np.arange(count) / 6.0, 0.0, 1.0)
        if course.parent is None:
            # The ostium stays in the wall of the aorta.
            pull = np.clip((np.arange(count) - 1.0) / 8.0, 0.0, 1.0)
        points = _moved_onto(surface, points, radii + 0.4 + depth, pull)
        points = _smoothed(points)
    uneven = ndimage.gaussian_filter1d(rng.standard_normal(count), 4.0) * 0.25
    return points, radii * (1.0 + np.clip(uneven, -0.2, 0.25))


def _groove(
    course: _Course, points: Vectors, radii: Vectors, fat_mm: float, rng: np.random.Generator
) -> Tube:
    """Return the fat around a vessel, seldom centred on it and of uneven width."""
    share = 1.4 if course.artery is Artery.RCA else 1.0
    if course.name not in Artery.__members__:
        share = 0.4  # Side branches run on the open wall.
    count = len(points)
    position = np.linspace(0.0, 1.0, count)
    depth = np.interp(position, [0.0, 0.25, 1.0], [0.5, 1.0, 0.4])
    uneven = ndimage.gaussian_filter1d(rng.standard_normal(count), 5.0) * 1.6
    width = radii + 0.3 + 0.8 * share * fat_mm * depth * np.clip(1.0 + 0.5 * uneven, 0.25, 1.9)
    aside = ndimage.gaussian_filter1d(rng.standard_normal((count, 3)), 5.0, axis=0) * 4.0
    shift = aside * np.clip(0.5 * (width - radii), 0.0, 3.0)[:, np.newaxis] * 0.6
    return Tube((points + shift)[::2], width[::2])


def _veins(
    courses: dict[str, Vectors], calibre: float, rng: np.random.Generator
) -> tuple[Tube, ...]:
    """Return veins beside LAD, LCX (the great cardiac vein and coronary sinus) and PDA."""
    veins = []
    sizes = {
        "LAD": (0.9, 1.5),
        "LCX": (1.5, 3.6),
        "PDA": (1.5, 0.8),
        "OM1": (0.9, 0.6),
        "RCA": (0.5, 1.2),
    }
    for name, (start, end) in sizes.items():
        if name not in courses or rng.random() < 0.12:
            continue
        points = courses[name]
        aside = ndimage.gaussian_filter1d(rng.standard_normal((len(points), 3)), 6.0, axis=0)
        aside /= np.linalg.norm(aside, axis=1, keepdims=True) + 1e-6
        radii = np.linspace(start, end, len(points)) * calibre * float(rng.uniform(0.8, 1.3))
        veins.append(Tube((points + aside * (2.2 + 1.1 * radii[:, np.newaxis]))[::2], radii[::2]))
    return tuple(veins)


def _moved_onto(
    surface: Callable[[Vectors], Vectors], points: Vectors, height: Vectors, pull: Vectors
) -> Vectors:
    """Return points moved along the gradient until they lie ``height`` above the surface."""
    steps = np.concatenate([np.zeros((1, 3)), np.eye(3)])
    for _ in range(4):
        values = surface((points + steps[:, np.newaxis]).reshape(-1, 3)).reshape(4, -1)
        off = values[0] - height
        gradient = (values[1:] - values[0]).T
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
