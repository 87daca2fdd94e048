"""Skin, fat, muscles, breasts, shoulders, neck and arms: what lies outside the rib cage.

Shapes are our choice, read off chest CT of adults, in the ideal patient unless they are tubes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from calcium_scoring.phantom.cage import (
    CAGE_EXPONENT,
    apex_height,
    cage_section,
    dome_height,
    middle_half_width,
    spine_offset,
    spine_region,
    trunk_section,
    vertebra_scale,
)
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.shapes import (
    Distance,
    Ellipsoid,
    Placement,
    Segments,
    Tube,
    frame_along,
    place_tubes,
    smooth_min,
    superellipse_distance,
)
from calcium_scoring.phantom.skeleton import Skeleton, upper_arm

_SIDES: Final = (-1.0, 1.0)
_NECK_Z: Final = (90.0, 118.0, 140.0, 156.0, 180.0, 240.0)
_NECK_HALF_WIDTH: Final = (70.0, 88.0, 70.0, 58.0, 53.0, 52.0)
_SKIN_REACH_MM: Final = 90.0
"""Muscles farther from the skin than this do not shape it: the thickest fat and a seam."""
_SKIN_STRIDE: Final = 3
_NECK_HALF_DEPTH: Final = (50.0, 58.0, 58.0, 55.0, 54.0, 54.0)


@dataclass(frozen=True, eq=False)
class WallFields:
    """Distances of one plane to the layers of the chest wall and to the lungs without mediastinum.

    ``layers`` holds the thickness in mm of three layers of muscle on the ribs, from the inside;
    ``layer`` is the distance to what they make together. ``dome`` is negative below the diaphragm.
    """

    body: Distance
    layer: Distance
    layers: tuple[Distance, Distance, Distance]
    muscles: tuple[Distance, ...]
    breasts: Distance
    cage: Distance
    dome: Distance
    apex: Distance
    spine_region: Distance


@dataclass(frozen=True)
class MuscleSheet:
    """A flat muscle on the ribs: where it lies and how thick it is.

    ``middle_deg`` is its place round the chest, -90 in front, 0 at the side and 90 behind; spans
    are half widths at which it has thinned to nothing.
    """

    middle_deg: float
    span_deg: float
    middle_mm: float
    span_mm: float
    thickness_mm: float
    is_outer: bool
    slope: float = 0.0
    """How many degrees the middle turns per mm upwards."""

    def thickness(self, angle_deg: Distance, z: float) -> Distance | float:
        """Return its thickness in a plane."""
        along = 1.0 - ((z - self.middle_mm) / self.span_mm) ** 2
        if along <= 0.0:
            return 0.0
        middle = self.middle_deg + self.slope * (z - self.middle_mm)
        across = 1.0 - np.square((angle_deg - np.float32(middle)) / np.float32(self.span_deg))
        bump = np.sqrt(np.clip(across * np.float32(along), 0.0, 1.0))
        return np.asarray(np.float32(self.thickness_mm) * bump, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ChestWall:
    """The wall of one patient."""

    settings: PatientSettings
    sheets: tuple[MuscleSheet, ...]
    muscles: tuple[Ellipsoid, ...]
    long_muscles: tuple[Tube, ...]
    breasts: tuple[Ellipsoid, ...]
    arms: tuple[Tube, ...]
    scapular_muscles: tuple[Tube, ...]
    girdle: tuple[Tube, ...]
    """Bones that the skin covers like muscle."""
    regional_fat: tuple[float, float, float, float]
    """Factors on the subcutaneous fat in front, at the sides, at the back and on the belly."""
    dome_heights: tuple[float, float, float]

    @cached_property
    def _long(self) -> Segments:
        return Segments.of(self.long_muscles)

    @cached_property
    def _scapular(self) -> Segments:
        return Segments.of(self.scapular_muscles)

    @cached_property
    def _girdle(self) -> Segments:
        return Segments.of(self.girdle)

    @cached_property
    def _arms(self) -> Segments:
        return Segments.of(self.arms)

    def fields(self, px: Distance, py: Distance, x: Distance, y: Distance, z: float) -> WallFields:
        """Return the layers in the plane ``z``.

        ``px``, ``py`` (row, column) are positions in the ideal patient of the grid of columns
        ``x`` (1, n) and rows ``y`` (m, 1) of the scanner.
        """
        settings = self.settings
        half_width, front, back = trunk_section(z, settings.chest_depth_scale, settings.belly_mm)
        centre, half_depth = 0.5 * (front + back), 0.5 * (back - front)
        cage = superellipse_distance(px, py - centre, half_width, half_depth, CAGE_EXPONENT)
        turn = np.arctan2(py - np.float32(centre), np.abs(px)) * np.float32(180.0 / np.pi)
        layers = self._layers(turn, z)
        layer = np.asarray(cage - sum(layers), dtype=np.float32)
        spine_y = spine_offset(z)
        if z > _NECK_Z[0]:
            neck = superellipse_distance(
                px,
                py - (spine_y - 9.0),
                float(np.interp(z, _NECK_Z, _NECK_HALF_WIDTH)),
                float(np.interp(z, _NECK_Z, _NECK_HALF_DEPTH)),
                2.2,
            )
            envelope = smooth_min(layer, neck, 20.0)
        else:
            envelope = layer
        muscles = [
            shape.distance(px, py, z)
            for shape in self.muscles
            if abs(z - float(shape.centre[2])) < 1.05 * max(shape.radii)
        ]
        outer = self._girdle.roughly_nearest(x, y, z, _SKIN_REACH_MM, _SKIN_STRIDE)
        for muscle in muscles:
            np.minimum(outer, muscle, out=outer)
        envelope = smooth_min(envelope, outer, 34.0)
        in_front, aside, behind, on_belly = self.regional_fat
        around = np.clip(turn * np.float32(1.0 / 90.0), -1.0, 1.0)
        fat = np.where(
            around < 0.0, aside + (in_front - aside) * -around, aside + (behind - aside) * around
        )
        low = float(np.interp(z, [-130.0, -40.0], [1.0, 0.0]))
        fat = settings.subcutaneous_fat_mm * (fat + low * (on_belly - 1.0))
        body = np.asarray(envelope - np.maximum(fat, 2.0), dtype=np.float32)
        breasts = np.full_like(body, 99.0)
        for shape in self.breasts:
            breasts = np.minimum(breasts, shape.distance(px, py, z))
        body = smooth_min(body, breasts, 12.0)
        body = smooth_min(body, self._arms.nearest(x, y, z, 40.0), 6.0)
        height = dome_height(px, py, self.dome_heights)
        scale = vertebra_scale(z)
        return WallFields(
            body=body,
            layer=layer,
            layers=layers,
            muscles=tuple(muscles),
            breasts=breasts,
            cage=cage,
            dome=np.asarray((z - height) * 0.7, dtype=np.float32),
            apex=np.minimum(
                (apex_height(px, settings.apex_mm) - np.float32(z)) * np.float32(0.7),
                np.abs(px) - np.float32(middle_half_width(z)),
            ),
            spine_region=spine_region(px, py - np.float32(spine_y), scale),
        )

    def _layers(self, turn: Distance, z: float) -> tuple[Distance, Distance, Distance]:
        """Return the thickness of the muscles between and on the ribs."""
        belly = float(np.interp(z, [-110.0, -50.0], [0.5, 0.05]))
        lateral = np.cos(np.radians(turn))
        base = np.asarray(
            2.0 + 3.5 * lateral + self.settings.muscle_mm * (belly + (0.5 - belly) * lateral),
            dtype=np.float32,
        )
        inner: Distance = np.zeros_like(base)
        outer: Distance = np.zeros_like(base)
        for sheet in self.sheets:
            target = outer if sheet.is_outer else inner
            np.maximum(target, sheet.thickness(turn, z), out=target)
        return base, inner, outer

    def round_muscles(self, x: Distance, y: Distance, z: float) -> tuple[Distance, Distance]:
        """Return the distances to the muscles on the scapula, and those of neck, back and arms."""
        return self._scapular.nearest(x, y, z, 6.0), self._long.nearest(x, y, z, 6.0)


def build_chest_wall(
    settings: PatientSettings,
    skeleton: Skeleton,
    dome_heights: tuple[float, float, float],
    placed: Placement,
    rng: np.random.Generator,
) -> ChestWall:
    """Return the wall of a patient."""
    arms, arm_muscles = _arms(settings, skeleton, rng)
    shoulder_muscles = _shoulder_muscles(settings, skeleton, rng)
    return ChestWall(
        settings=settings,
        sheets=_sheets(settings, rng),
        muscles=_muscles(settings, skeleton, rng),
        long_muscles=tuple(
            place_tubes(
                [*_neck_muscles(rng), *_back_muscles(settings), *arm_muscles, *shoulder_muscles],
                placed,
            )
        ),
        breasts=_breasts(settings, rng),
        arms=tuple(place_tubes(arms, placed)),
        scapular_muscles=skeleton.scapular_muscles,
        girdle=(
            *(replace(bone, radii=bone.radii + 9.0) for bone in skeleton.shoulder_bones),
            *place_tubes(shoulder_muscles, placed),
            *(
                Tube(fleshy.points[::3], fleshy.radii[::3])
                for fleshy in skeleton.scapular_muscles[::2]
            ),
        ),
        regional_fat=(
            float(rng.uniform(0.5, 1.0)),
            float(rng.uniform(0.8, 1.4)),
            float(rng.uniform(0.6, 1.2)),
            float(rng.uniform(0.9, 1.8)),
        ),
        dome_heights=dome_heights,
    )


def _sheets(settings: PatientSettings, rng: np.random.Generator) -> tuple[MuscleSheet, ...]:
    """Return pectorals, serratus, latissimus, rhomboids and trapezius."""
    bulk = settings.muscle_mm / 14.0
    lift = float(rng.normal(0.0, 10.0)) + (0.0 if settings.arms_down else 12.0)
    courses = (
        # middle and half span in degrees, in mm of height, thickness, outer, slope
        (-56.0, 27.0, 62.0 + lift, 56.0, 12.0, True, 0.18),
        (-52.0, 20.0, 76.0 + lift, 40.0, 9.0, False, 0.25),
        (-8.0, 38.0, 8.0, 95.0, 5.5, False, 0.0),
        (30.0, 28.0, 8.0 + lift, 80.0, 13.0, True, -0.1),
        (66.0, 22.0, 80.0, 60.0, 7.0, False, 0.0),
        (74.0, 22.0, 62.0, 110.0, 8.0, True, 0.0),
        (62.0, 26.0, -110.0, 70.0, 10.0, True, 0.0),
        (-80.0, 20.0, -120.0, 75.0, 9.0, True, 0.0),
        (-10.0, 50.0, -130.0, 75.0, 8.0, True, 0.0),
    )
    sheets = []
    for middle, span, height, reach, thick, is_outer, slope in courses:
        size = np.exp(rng.normal(0.0, 0.15, size=3))
        sheets.append(
            MuscleSheet(
                middle + float(rng.normal(0.0, 4.0)), span * float(size[0]),
                height + float(rng.normal(0.0, 6.0)), reach * float(size[1]),
                thick * bulk * float(size[2]), is_outer, slope,
            )
        )  # fmt: skip
    return tuple(sheets)


def _muscles(
    settings: PatientSettings, skeleton: Skeleton, rng: np.random.Generator
) -> tuple[Ellipsoid, ...]:
    """Return the upper trapezius and the deltoids of both sides."""
    bulk = (settings.muscle_mm / 14.0) ** 0.5 * float(rng.uniform(0.9, 1.1))
    lift = float(rng.normal(0.0, 5.0))
    muscles = []
    for side, head in zip(_SIDES, skeleton.humeral_heads, strict=True):
        muscles.append(
            Ellipsoid(
                np.array([side * 66.0, 20.0, 138.0 + lift]),
                (16.0 * bulk, 48.0, 40.0),
                frame_along(np.array([side * 0.25, 0.7, 0.65])),
            )
        )
        muscles.append(
            Ellipsoid(head + np.array([side * 6.0, -2.0, -4.0]), (36.0 * bulk, 38.0 * bulk, 46.0))
        )
    return tuple(muscles)


def _neck_muscles(rng: np.random.Generator) -> list[Tube]:
    tubes = []
    thick = float(rng.uniform(0.85, 1.2))
    for side in _SIDES:
        courses = (
            (
                [[20, -94, 104], [34, -80, 135], [52, -52, 185], [56, -30, 240]],
                (5.0, 8.0, 9.0, 9.0),
            ),
            (
                [[46, -36, 122], [32, -34, 150], [28, -32, 190], [26, -34, 240]],
                (8.0, 9.0, 8.0, 7.0),
            ),
            ([[14, -34, 110], [13, -40, 150], [13, -50, 240]], (6.0, 6.5, 6.0)),
            ([[22, 22, 120], [24, 8, 150], [26, 0, 190], [26, -6, 240]], (11.0, 15.0, 17.0, 18.0)),
            ([[14, -84, 110], [14, -78, 150], [12, -80, 200]], (3.0, 3.0, 3.0)),
        )
        for points, radii in courses:
            values = np.array(points, dtype=np.float64) * [side, 1.0, 1.0]
            tubes.append(Tube(values, np.array(radii) * thick))
    return tubes


def _shoulder_muscles(
    settings: PatientSettings, skeleton: Skeleton, rng: np.random.Generator
) -> list[Tube]:
    """Return what runs to the upper arm: from chest, shoulder blade and spine."""
    tubes = []
    bulk = (settings.muscle_mm / 14.0) ** 0.5
    for side, head in zip(_SIDES, skeleton.humeral_heads, strict=True):
        mirror = np.array([side, 1.0, 1.0])
        upper = head * mirror
        courses = (
            ([[70.0, -100.0, 84.0], [112.0, -72.0, 104.0], [-6.0, -22.0, -18.0]], (9.0, 14, 10)),
            ([[98.0, -74.0, 60.0], [118.0, -50.0, 92.0], [-16.0, -22.0, 0.0]], (7.0, 11.0, 8.0)),
            ([[124.0, 34.0, 16.0], [138.0, 24.0, 70.0], [-6.0, 10.0, -30.0]], (13.0, 19.0, 11.0)),
            ([[114.0, 52.0, 40.0], [128.0, 40.0, 90.0], [-14.0, 18.0, -8.0]], (10.0, 15.0, 10.0)),
            ([[24.0, 44.0, 118.0], [72.0, 40.0, 136.0], [-10.0, 18.0, 22.0]], (9.0, 14.0, 8.0)),
        )  # fmt: skip
        for points, radii in courses:
            values = np.array(points)
            values[-1] += upper
            values += rng.normal(0.0, 4.0, size=values.shape)
            size = bulk * float(np.exp(rng.normal(0.0, 0.12)))
            tubes.append(Tube(values * mirror, np.array(radii) * size))
    return tubes


def _back_muscles(settings: PatientSettings) -> list[Tube]:
    tubes = []
    bulk = (settings.muscle_mm / 14.0) ** 0.5
    heights = np.arange(-260.0, 130.0, 15.0)
    for side in _SIDES:
        for x, behind, radius in ((17.0, 36.0, 12.0), (36.0, 40.0, 14.0)):
            scale = np.array([vertebra_scale(float(z)) for z in heights])
            y = np.array([spine_offset(float(z)) for z in heights]) + behind * np.sqrt(scale)
            points = np.c_[np.full(len(heights), side * x) * np.sqrt(scale), y, heights]
            tubes.append(Tube(points, radius * bulk * scale))
    return tubes


def _breasts(settings: PatientSettings, rng: np.random.Generator) -> tuple[Ellipsoid, ...]:
    is_male = settings.sex == "male"
    if is_male and settings.subcutaneous_fat_mm < 20.0:
        return ()
    size = (
        14.0 if is_male else float(rng.uniform(20.0, 42.0))
    ) + 0.6 * settings.subcutaneous_fat_mm
    flat = float(rng.uniform(0.5, 0.95))
    apart = 80.0 + float(rng.uniform(-6.0, 26.0))
    height = float(rng.normal(-4.0, 16.0))
    _, front, _ = cage_section(height, settings.chest_depth_scale)
    skew = float(rng.uniform(0.0, 0.35))
    return tuple(
        Ellipsoid(
            np.array([side * apart, front + 8.0 + 0.2 * (apart - 80.0), height + rng.normal(0, 3)]),
            (flat * size * 1.2, 1.5 * size, 1.4 * size),
            frame_along(np.array([side * skew, -1.0, 0.0])),
        )
        for side in _SIDES
    )


def _arms(
    settings: PatientSettings, skeleton: Skeleton, rng: np.random.Generator
) -> tuple[tuple[Tube, ...], list[Tube]]:
    """Return the outlines of the upper arms and their muscles."""
    fat = settings.subcutaneous_fat_mm
    outlines, muscles = [], []
    bulk = (settings.muscle_mm / 14.0) ** 0.6 * float(rng.uniform(0.9, 1.1))
    for side, head in zip(_SIDES, skeleton.humeral_heads, strict=True):
        mirror = np.array([side, 1.0, 1.0])
        axis = head + upper_arm(settings) * mirror
        radii = np.linspace(40.0, 36.0, len(axis)) * bulk**0.5 + 0.7 * fat
        outlines.append(Tube(axis, radii))
        for angle, size in ((0.3, 17.0), (2.2, 18.0), (4.0, 15.0)):
            shift = np.array([np.cos(angle), np.sin(angle), 0.0]) * 19.0 * bulk
            muscles.append(
                Tube(axis[1:] + shift, np.linspace(size, 0.9 * size, len(axis) - 1) * bulk)
            )
    return tuple(outlines), muscles
