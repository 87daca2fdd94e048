"""Ribs, sternum and shoulder girdle of the phantom, with the muscles that lie on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from calcium_scoring.phantom.cage import CAGE_EXPONENT, cage_section, spine_offset
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.shapes import Ellipsoid, Placement, Tube, Vectors

VERTEBRA_PITCH_MM: Final = 24.0
DISC_MM: Final = 5.0
RIB_COUNT: Final = 13
"""One more than there are, so that the lowest slices are not without ribs."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Bones as tubes; ``vertebra_phase_mm`` is the height of the middle of one disc."""

    ribs: tuple[Tube, ...]
    costal_cartilages: tuple[Tube, ...]
    sternum: tuple[Tube, ...]
    shoulder_bones: tuple[Tube, ...]
    shoulder_muscles: tuple[Ellipsoid, ...]
    vertebra_phase_mm: float


def build_skeleton(
    settings: PatientSettings, rolled: Placement, rng: np.random.Generator
) -> Skeleton:
    """Return the skeleton of a patient."""
    depth = settings.chest_depth_scale
    first_z = 128.0 + float(rng.uniform(-10.0, 10.0))
    ribs: list[Tube] = []
    cartilages: list[Tube] = []
    for number in range(RIB_COUNT):
        head_z = first_z - VERTEBRA_PITCH_MM * number
        drop = float(np.interp(number, [0, 2, 6, 12], [28, 55, 85, 60]) * rng.uniform(0.95, 1.05))
        for side in (-1.0, 1.0):
            points = _rib_points(number, head_z, drop, side, depth)
            position = np.linspace(0.0, 1.0, len(points))
            radii = np.interp(position, [0, 0.15, 0.6, 1], [3.4, 3.6, 3.4, 3.8])
            ribs.append(Tube(rolled(points), radii * rng.uniform(0.95, 1.05), flattening=0.58))
            if number < 8:
                cartilages.append(_cartilage(number, points[-1], side, depth, rolled))
    return Skeleton(
        ribs=tuple(ribs),
        costal_cartilages=tuple(cartilages),
        sternum=_sternum(depth, rolled),
        shoulder_bones=_shoulder_bones(depth, rolled, rng),
        shoulder_muscles=_shoulder_muscles(rolled, rng),
        vertebra_phase_mm=first_z + 0.5 * VERTEBRA_PITCH_MM,
    )


def _rib_points(number: int, head_z: float, drop: float, side: float, depth: float) -> Vectors:
    span = np.radians(150.0) * float(np.interp(number, [0, 6, 8, 12], [0.8, 0.8, 0.74, 0.5]))
    y = spine_offset(head_z)
    points = [[side * 14.0, y + 8.0, head_z + 4.0], [side * 27.0, y + 26.0, head_z + 3.0]]
    for t in np.linspace(0.0, 1.0, 26):
        angle = np.radians(62.0) - t * span
        z = head_z - drop * t**1.1
        half_width, front, back = cage_section(float(z), depth)
        cosine, sine = np.cos(angle), np.sin(angle)
        power = 2.0 / CAGE_EXPONENT
        across = (half_width + 4.0) * abs(cosine) ** power
        forward = (0.5 * (back - front) + 4.0) * np.sign(sine) * abs(sine) ** power
        points.append([side * across, 0.5 * (front + back) + forward, z])
    return np.array(points)


def _cartilage(number: int, rib_end: Vectors, side: float, depth: float, rolled: Placement) -> Tube:
    rise = float(np.interp(number, [0, 2, 7], [0.0, 2.0, 42.0]))
    height = max(float(rib_end[2]) + rise, -58.0)
    _, front, _ = cage_section(height, depth)
    end = np.array([side * 15.0, front - 5.0, height])
    t = np.linspace(0.0, 1.0, 9)[:, np.newaxis]
    points = rib_end * (1.0 - t) + end * t
    points[:, 1] -= 5.0 * np.sin(np.pi * t[:, 0])
    points[:, 2] -= 0.35 * rise * np.sin(np.pi * t[:, 0])
    return Tube(rolled(points), np.full(len(points), 5.0), flattening=0.7)


def _sternum(depth: float, rolled: Placement) -> tuple[Tube, ...]:
    columns = []
    for top, bottom, half_width in ((94.0, 60.0, 20.0), (57.0, -42.0, 12.0), (-45.0, -62.0, 5.0)):
        for x in np.linspace(-half_width, half_width, max(3, int(2.0 * half_width / 2.5))):
            heights = np.linspace(top, bottom, max(2, int((top - bottom) / 8.0)))
            fronts = [cage_section(float(z), depth)[1] for z in heights]
            points = [[x, front - 6.0, z] for front, z in zip(fronts, heights, strict=True)]
            columns.append(Tube(rolled(points), np.full(len(points), 5.0)))
    return tuple(columns)


def _shoulder_bones(depth: float, rolled: Placement, rng: np.random.Generator) -> tuple[Tube, ...]:
    bones = []
    tip_z = 12.0 + float(rng.uniform(-12.0, 12.0))
    for side in (-1.0, 1.0):
        tip = np.array([side * 104.0, 60.0, tip_z])
        inner, outer = np.array([side * 84.0, 66.0, 120.0]), np.array([side * 145.0, 34.0, 110.0])
        for share in np.linspace(0.0, 1.0, 25):
            high = inner * (1.0 - share) + outer * share
            points = [tip + (high - tip) * t for t in (0.0, 0.5, 1.0)]
            thick = 2.8 if share in {0.0, 1.0} else 1.7
            bones.append(Tube(rolled(points), np.full(3, thick)))
        bones.append(
            Tube(
                rolled(
                    [[side * 24.0, -104.0 * depth, 99.0], [side * 60.0, -92.0, 112.0],
                     [side * 125.0, -20.0, 132.0]]
                ),
                np.array([9.0, 6.5, 6.0]),
            )
        )  # fmt: skip
        bones.append(
            Tube(
                rolled([[side * 156.0, 10.0, 122.0], [side * 172.0, 0.0, 190.0]]),
                np.array([22.0, 14.0]),
            )
        )
    return tuple(bones)


def _shoulder_muscles(rolled: Placement, rng: np.random.Generator) -> tuple[Ellipsoid, ...]:
    muscles = []
    lift = float(rng.uniform(-10.0, 10.0))
    for side in (-1.0, 1.0):
        muscles += [
            Ellipsoid(rolled([side * 132.0, 34.0, 60.0 + lift]), (46.0, 28.0, 110.0)),
            Ellipsoid(rolled([side * 84.0, -96.0, 75.0 + lift]), (62.0, 30.0, 56.0)),
            Ellipsoid(rolled([side * 38.0, 52.0, -20.0]), (34.0, 20.0, 260.0)),
        ]
    return tuple(muscles)
