"""Heart, great vessels, airways and oesophagus: the middle of the chest as implicit shapes.

Landmarks are our choice, read off non-contrast chest CT of adults. Shapes stand in the ideal
patient; tubes are placed in the scanner's frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Protocol, TypeAlias

import numpy as np

from calcium_scoring.phantom.cage import cage_section
from calcium_scoring.phantom.coronaries import CoronaryTree, grow_coronaries
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.shapes import (
    FAR_MM,
    Distance,
    Ellipsoid,
    Placement,
    Segments,
    Tube,
    Vectors,
    frame_along,
    place_tubes,
    rotation,
    smooth_max,
    smooth_min,
    smooth_tube,
)

HEART_CENTRE: Final = np.array([22.0, -75.0, -8.0])
TOP_MM: Final = 240.0
_FAT_MARGIN_MM: Final = 2.5
_GROOVE_MM: Final = 9.0
"""How deep below the pericardial sac a groove with no fat to speak of reaches."""
_SMALL_NODE_MM: Final = 1.8
Controls: TypeAlias = list[tuple[float, float, float, float]]


class _TubeMaker(Protocol):
    """Lays a tube through landmarks, the first of which belong to the heart."""

    def __call__(
        self, controls: Controls, *, heart_points: int = 0, scale: float = 1.0, wander: float = 2.0
    ) -> Tube: ...


@dataclass(frozen=True, eq=False)
class HeartFields:
    """Distances of one plane to the parts of the mediastinum; ``hull`` holds it all and its fat."""

    chambers: Distance
    sac: Distance
    ventricle: Distance
    cavity: Distance
    vessels: Distance
    oesophagus: Distance
    hull: Distance


@dataclass(frozen=True, eq=False)
class Mediastinum:
    """The heart and what lies above and behind it."""

    settings: PatientSettings
    chambers: tuple[Ellipsoid, ...]
    left_ventricle: Ellipsoid
    groove_fat: Ellipsoid
    """The wedge of fat in front of the aortic root, between right appendage and outflow tract."""
    wall_mm: float
    front_fat: float
    """How wide the fat behind the breastbone opens: 0 if the lungs meet, 0.5 for a broad wedge."""
    great_vessels: tuple[Tube, ...]
    aorta: Tube
    veins: tuple[Tube, ...]
    neck_vessels: tuple[Tube, ...]
    airways: tuple[Tube, ...]
    oesophagus: Tube
    swallowed_air: tuple[Tube, ...]
    nodes: tuple[Tube, ...]
    coronaries: CoronaryTree
    aortic_valve: Vectors
    mitral_annulus: tuple[Vectors, Vectors]
    apex_mm: Vectors
    """Lowest part of the heart, in the ideal patient."""

    @cached_property
    def _vessels(self) -> Segments:
        return Segments.of((*self.great_vessels, self.aorta, *self.veins))

    @cached_property
    def grooves(self) -> Segments:
        """The fat in which the arteries run: to be cut out of the chambers, see ``groove_mm``."""
        return Segments.of([branch.groove for branch in self.coronaries.branches])

    @property
    def groove_mm(self) -> float:
        """How deep below the pericardial sac a groove reaches."""
        return _GROOVE_MM + 1.6 * self.settings.epicardial_fat_mm

    @cached_property
    def _oesophagus(self) -> Segments:
        shift = np.array([0.45 * float(self.oesophagus.radii[0]), 0.0, 0.0])
        return Segments.of(
            [
                replace(self.oesophagus, points=self.oesophagus.points + side * shift)
                for side in (-1.0, 1.0)
            ]
        )

    @cached_property
    def _contents(self) -> Segments:
        """All that the fat of the mediastinum surrounds, the heart apart."""
        parts = (
            *self.great_vessels, self.aorta, *self.veins, *self.airways[:2], self.airways[4],
            self.oesophagus, *(node for node in self.nodes if node.radii[0] > _SMALL_NODE_MM),
        )  # fmt: skip
        return Segments.of([replace(part, radii=part.radii + _FAT_MARGIN_MM) for part in parts])

    @cached_property
    def reach_mm(self) -> tuple[float, float]:
        """Lowest and highest plane that may meet a chamber or its fat."""
        low = min(shape.centre[2] - max(shape.radii) for shape in self.chambers)
        high = max(shape.centre[2] + max(shape.radii) for shape in self.chambers)
        return float(low) - 20.0, float(high) + 20.0

    def sac_distance(self, px: Distance, py: Distance, z: float) -> tuple[Distance, Distance]:
        """Return the distances to the chambers and to the pericardial sac, grooves unfilled."""
        shape = np.broadcast_shapes(np.shape(px), np.shape(py), np.shape(z))
        chambers = np.full(shape, FAR_MM, dtype=np.float32)
        sac = chambers
        for chamber in self.chambers:
            distance = chamber.distance(px, py, z)
            chambers = smooth_min(chambers, distance, 9.0)
            sac = smooth_min(sac, distance, 24.0)
        # Most of the fat lies in the grooves; the free walls carry little.
        fat = 0.6 + 0.3 * self.settings.epicardial_fat_mm
        return chambers, np.asarray(sac - np.float32(fat), dtype=np.float32)

    def fields(self, px: Distance, py: Distance, x: Distance, y: Distance, z: float) -> HeartFields:
        """Return the distances in the plane ``z``.

        ``px``, ``py`` (row, column) are positions in the ideal patient of the grid of columns
        ``x`` (1, n) and rows ``y`` (m, 1) of the scanner.
        """
        vessels = self._vessels.nearest(x, y, z, 10.0)
        low, high = self.reach_mm
        if low < z < high:
            chambers, sac = self.sac_distance(px, py, z)
            groove_fat = self.groove_fat.distance(px, py, z)
            chambers = smooth_max(chambers, -groove_fat, 5.0)
            # Between the root of the vessels and the chambers no gaps with sharp corners remain.
            chambers = smooth_min(chambers, vessels + np.float32(0.8), 10.0)
            sac = smooth_min(sac, self.grooves.nearest(x, y, z, 14.0), 8.0)
            ventricle = self.left_ventricle.distance(px, py, z)
            cavity = self.left_ventricle.distance(px, py, z, grown=-self.wall_mm)
        else:
            chambers = sac = ventricle = cavity = np.full(px.shape, FAR_MM, dtype=np.float32)
        oesophagus = self._oesophagus.nearest(x, y, z, 4.0)
        hull = self._contents.roughly_nearest(x, y, z, 20.0, 3)
        around_heart = np.asarray(sac - self.settings.paracardial_fat_mm, dtype=np.float32)
        hull = smooth_min(hull, around_heart, 12.0)
        hull = smooth_min(hull, self._front_ridge(px, py, z), 16.0)
        return HeartFields(chambers, sac, ventricle, cavity, vessels, oesophagus, hull)

    def _front_ridge(self, px: Distance, py: Distance, z: float) -> Distance:
        """Return the fat between sternum and heart: a thin fold, a wedge above the heart."""
        _, front, _ = cage_section(z, self.settings.chest_depth_scale)
        slope = float(np.interp(z, [5.0, 45.0], [0.06, self.front_fat]))
        along = np.clip(py, front - 5.0, front + 38.0) - front
        fat = 0.3 * self.settings.epicardial_fat_mm + 0.5 * self.settings.paracardial_fat_mm
        width = 0.8 + 2.0 * fat * slope * self.front_fat + slope * (along + 5.0)
        ridge = np.hypot(px - 6.0 - 0.1 * along, py - front - along) - width
        return np.asarray(ridge, dtype=np.float32)


def build_mediastinum(
    settings: PatientSettings, place: Placement, streams: list[np.random.SeedSequence]
) -> Mediastinum:
    """Return the mediastinum; heart, vessels and nodes have their own random numbers."""
    rng_heart, rng_coronaries, rng_tubes = (np.random.default_rng(stream) for stream in streams)
    turn = rotation(settings.heart_azimuth_deg, settings.heart_elevation_deg)
    heart_centre = HEART_CENTRE * np.array([1.0, settings.chest_depth_scale, 1.0]) + np.array(
        settings.heart_shift_mm
    )

    def in_heart(points: object) -> Vectors:
        relative = np.asarray(points, dtype=np.float64) - HEART_CENTRE
        return np.asarray(heart_centre + settings.heart_scale * (relative @ turn.T))

    def tube(
        controls: Controls, *, heart_points: int = 0, scale: float = 1.0, wander: float = 2.0
    ) -> Tube:
        values = np.array(controls, dtype=np.float64)
        values[:heart_points, :3] = in_heart(values[:heart_points, :3])
        shift = rng_tubes.normal(0.0, wander, size=(len(values), 3))
        shift[:heart_points] *= 0.3
        values[:, :3] += shift
        values[:, 3] *= scale * np.exp(rng_tubes.normal(0.0, 0.05))
        step_mm = float(np.clip(0.5 * values[:, 3].min(), 2.0, 6.0))
        return smooth_tube(
            [(float(x), float(y), float(z), float(r)) for x, y, z, r in values], step_mm=step_mm
        )

    chambers = _chambers(settings, in_heart, turn, rng_heart)
    left_ventricle = chambers[0]
    aorta, trunk, great, veins, neck = _vessels(settings, tube)
    airways, oesophagus = _hollow_organs(tube)
    fat = settings.epicardial_fat_mm
    groove_fat = Ellipsoid(
        in_heart([-9.0, -109.0, 5.0]),
        (3.0 + 0.8 * fat, 22.0, 13.0 + fat),
        frame_along(np.array([0.94, -0.35, 0.0])) @ turn.T,
    )
    coronaries = grow_coronaries(
        chambers=chambers,
        groove_fat=groove_fat,
        vessels=(aorta, trunk),
        in_heart=in_heart,
        fat_mm=fat,
        scale=settings.heart_scale,
        rng=rng_coronaries,
    ).placed(place)
    centre = place(in_heart([32.0, -52.0, 0.0]))
    normal = np.array([0.62, -0.62, -0.48]) @ turn.T
    tip = place(in_heart([32.0, -52.0, 0.0]) + 10.0 * normal)

    def placed(tubes: tuple[Tube, ...]) -> tuple[Tube, ...]:
        return tuple(place_tubes(tubes, place))

    return Mediastinum(
        settings=settings,
        chambers=chambers,
        left_ventricle=left_ventricle,
        groove_fat=groove_fat,
        wall_mm=float(rng_heart.uniform(7.5, 14.0)),
        front_fat=float(
            rng_heart.uniform(0.0, 0.08)
            if rng_heart.random() < 0.45
            else rng_heart.uniform(0.1, 0.5)
        ),
        great_vessels=placed(great),
        aorta=placed((aorta,))[0],
        veins=placed(veins),
        neck_vessels=placed(neck),
        airways=placed(airways),
        oesophagus=placed((oesophagus,))[0],
        swallowed_air=placed(_bubbles(oesophagus, rng_tubes)),
        nodes=placed(_nodes(rng_tubes)),
        coronaries=coronaries,
        aortic_valve=place(in_heart([7.0, -66.5, 1.0])),
        mitral_annulus=(centre, (tip - centre) / np.linalg.norm(tip - centre)),
        apex_mm=in_heart([40.0, -85.0, -42.0]),
    )


def _chambers(
    settings: PatientSettings, in_heart: Placement, turn: Vectors, rng: np.random.Generator
) -> tuple[Ellipsoid, ...]:
    def chamber(
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        axis: tuple[float, float, float],
        spread: float = 0.07,
    ) -> Ellipsoid:
        size = settings.heart_scale * float(np.exp(rng.normal(0.0, spread)))
        a, b, c = (radius * size * float(rng.uniform(0.94, 1.06)) for radius in radii)
        jitter = rng.normal(0.0, 2.0, size=3)
        tilted = np.array(axis) + rng.normal(0.0, 0.06, size=3)
        return Ellipsoid(
            in_heart(np.array(centre) + jitter), (a, b, c), frame_along(tilted) @ turn.T
        )

    return (
        chamber((51.0, -77.0, -15.0), (43.5, 33.0, 32.0), (0.67, -0.59, -0.45)),
        chamber((26.0, -99.0, -14.0), (43.0, 33.0, 26.0), (0.74, -0.36, -0.57)),
        chamber((-14.0, -74.0, -8.0), (32.0, 22.0, 25.0), (0.1, -0.1, 1.0), 0.1),
        chamber((12.0, -42.0, 11.0), (36.0, 23.0, 19.0), (0.98, 0.05, -0.1), 0.12),
        # Appendages: right in front of the ascending aorta, left beside the pulmonary trunk.
        chamber((-19.0, -80.0, 19.0), (15.0, 9.0, 11.0), (0.4, -0.4, 0.8), 0.2),
        chamber((45.0, -58.0, 18.0), (12.0, 7.0, 7.5), (0.6, -0.7, 0.1), 0.25),
        # Where septum, atria and the base of the ventricles meet at the back.
        chamber((19.0, -64.0, -20.0), (25.0, 17.0, 17.0), (0.7, -0.6, -0.4), 0.12),
    )


def _vessels(
    settings: PatientSettings, make: _TubeMaker
) -> tuple[Tube, Tube, tuple[Tube, ...], tuple[Tube, ...], tuple[Tube, ...]]:
    """Return aorta, pulmonary trunk, other great vessels, pulmonary veins, vessels of the neck."""
    wide = settings.aorta_scale
    aorta = make(
        [
            (8, -66, -4, 12.5), (5, -67, 10, 16.5), (1, -69, 24, 14.5), (-6, -70, 45, 16),
            (-8, -66, 66, 16), (-1, -52, 84, 15), (10, -32, 90, 14), (20, -10, 84, 13),
            (25, 0, 66, 12.8), (26, 2, 30, 12.5), (24, 0, -20, 12), (18, -8, -80, 11.5),
            (8, -20, -140, 10), (4, -30, -190, 9), (2, -36, -260, 8.5),
        ],
        heart_points=4,
        scale=wide,
    )  # fmt: skip
    trunk = make(
        [(27, -96, 4, 15), (29, -90, 18, 14.5), (32, -82, 32, 14.5), (32, -66, 46, 14),
         (34, -48, 50, 12), (46, -30, 46, 10.5), (58, -20, 36, 9), (62, -16, 18, 7.5)],
        heart_points=3, wander=1.0,
    )  # fmt: skip
    right_pulmonary = make(
        [(30, -58, 48, 12), (12, -50, 42, 11), (-14, -46, 38, 10.5), (-34, -42, 34, 9.5),
         (-48, -34, 20, 8), (-54, -24, 2, 6.5)]
    )  # fmt: skip
    upper_cava = make(
        [(-24, -74, 12, 10), (-27, -68, 32, 9.5), (-28, -66, 60, 9), (-27, -70, 90, 8.5),
         (-30, -74, 112, 7.5)],
        heart_points=1,
    )  # fmt: skip
    lower_cava = make(
        [(-14, -56, -26, 12), (-18, -48, -50, 12), (-22, -38, -90, 12), (-24, -40, -180, 11),
         (-24, -46, -260, 10)],
        heart_points=1,
    )  # fmt: skip
    left_brachiocephalic = make(
        [(-26, -74, 95, 8), (0, -82, 102, 6.5), (22, -76, 112, 6.5), (40, -62, 128, 6.5)]
    )
    azygos = make([(-6, -8, -60, 2.5), (-8, -6, 20, 3.5), (-8, -12, 62, 4), (-22, -40, 66, 4)])
    coronary_sinus = make(
        [(30, -36, -24, 3.5), (14, -42, -26, 4.5), (-4, -52, -24, 5)], heart_points=3, wander=0.8
    )
    arteries = (
        make([(-3, -52, 84, 7), (-14, -54, 105, 6), (-22, -52, 128, 5.5)]),
        make([(6, -38, 92, 4.5), (12, -36, 115, 4), (22, -42, 150, 3.8), (28, -50, 240, 3.6)]),
        make([(16, -20, 90, 5), (26, -18, 118, 4.8), (40, -26, 138, 4.5), (70, -44, 134, 4),
              (110, -46, 128, 3.6)]),
    )  # fmt: skip
    neck = (
        make([(-22, -52, 128, 4.2), (-24, -44, 150, 3.8), (-28, -50, 240, 3.6)]),
        make([(-22, -52, 128, 4.8), (-40, -38, 140, 4.5), (-70, -44, 134, 4),
              (-110, -46, 128, 3.6)]),
        make([(-30, -74, 112, 6.5), (-32, -62, 140, 5.5), (-34, -56, 240, 5)]),
        make([(40, -62, 128, 6), (34, -60, 150, 5), (34, -56, 240, 5)]),
        make([(-30, -74, 112, 6), (-60, -66, 126, 5), (-110, -56, 124, 4)]),
        make([(40, -62, 128, 6), (64, -66, 126, 5), (110, -56, 124, 4)]),
    )  # fmt: skip
    veins = (
        make([(34, -40, 14, 7), (52, -28, 20, 5.5), (64, -22, 28, 4)], heart_points=1, wander=4.0),
        make([(34, -38, 4, 7), (48, -26, -3, 5), (58, -16, -14, 3.6)], heart_points=1, wander=4.0),
        make([(-12, -42, 14, 7), (-32, -40, 18, 6), (-50, -40, 26, 4)], heart_points=1, wander=4.0),
        make(
            [(-12, -38, 4, 7), (-30, -30, -2, 5), (-42, -20, -14, 3.6)], heart_points=1, wander=4.0
        ),
    )
    great = (
        trunk, right_pulmonary, upper_cava, left_brachiocephalic, lower_cava, *arteries, azygos,
        coronary_sinus,
    )  # fmt: skip
    return aorta, trunk, great, veins, neck


def _hollow_organs(make: _TubeMaker) -> tuple[tuple[Tube, ...], Tube]:
    """Return trachea and bronchi, and the oesophagus."""
    airways = tuple(
        make(list(controls), wander=1.0)
        for controls in (
            [(0, -62, 240, 8.5), (0, -58, 160, 9), (-2, -44, 120, 9), (-2, -30, 80, 9),
             (-2, -26, 62, 9.5)],
            [(-2, -26, 62, 8), (-20, -26, 46, 7.5), (-36, -27, 32, 6.5)],
            [(-36, -27, 32, 5.5), (-42, -26, 14, 5), (-50, -18, -8, 3.8)],
            [(-20, -26, 46, 5.5), (-42, -30, 46, 4.5), (-58, -34, 52, 3.2)],
            [(-2, -26, 62, 7.5), (22, -22, 44, 7), (42, -20, 32, 6)],
            [(42, -20, 32, 5), (50, -12, 12, 4.5), (58, -4, -10, 3.5)],
            [(42, -20, 32, 4.5), (54, -30, 38, 3.8), (68, -42, 46, 2.8)],
        )
    )  # fmt: skip
    oesophagus = make(
        [(4, -44, 240, 4.2), (4, -36, 160, 4.6), (6, -24, 80, 4.8), (10, -20, 40, 4.8),
         (8, -20, 0, 5), (14, -22, -50, 5.2), (34, -38, -82, 5.5)]
    )  # fmt: skip
    return airways, oesophagus


def _bubbles(oesophagus: Tube, rng: np.random.Generator) -> tuple[Tube, ...]:
    """Return air in some stretches of the oesophagus, off its middle."""
    bubbles = []
    share = float(rng.uniform(0.0, 0.7))
    for start in range(0, len(oesophagus.points) - 4, 4):
        if rng.random() < share:
            stretch = oesophagus.points[start : start + int(rng.integers(2, 6))]
            offset = rng.normal(0.0, 1.3, size=3)
            radii = rng.uniform(0.6, 3.0) * np.ones(len(stretch))
            bubbles.append(Tube(stretch + offset, radii))
    return tuple(bubbles)


_NODE_SITES: Final = (
    (-22.0, -44.0, 66.0), (-14.0, -48.0, 84.0), (24.0, -36.0, 62.0), (20.0, -60.0, 78.0),
    (2.0, -28.0, 44.0), (-40.0, -34.0, 24.0), (-48.0, -24.0, 4.0), (52.0, -24.0, 26.0),
    (58.0, -14.0, 2.0), (-2.0, -80.0, 70.0), (-14.0, -60.0, 100.0), (14.0, -14.0, 0.0),
)  # fmt: skip


def _nodes(rng: np.random.Generator) -> tuple[Tube, ...]:
    """Return lymph nodes, most of them small."""
    nodes = []
    for _ in range(int(rng.integers(4, 26))):
        site = np.array(_NODE_SITES[int(rng.integers(len(_NODE_SITES)))])
        centre = site + rng.normal(0.0, 5.0, size=3)
        radius = float(np.clip(rng.lognormal(np.log(2.4), 0.4), 1.2, 7.0))
        along = rng.normal(0.0, 1.0, size=3) * radius
        nodes.append(
            Tube(np.stack([centre - along * 0.6, centre + along * 0.6]), np.full(2, radius))
        )
    return tuple(nodes)
