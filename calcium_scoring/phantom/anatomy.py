"""The chest of a phantom patient as implicit shapes.

Coordinates are mm of an adult of scale 1: x to the left, y to posterior, z to superior, with the
origin in the thoracic vertebra behind the aortic valve. Landmarks are our choice, read off
non-contrast chest CT of adults. Shapes are placed in the rolled frame of the scanner; the chest
wall is described in the frame of the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from calcium_scoring.phantom.cage import (
    CAGE_EXPONENT,
    cage_section,
    dome_distance,
    spine_offset,
    spine_region,
)
from calcium_scoring.phantom.coronaries import CoronaryTree, grow_coronaries
from calcium_scoring.phantom.lungs import grow_lung_vessels
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.shapes import (
    FAR_MM,
    Distance,
    Ellipsoid,
    Placement,
    Tube,
    Vectors,
    frame_along,
    rotation,
    smooth_min,
    smooth_tube,
    superellipse_distance,
)
from calcium_scoring.phantom.skeleton import Skeleton, build_skeleton

HEART_CENTRE: Final = np.array([22.0, -75.0, -8.0])
Controls: TypeAlias = list[tuple[float, float, float, float]]


@dataclass(frozen=True, eq=False)
class WallFields:
    """Distances of one plane to the layers of the chest wall and to the lungs without mediastinum.

    ``dome`` is negative below the diaphragm.
    """

    body: Distance
    muscle: Distance
    cage: Distance
    dome: Distance
    spine_region: Distance


@dataclass(frozen=True, eq=False)
class HeartFields:
    """Distances of one plane to the parts of the mediastinum; ``hull`` holds it all and its fat."""

    chambers: Distance
    sac: Distance
    cavity: Distance
    vessels: Distance
    oesophagus: Distance
    hull: Distance


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Everything of a patient that does not depend on the scan."""

    settings: PatientSettings
    roll: Vectors
    chambers: tuple[Ellipsoid, ...]
    left_ventricle: Ellipsoid
    groove_fat: Ellipsoid
    """The wedge of fat in front of the aortic root, between right appendage and outflow tract."""
    great_vessels: tuple[Tube, ...]
    aorta: Tube
    veins: tuple[Tube, ...]
    airways: tuple[Tube, ...]
    oesophagus: Tube
    lung_vessels: tuple[Tube, ...]
    skeleton: Skeleton
    arms: tuple[Tube, ...]
    breasts: tuple[Ellipsoid, ...]
    abdominal_organs: tuple[tuple[Ellipsoid, float], ...]
    leads_and_wires: tuple[Tube, ...]
    coronaries: CoronaryTree
    aortic_valve: Vectors
    mitral_annulus: tuple[Vectors, Vectors]
    """Centre and unit normal."""
    dome_heights: tuple[float, float, float]
    texture_seed: int

    def unroll(self, x: Distance, y: Distance) -> tuple[Distance, Distance]:
        """Return positions in the frame of the patient."""
        a, b = float(self.roll[0, 0]), float(self.roll[1, 0])
        return x * a + y * b, y * a - x * b

    def wall_fields(self, x: Distance, y: Distance, z: float) -> WallFields:
        """Return the layers of the chest wall in the plane ``z``."""
        settings = self.settings
        px, py = self.unroll(x, y)
        half_width, front, back = cage_section(z, settings.chest_depth_scale)
        centre, half_depth = 0.5 * (front + back), 0.5 * (back - front)
        cage = superellipse_distance(px, py - centre, half_width, half_depth, CAGE_EXPONENT)
        muscle_mm, fat_mm = settings.muscle_mm, settings.subcutaneous_fat_mm
        lower_width = max(
            half_width, float(np.interp(z, [-200, 40, 110, 160], [136, 130, 150, 155]))
        )
        muscle = superellipse_distance(
            px,
            py - centre - 8.0,
            lower_width + muscle_mm + 6.0,
            max(half_depth, 62.0) + 5.0 + 0.8 * muscle_mm,
            2.3,
        )
        for shape in self.skeleton.shoulder_muscles:
            muscle = smooth_min(muscle, shape.distance(x, y, z), 12.0)
        body = smooth_min(
            superellipse_distance(
                px,
                py - centre - 6.0,
                lower_width + muscle_mm + 6.0 + 1.25 * fat_mm,
                max(half_depth, 62.0) + 8.0 + 0.8 * muscle_mm + fat_mm,
                2.35,
            ),
            muscle - np.float32(max(3.0, 0.6 * fat_mm)),
            25.0,
        )
        for shape in self.breasts:
            body = smooth_min(body, shape.distance(x, y, z), 10.0)
        for tube in self.arms:
            body = smooth_min(body, tube.distance(x, y, z, 40.0), 6.0)
        return WallFields(
            body=body,
            muscle=muscle,
            cage=cage,
            dome=dome_distance(px, py, z, self.dome_heights),
            spine_region=spine_region(px, py - spine_offset(z)),
        )

    def heart_fields(self, x: Distance, y: Distance, z: float) -> HeartFields:
        """Return the mediastinum in the plane ``z``."""
        fat_mm = self.settings.epicardial_fat_mm
        chambers = np.full(np.broadcast_shapes(x.shape, y.shape), FAR_MM, dtype=np.float32)
        sac = chambers
        for shape in self.chambers:
            distance = shape.distance(x, y, z)
            chambers = smooth_min(chambers, distance, 7.0)
            sac = smooth_min(sac, distance, 24.0)
        # Most of the fat lies in the grooves; the free walls carry little.
        sac = np.asarray(sac - (0.8 + 0.25 * fat_mm), dtype=np.float32)
        vessels = np.full_like(chambers, FAR_MM)
        for tube in (*self.great_vessels, self.aorta, *self.veins):
            np.minimum(vessels, tube.distance(x, y, z, 22.0), out=vessels)
        chambers = np.maximum(chambers, -self.groove_fat.distance(x, y, z))
        # Fat fills the grooves in which the arteries run.
        for branch in self.coronaries.branches:
            fat = branch.groove.distance(x, y, z, 10.0)
            chambers = np.maximum(chambers, -fat)
            sac = smooth_min(sac, fat, 8.0)
        cavity = self.left_ventricle.distance(x, y, z, grown=-10.0)
        oesophagus = self.oesophagus.distance(x, y, z, 12.0)
        airway = np.full_like(oesophagus, FAR_MM)
        for tube in (*self.airways[:2], self.airways[4]):
            np.minimum(airway, tube.distance(x, y, z, 12.0), out=airway)
        hollow = np.minimum(oesophagus, airway, dtype=np.float32)
        margin = np.float32(2.5)
        hull = smooth_min(vessels - margin, hollow - margin, 22.0)
        around_heart = np.asarray(sac - 0.5 * fat_mm, dtype=np.float32)
        hull = smooth_min(hull, around_heart, 12.0)
        hull = smooth_min(hull, self._front_ridge(x, y, z), 16.0)
        return HeartFields(chambers, sac, cavity, vessels, oesophagus, hull)

    def _front_ridge(self, x: Distance, y: Distance, z: float) -> Distance:
        """Return the fat between sternum and heart: a thin fold, a wedge above the heart."""
        px, py = self.unroll(x, y)
        _, front, _ = cage_section(z, self.settings.chest_depth_scale)
        slope = float(np.interp(z, [5.0, 45.0], [0.12, 0.5]))
        along = np.clip(py, front - 5.0, front + 38.0) - front
        width = 1.0 + 0.8 * self.settings.epicardial_fat_mm * slope / 0.5 + slope * (along + 5.0)
        ridge = np.hypot(px - 6.0 - 0.1 * along, py - front - along) - width
        return np.asarray(ridge, dtype=np.float32)


def build_anatomy(settings: PatientSettings, streams: Sequence[np.random.SeedSequence]) -> Anatomy:
    """Return the anatomy of a patient; each part has its own stream of random numbers."""
    rng_heart, rng_vessels, rng_bones, rng_lungs, rng_abdomen = (
        np.random.default_rng(stream) for stream in streams
    )
    roll = rotation(settings.roll_deg, 0.0)

    def rolled(points: object) -> Vectors:
        return np.asarray(points, dtype=np.float64) @ roll.T

    turn = rotation(settings.heart_azimuth_deg, settings.heart_elevation_deg)
    heart_centre = HEART_CENTRE * np.array([1.0, settings.chest_depth_scale, 1.0]) + np.array(
        settings.heart_shift_mm
    )

    def in_heart(points: object) -> Vectors:
        relative = np.asarray(points, dtype=np.float64) - HEART_CENTRE
        return rolled(heart_centre + settings.heart_scale * (relative @ turn.T))

    def tube(controls: Controls, *, heart_points: int = 0, scale: float = 1.0) -> Tube:
        values = np.array(controls, dtype=np.float64)
        values[:heart_points, :3] = in_heart(values[:heart_points, :3])
        values[heart_points:, :3] = rolled(values[heart_points:, :3])
        values[:, 3] *= scale
        return smooth_tube([(float(x), float(y), float(z), float(r)) for x, y, z, r in values])

    def chamber(
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        axis: tuple[float, float, float],
    ) -> Ellipsoid:
        a, b, c = (
            radius * settings.heart_scale * float(rng_heart.uniform(0.95, 1.05)) for radius in radii
        )
        jitter = rng_heart.normal(0.0, 1.5, size=3)
        axes = frame_along(np.array(axis)) @ turn.T @ roll.T
        return Ellipsoid(in_heart(np.array(centre) + jitter), (a, b, c), axes)

    long_axis = (0.67, -0.59, -0.45)
    left_ventricle = chamber((53.0, -77.0, -16.0), (47.0, 31.0, 31.0), long_axis)
    chambers = (
        left_ventricle,
        chamber((26.0, -99.0, -14.0), (43.0, 33.0, 26.0), (0.74, -0.36, -0.57)),
        chamber((-14.0, -74.0, -8.0), (32.0, 22.0, 25.0), (0.1, -0.1, 1.0)),
        chamber((12.0, -42.0, 11.0), (36.0, 23.0, 19.0), (0.98, 0.05, -0.1)),
        # Appendages: right in front of the ascending aorta, left beside the pulmonary trunk.
        chamber((-19.0, -80.0, 19.0), (15.0, 9.0, 11.0), (0.4, -0.4, 0.8)),
        chamber((46.0, -60.0, 20.0), (14.0, 9.0, 9.0), (0.6, -0.7, 0.1)),
    )
    aorta = tube(
        [
            (8, -66, -4, 12.5),
            (5, -67, 10, 16.5),
            (1, -69, 24, 14.5),
            (-6, -70, 45, 16),
            (-8, -66, 66, 16),
            (-1, -52, 84, 15),
            (10, -32, 90, 14),
            (20, -10, 84, 13),
            (25, 0, 66, 12.8),
            (26, 2, 30, 12.5),
            (24, 0, -20, 12),
            (18, -8, -80, 11.5),
            (8, -16, -140, 11),
            (4, -18, -190, 10.5),
        ],
        heart_points=4,
        scale=settings.aorta_scale,
    )
    trunk = tube(
        [(27, -96, 4, 15), (29, -90, 18, 14.5), (32, -82, 32, 14.5), (32, -66, 46, 14),
         (34, -48, 50, 12), (46, -30, 46, 10.5), (58, -20, 36, 9), (62, -16, 18, 7.5)],
        heart_points=3,
    )  # fmt: skip
    right_pulmonary = tube(
        [(30, -58, 48, 12), (12, -50, 42, 11), (-14, -46, 38, 10.5), (-34, -42, 34, 9.5),
         (-48, -34, 20, 8), (-54, -24, 2, 6.5)]
    )  # fmt: skip
    cava = tube(
        [(-24, -74, 12, 10), (-27, -68, 32, 9.5), (-28, -66, 60, 9), (-27, -70, 90, 8.5),
         (-30, -74, 118, 8), (-38, -72, 150, 7)],
        heart_points=1,
    )  # fmt: skip
    brachiocephalic = tube(
        [(-26, -74, 95, 8), (0, -82, 102, 6.5), (22, -76, 112, 6.5), (40, -62, 135, 6.5)]
    )
    lower_cava = tube(
        [(-14, -56, -26, 12), (-18, -48, -50, 12), (-22, -38, -90, 12), (-24, -36, -180, 12)],
        heart_points=1,
    )
    branches = [
        tube([(-3, -52, 84, 7), (-14, -54, 105, 6), (-24, -50, 140, 5.5)]),
        tube([(6, -38, 92, 4.5), (12, -36, 115, 4), (18, -34, 150, 4)]),
        tube([(16, -20, 90, 5), (24, -18, 115, 4.5), (34, -24, 150, 4.5)]),
    ]
    veins = [
        tube([(34, -40, 12, 8), (52, -28, 16, 7), (64, -20, 22, 5.5)], heart_points=1),
        tube([(34, -38, 4, 8), (52, -24, -4, 6.5), (66, -12, -16, 5)], heart_points=1),
        tube([(-12, -42, 14, 8), (-34, -40, 16, 7.5), (-52, -40, 24, 5.5)], heart_points=1),
        tube([(-12, -38, 4, 8), (-34, -28, -4, 7), (-50, -16, -16, 5)], heart_points=1),
    ]
    great_vessels = (trunk, right_pulmonary, cava, brachiocephalic, lower_cava, *branches)
    airways = tuple(
        tube(list(controls))
        for controls in (
            [(0, -52, 160, 9), (-2, -44, 120, 9), (-2, -30, 80, 9), (-2, -26, 62, 9.5)],
            [(-2, -26, 62, 8), (-20, -26, 46, 7.5), (-36, -27, 32, 6.5)],
            [(-36, -27, 32, 5.5), (-42, -26, 14, 5), (-50, -18, -8, 3.8)],
            [(-20, -26, 46, 5.5), (-42, -30, 46, 4.5), (-58, -34, 52, 3.2)],
            [(-2, -26, 62, 7.5), (22, -22, 44, 7), (42, -20, 32, 6)],
            [(42, -20, 32, 5), (50, -12, 12, 4.5), (58, -4, -10, 3.5)],
            [(42, -20, 32, 4.5), (54, -30, 38, 3.8), (68, -42, 46, 2.8)],
        )
    )
    groove_fat = Ellipsoid(
        in_heart([-5.0, -100.0, 5.0]),
        (4.5 + 0.7 * settings.epicardial_fat_mm, 17.0, 12.0 + settings.epicardial_fat_mm),
        frame_along(np.array([0.94, -0.35, 0.0])) @ turn.T @ roll.T,
    )
    coronaries = grow_coronaries(
        chambers=chambers,
        groove_fat=groove_fat,
        vessels=(aorta, trunk),
        in_heart=in_heart,
        fat_mm=settings.epicardial_fat_mm,
        scale=settings.heart_scale,
        rng=rng_vessels,
    )
    valve = in_heart([7.0, -66.5, 1.0])
    mitral_centre = in_heart([32.0, -52.0, 0.0])
    mitral_normal = np.array([0.62, -0.62, -0.48]) @ turn.T @ roll.T
    right_dome = float(rng_abdomen.normal(-14.0, 7.0))
    dome_heights = (
        right_dome,
        right_dome - float(rng_abdomen.uniform(4.0, 18.0)),
        float(in_heart([40.0, -85.0, -42.0])[2]),
    )
    lung_vessels = grow_lung_vessels(rolled, chambers, dome_heights, settings, rng_lungs)
    return Anatomy(
        settings=settings,
        roll=roll,
        chambers=chambers,
        left_ventricle=left_ventricle,
        groove_fat=groove_fat,
        great_vessels=great_vessels,
        aorta=aorta,
        veins=tuple(veins),
        airways=airways,
        oesophagus=tube(
            [(4, -34, 160, 7), (6, -24, 80, 7), (10, -20, 40, 7), (8, -20, 0, 7.5),
             (14, -22, -50, 7.5), (34, -38, -85, 8)]
        ),
        lung_vessels=lung_vessels,
        coronaries=coronaries,
        aortic_valve=valve,
        mitral_annulus=(mitral_centre, mitral_normal),
        dome_heights=dome_heights,
        skeleton=build_skeleton(settings, rolled, rng_bones),
        abdominal_organs=(
            (Ellipsoid(rolled([76.0, -74.0, -86.0]), (54.0, 66.0, 62.0)), 38.0),
            (Ellipsoid(rolled([90.0, 6.0, -86.0]), (46.0, 46.0, 60.0)), 50.0),
        ),
        breasts=_breasts(settings, rolled),
        arms=_arms(settings, rolled),
        leads_and_wires=_metal(settings, rng_abdomen, in_heart, rolled),
        texture_seed=int(rng_abdomen.integers(2**31)),
    )  # fmt: skip


def _breasts(settings: PatientSettings, rolled: Placement) -> tuple[Ellipsoid, ...]:
    if settings.sex == "male":
        return ()
    size = 26.0 + 0.9 * settings.subcutaneous_fat_mm
    front = -138.0 * settings.chest_depth_scale - 0.45 * settings.subcutaneous_fat_mm
    return tuple(
        Ellipsoid(rolled([side * 82.0, front, -2.0]), (1.45 * size, 0.85 * size, 1.5 * size))
        for side in (-1.0, 1.0)
    )


def _arms(settings: PatientSettings, rolled: Placement) -> tuple[Tube, ...]:
    if not settings.arms_down:
        return ()
    x = 168.0 + 1.6 * settings.subcutaneous_fat_mm + settings.muscle_mm
    return tuple(
        Tube(
            rolled(
                [[side * (x - 10.0), 0.0, 150.0], [side * x, 5.0, 0.0], [side * x, -5.0, -200.0]]
            ),
            np.array([48.0, 44.0, 38.0]),
        )
        for side in (-1.0, 1.0)
    )


def _metal(
    settings: PatientSettings,
    rng: np.random.Generator,
    in_heart: Placement,
    rolled: Placement,
) -> tuple[Tube, ...]:
    """Return a pacemaker lead, or the wires of a sternotomy."""
    if not settings.has_metal:
        return ()
    if rng.random() < 0.5:
        lead = np.concatenate(
            [
                rolled([[-38.0, -72.0, 150.0], [-28.0, -68.0, 70.0]]),
                in_heart(
                    [[-25.0, -72.0, 15.0], [-18.0, -76.0, -12.0], [12.0, -95.0, -34.0],
                     [50.0, -112.0, -42.0]]
                ),
            ]
        )  # fmt: skip
        return (smooth_tube([(float(x), float(y), float(z), 1.1) for x, y, z in lead]),)
    wires = []
    for height in np.arange(-30.0, 90.0, 24.0):
        _, front, _ = cage_section(float(height), settings.chest_depth_scale)
        angles = np.linspace(0.0, 2.0 * np.pi, 17)
        loop = np.stack(
            [
                18.0 * np.cos(angles),
                front - 5.0 + 8.0 * np.sin(angles),
                height + 2.0 * np.sin(2.0 * angles),
            ],
            axis=1,
        )
        wires.append(Tube(rolled(loop), np.full(len(loop), 0.6)))
    return tuple(wires)
