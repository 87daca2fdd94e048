"""Ribs, sternum, shoulder girdle and the levels of the spine.

Coordinates are those of the ideal patient; ``placed`` brings points into the scanner's frame.
Sizes and courses are our choice, read off chest CT of adults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from calcium_scoring.phantom.cage import (
    CAGE_EXPONENT,
    cage_section,
    spine_offset,
    trunk_section,
    vertebra_scale,
)
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.shapes import Placement, Tube, Vectors, place_tubes

VERTEBRA_PITCH_MM: Final = 24.0
"""Height of a vertebra with its disc behind the heart; others scale with their size."""
RIB_COUNT: Final = 12
_TOP_MM: Final = 250.0
_PLATE_STEP_MM: Final = 1.3
_SIDES: Final = (-1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Vertebra:
    """One vertebra between two discs; ``wear`` (0 to 1) is degeneration of its end plates."""

    bottom_mm: float
    top_mm: float
    disc_mm: float
    scale: float
    wear: float
    spur_angle: float
    density: float


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Bones as tubes; plates are stacks of thin horizontal tubes."""

    ribs: tuple[Tube, ...]
    costal_cartilages: tuple[Tube, ...]
    sternum: tuple[Tube, ...]
    shoulder_bones: tuple[Tube, ...]
    """Clavicles, humeri, acromion and coracoid."""
    scapulae: tuple[Tube, ...]
    scapular_muscles: tuple[Tube, ...]
    """What lies on both sides of the blades."""
    vertebrae: tuple[Vertebra, ...]
    humeral_heads: Vectors
    """Centres, right and left, in the ideal patient."""


def build_skeleton(
    settings: PatientSettings, placed: Placement, rng: np.random.Generator
) -> Skeleton:
    """Return the skeleton of a patient."""
    depth = settings.chest_depth_scale
    vertebrae = _vertebrae(rng)
    heads = [0.5 * (vertebra.bottom_mm + vertebra.top_mm) for vertebra in vertebrae]
    first = int(np.argmin(np.abs(np.array(heads) - (128.0 + float(rng.uniform(-8.0, 8.0))))))
    ribs: list[Tube] = []
    cartilages: list[Tube] = []
    thickness = float(rng.uniform(0.85, 1.2))
    steepness = float(rng.normal(1.0, 0.15))
    for number in range(min(RIB_COUNT, len(heads) - first)):
        head_z = heads[first + number]
        drop = float(np.interp(number, [0, 2, 6, 11], [38, 76, 114, 84])) * steepness
        for side in _SIDES:
            points = _rib_points(settings, number, head_z, drop * rng.uniform(0.94, 1.06), side)
            position = np.linspace(0.0, 1.0, len(points))
            radii = np.interp(position, [0, 0.15, 0.6, 1], [3.4, 3.7, 3.3, 3.9]) * thickness
            radii = radii * (1.0 + 0.12 * np.sin(position * rng.uniform(6, 20) + rng.uniform(0, 6)))
            flattening = float(rng.uniform(0.5, 0.62)) if number else 0.95
            ribs.append(Tube(points, radii, flattening=flattening))
            if number < 10:
                cartilages.append(_cartilage(settings, number, points[-1], side, rng))
    heads_mm, girdle, scapulae, muscles = _shoulder_girdle(settings, rng)
    return Skeleton(
        ribs=tuple(place_tubes(ribs, placed)),
        costal_cartilages=tuple(place_tubes(cartilages, placed)),
        sternum=tuple(place_tubes(_sternum(depth, rng), placed)),
        shoulder_bones=tuple(place_tubes(girdle, placed)),
        scapulae=tuple(place_tubes(scapulae, placed)),
        scapular_muscles=tuple(place_tubes(muscles, placed)),
        vertebrae=vertebrae,
        humeral_heads=heads_mm,
    )


def _vertebrae(rng: np.random.Generator) -> tuple[Vertebra, ...]:
    """Return the vertebrae from neck to loin."""
    wear = float(rng.beta(1.0, 1.6))
    density = 1.0
    vertebrae = []
    top = _TOP_MM + float(rng.uniform(0.0, VERTEBRA_PITCH_MM))
    while top > -_TOP_MM:
        scale = vertebra_scale(top)
        height = VERTEBRA_PITCH_MM * scale * float(rng.normal(1.0, 0.03))
        disc = float(np.clip(rng.normal(5.0, 1.2) * scale * (1.15 - 0.6 * wear), 1.5, 10.0))
        vertebrae.append(
            Vertebra(
                bottom_mm=top - height,
                top_mm=top,
                disc_mm=disc,
                scale=scale * float(rng.normal(1.0, 0.02)),
                wear=float(np.clip(wear * rng.uniform(0.2, 1.8), 0.0, 1.0)),
                spur_angle=float(rng.normal(-2.0, 0.7)),
                density=density * float(np.clip(rng.normal(1.0, 0.06), 0.8, 1.5)),
            )
        )
        top -= height
    return tuple(vertebrae)


def _rib_points(
    settings: PatientSettings, number: int, head_z: float, drop: float, side: float
) -> Vectors:
    span = np.radians(162.0) * float(np.interp(number, [0, 6, 8, 11], [0.85, 0.8, 0.74, 0.45]))
    y = spine_offset(head_z)
    scale = vertebra_scale(head_z)
    points = [
        [side * 14.0 * scale, y + 8.0 * scale, head_z + 7.0],
        [side * 29.0, y + 33.0 * scale, head_z + 1.0],
    ]
    for t in np.linspace(0.0, 1.0, 26):
        angle = np.radians(74.0) - t * span
        z = head_z - drop * t**0.85
        half_width, front, back = trunk_section(
            float(z), settings.chest_depth_scale, settings.belly_mm
        )
        cosine, sine = np.cos(angle), np.sin(angle)
        power = 2.0 / CAGE_EXPONENT
        across = (half_width + 4.0) * abs(cosine) ** power
        forward = (0.5 * (back - front) + 4.0) * np.sign(sine) * abs(sine) ** power
        points.append([side * across, 0.5 * (front + back) + forward, z])
    return np.array(points)


def _cartilage(
    settings: PatientSettings,
    number: int,
    rib_end: Vectors,
    side: float,
    rng: np.random.Generator,
) -> Tube:
    rise = float(np.interp(number, [0, 2, 9], [0.0, 2.0, 55.0]))
    height = max(float(rib_end[2]) + rise, -62.0)
    _, front, _ = trunk_section(height, settings.chest_depth_scale, settings.belly_mm)
    end = np.array([side * 15.0, front - 5.0, height])
    if number > 6:
        end = np.array([side * (20.0 + 9.0 * (number - 6)), front - 2.0, height - 3.0 * number])
    t = np.linspace(0.0, 1.0, 9)[:, np.newaxis]
    points = rib_end * (1.0 - t) + end * t
    points[:, 1] -= 5.0 * np.sin(np.pi * t[:, 0])
    points[:, 2] -= 0.35 * rise * np.sin(np.pi * t[:, 0])
    radii = np.full(len(points), float(rng.uniform(5.2, 7.4)))
    return Tube(points, radii, flattening=float(rng.uniform(0.65, 0.9)))


def _sternum(depth: float, rng: np.random.Generator) -> tuple[Tube, ...]:
    """Return manubrium, body and xiphoid as stacks of rows."""
    rows = []
    width = float(rng.uniform(0.85, 1.2))
    thick = float(rng.uniform(4.2, 6.2))
    length = float(rng.uniform(-12.0, 10.0))
    tip = float(rng.uniform(2.0, 6.0))
    lean = float(rng.normal(0.0, 3.0))
    parts = (
        (98.0, 60.0, ((98.0, 20.0), (88.0, 26.0), (62.0, 14.0)), thick + 0.8),
        (57.0, -42.0 + length, ((57.0, 12.0), (20.0, 15.0), (-30.0 + length, 17.0)), thick),
        (-45.0 + length, -68.0 + length, ((-45.0 + length, 8.0), (-68.0 + length, tip)), 3.6),
    )
    for top, bottom, outline, radius in parts:
        heights = [h for h, _ in outline][::-1]
        halves = [w * width for _, w in outline][::-1]
        for z in np.arange(bottom, top, 2.2):
            half = max(float(np.interp(z, heights, halves)) - radius * 0.6, 1.0)
            _, front, _ = cage_section(float(z), depth)
            x = np.linspace(-half, half, 5) + lean * (z - 40.0) / 80.0
            y = front - 6.0 + 0.012 * np.square(x) - 0.4 * (radius - 5.0)
            rows.append(Tube(np.c_[x, y, np.full(5, z)], np.full(5, radius)))
    return tuple(rows)


def upper_arm(settings: PatientSettings) -> Vectors:
    """Return points along the left humerus from the middle of its head."""
    if not settings.arms_down:
        return np.array([[0.0, 0.0, 0.0], [10.0, -8.0, 45.0], [6.0, -60.0, 200.0]])
    # The fat of the flank pushes the arm aside.
    aside = 0.9 * settings.subcutaneous_fat_mm
    return np.array(
        [
            [0.0, 0.0, 0.0],
            [12.0 + 0.4 * aside, 4.0, -50.0],
            [20.0 + aside, 8.0, -130.0],
            [26.0 + 1.2 * aside, 14.0, -330.0],
        ]
    )


def _offset(x: float, y: float, z: float) -> Vectors:
    return np.array([x, y, z])


def _shoulder_girdle(
    settings: PatientSettings, rng: np.random.Generator
) -> tuple[Vectors, tuple[Tube, ...], tuple[Tube, ...], tuple[Tube, ...]]:
    """Return humeral heads, clavicles and upper arms, scapulae, and the muscles on these."""
    down = settings.arms_down
    depth = settings.chest_depth_scale
    lift = float(rng.normal(-8.0 if down else 6.0, 7.0))
    stoop = float(rng.normal(0.0, 8.0))
    bones, blades, muscles, heads = [], [], [], []
    for side in _SIDES:
        uneven = rng.normal(0.0, 3.0, size=3)
        head = np.array([158.0 if down else 150.0, 2.0 - stoop, 128.0 if down else 146.0]) + uneven
        head[2] += lift
        glenoid = head + _offset(-24.0, 8.0, -2.0)
        acromion = head + _offset(-2.0, 16.0, 26.0)
        mirror = np.array([side, 1.0, 1.0])
        heads.append(head * mirror)
        tip_x = 92.0 if down else 112.0
        tip = np.array([tip_x, 62.0 if down else 50.0, (2.0 if down else 26.0) + lift]) + uneven
        upper = np.array([72.0, 60.0, 126.0 + 0.5 * lift])
        rows, fleshy = _blade(tip, upper, glenoid, rng)
        blades += [Tube(points * mirror, radii) for points, radii in rows]
        muscles += [Tube(points * mirror, radii) for points, radii in fleshy]
        # Spine of the scapula, up to the acromion.
        ridge_in = upper * 0.55 + tip * 0.45 + [4.0, 3.0, 18.0]
        for t in np.linspace(0.0, 1.0, 44):
            base = ridge_in * (1 - t) + (glenoid + _offset(-6.0, 6.0, 4.0)) * t
            crest = ridge_in * (1 - t) + acromion * t + [0.0, 16.0 * np.sin(np.pi * t**0.8), 0.0]
            blades.append(Tube(np.array([base, crest]) * mirror, np.array([1.5, 2.6])))
        neck_of_blade = glenoid + _offset(-8.0, 3.0, -4.0)
        bones.append(Tube(np.array([neck_of_blade, glenoid]) * mirror, np.array([7.0, 12.0])))
        coracoid = np.array(
            [
                neck_of_blade + _offset(0, -4, 10),
                glenoid + _offset(-6, -26, 14),
                glenoid + _offset(2, -38, 6),
            ]
        )
        bones.append(Tube(coracoid * mirror, np.array([6.0, 5.5, 4.5])))
        spread = np.array(
            [
                acromion + _offset(-12, 4, -2),
                acromion + _offset(4, -6, 0),
                acromion + _offset(0, -22, -4),
            ]
        )
        bones.append(Tube(spread * mirror, np.array([6.5, 6.0, 5.0])))
        clavicle = np.array(
            [
                [22.0, -98.0 * depth, 100.0],
                [52.0, -96.0 * depth, 108.0 + 0.4 * lift],
                [92.0, -62.0, 126.0 + 0.7 * lift],
                acromion + _offset(-6.0, -20.0, 0.0),
            ]
        )
        bones.append(Tube(clavicle * mirror, np.array([10.0, 6.5, 6.0, 6.5])))
        shaft = head + upper_arm(settings)
        bones.append(Tube(shaft * mirror, np.array([24.0, 13.0, 11.5, 11.0])[: len(shaft)]))
    return np.array(heads), tuple(bones), tuple(blades), tuple(muscles)


_Rows = list[tuple[Vectors, Vectors]]


def _blade(
    tip: Vectors, upper: Vectors, glenoid: Vectors, rng: np.random.Generator
) -> tuple[_Rows, _Rows]:
    """Return rows of the blade from its tip to its upper border, and rows of the muscle on it."""
    rows: _Rows = []
    muscles: _Rows = []
    thin = float(rng.uniform(0.8, 1.5))
    border = float(rng.uniform(2.2, 3.6))
    bulk = float(rng.uniform(8.0, 14.0))
    heights = np.arange(tip[2], upper[2], _PLATE_STEP_MM)
    for index, z in enumerate(heights):
        t = (z - tip[2]) / (upper[2] - tip[2])
        inner = tip * (1 - t) + upper * t
        # The lateral border leads to the joint, then back along the upper border.
        neck = float(np.clip((glenoid[2] - 8.0 - tip[2]) / (upper[2] - tip[2]), 0.3, 0.95))
        if t < neck:
            outer = tip + (glenoid + _offset(-8.0, 3.0, -6.0) - tip) * (t / neck)
        else:
            outer = (
                glenoid
                + _offset(-8.0, 3.0, 0.0)
                + (upper - glenoid) * ((t - neck) / (1.0 - neck)) * 0.9
            )
        s = np.linspace(0.0, 1.0, 7)[:, np.newaxis]
        points = inner * (1 - s) + outer * s
        points[:, 1] += 7.0 * np.sin(np.pi * s[:, 0]) * np.sin(np.pi * min(t + 0.1, 1.0))
        points[:, 2] = z
        radii = np.interp(
            s[:, 0], [0, 0.12, 0.3, 0.75, 1], [border * 0.7, thin, thin, thin, border]
        )
        rows.append((points, radii))
        if index % 8 == 4:
            muscles.append((points, bulk * np.interp(s[:, 0], [0, 0.3, 1], [0.5, 1.0, 1.1])))
    return rows, muscles
