"""The body of a phantom patient, from the base of the neck to the kidneys.

Coordinates are mm of an adult of scale 1: x to the left, y to posterior, z to superior, with the
origin in the thoracic vertebra behind the aortic valve. Shapes are described in an ideal patient,
who is then bent by a smooth random warp and rolled on the table: tubes and landmarks are kept
where they come to lie in the scanner, ellipsoids where they are in the ideal patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from calcium_scoring.phantom.abdomen import Abdomen, Organ, build_abdomen
from calcium_scoring.phantom.chest_wall import ChestWall, WallFields, build_chest_wall
from calcium_scoring.phantom.coronaries import CoronaryTree
from calcium_scoring.phantom.heart import Mediastinum, build_mediastinum
from calcium_scoring.phantom.lungs import LungTrees, grow_lungs
from calcium_scoring.phantom.random_fields import Warp
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.shapes import (
    Distance,
    Ellipsoid,
    Tube,
    Vectors,
    rotation,
)
from calcium_scoring.phantom.skeleton import Skeleton, build_skeleton
from calcium_scoring.phantom.tissues import Tissues, sample_tissues

CLEAR_OF_VESSELS_MM = 1.5
"""Calcium of the pericardium keeps this distance from the blood of great vessels. Our choice."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Everything of a patient that does not depend on the scan."""

    settings: PatientSettings
    tissues: Tissues
    roll: Vectors
    warp: Warp
    mediastinum: Mediastinum
    wall: ChestWall
    abdomen: Abdomen
    skeleton: Skeleton
    lungs: LungTrees
    dome_heights: tuple[float, float, float]
    texture_seed: int

    @property
    def chambers(self) -> tuple[Ellipsoid, ...]:
        """Left and right ventricle, right and left atrium and their appendages, in the scanner."""
        return tuple(
            replace(shape, centre=self.place(shape.centre), axes=shape.axes @ self.roll.T)
            for shape in self.mediastinum.chambers
        )

    @property
    def left_ventricle(self) -> Ellipsoid:
        """The left ventricle with its wall, in the scanner."""
        return self.chambers[0]

    @property
    def coronaries(self) -> CoronaryTree:
        """Arteries of the heart."""
        return self.mediastinum.coronaries

    @property
    def aorta(self) -> Tube:
        """The aorta from its root to the abdomen."""
        return self.mediastinum.aorta

    @property
    def airways(self) -> tuple[Tube, ...]:
        """Trachea, right main, right lower, right upper, left main bronchus and those after."""
        return self.mediastinum.airways

    @property
    def oesophagus(self) -> Tube:
        """The oesophagus down to the stomach."""
        return self.mediastinum.oesophagus

    @property
    def aortic_valve(self) -> Vectors:
        """Centre of the aortic valve."""
        return self.mediastinum.aortic_valve

    @property
    def mitral_annulus(self) -> tuple[Vectors, Vectors]:
        """Centre and unit normal."""
        return self.mediastinum.mitral_annulus

    @property
    def great_vessels(self) -> tuple[Tube, ...]:
        """Pulmonary arteries, caval veins and the branches of the arch."""
        return self.mediastinum.great_vessels

    @property
    def neck_vessels(self) -> tuple[Tube, ...]:
        """Carotid and subclavian arteries, then jugular and subclavian veins."""
        return self.mediastinum.neck_vessels

    @property
    def abdominal_arteries(self) -> tuple[Tube, ...]:
        """Splenic, hepatic, superior mesenteric and renal arteries."""
        return self.abdomen.arteries

    @property
    def organs(self) -> tuple[Organ, ...]:
        """Organs of the abdomen and the thyroid, in the ideal patient."""
        return (*self.abdomen.organs, self.abdomen.thyroid)

    def place(self, points: object) -> Vectors:
        """Return where points (..., 3) of the ideal patient lie in the scanner."""
        return self.warp.warped(np.asarray(points, dtype=np.float64) @ self.roll.T)

    def unroll(self, x: Distance, y: Distance) -> tuple[Distance, Distance]:
        """Return positions in the frame of the patient."""
        a, b = float(self.roll[0, 0]), float(self.roll[1, 0])
        return x * a + y * b, y * a - x * b

    def wall_fields(self, x: Distance, y: Distance, z: float) -> WallFields:
        """Return the wall's layers on the grid of columns ``x`` (1, n) and rows ``y`` (m, 1)."""
        px, py = self.unroll(*self.warp.on(x, y).ideal(z))
        return self.wall.fields(px, py, x, y, z)

    def pericardium(self, rng: np.random.Generator, count: int) -> tuple[Vectors, Vectors]:
        """Return random points of the pericardial sac and their outward normals, in the scanner.

        At most ``count``: none lies in a great vessel, where the sac is folded back.
        """
        centre = np.mean([shape.centre for shape in self.mediastinum.chambers[:4]], axis=0)
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        low, high = np.zeros(count), np.full(count, 150.0)
        for _ in range(12):
            middle = 0.5 * (low + high)
            x, y, z = (centre + middle[:, np.newaxis] * directions).T
            inside = self.mediastinum.sac_distance(x, y, z)[1] < 0.0
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        points = centre + low[:, np.newaxis] * directions
        outside = self.place(points + directions)
        points = self.place(points)
        normals = outside - points
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        is_free = np.ones(len(points), dtype=np.bool_)
        for tube in (self.aorta, *self.great_vessels):
            # Points of a tube may lie a radius apart.
            at = np.linspace(0.0, len(tube.radii) - 1.0, 8 * len(tube.radii))
            numbers = np.arange(len(tube.radii))
            centres = np.stack([np.interp(at, numbers, axis) for axis in tube.points.T], axis=1)
            gaps = np.linalg.norm(points[:, np.newaxis] - centres, axis=2)
            is_free &= (gaps - np.interp(at, numbers, tube.radii)).min(axis=1) > CLEAR_OF_VESSELS_MM
        return points[is_free], normals[is_free]


def build_anatomy(settings: PatientSettings, streams: Sequence[np.random.SeedSequence]) -> Anatomy:
    """Return the anatomy of a patient; each part has its own stream of random numbers."""
    heart_stream, vessel_stream, bone_stream, lung_stream, rest_stream = streams
    rng_rest = np.random.default_rng(rest_stream)
    roll = rotation(settings.roll_deg, 0.0)
    warp = _warp(rng_rest)

    def place(points: object) -> Vectors:
        return warp.warped(np.asarray(points, dtype=np.float64) @ roll.T)

    mediastinum = build_mediastinum(settings, place, [heart_stream, *vessel_stream.spawn(2)])
    right_dome = settings.dome_mm
    dome_heights = (
        right_dome,
        right_dome - float(rng_rest.uniform(2.0, 20.0)),
        float(mediastinum.apex_mm[2]),
    )
    bone_rng = np.random.default_rng(bone_stream)
    skeleton = build_skeleton(settings, place, bone_rng)
    return Anatomy(
        settings=settings,
        tissues=sample_tissues(rng_rest, bone_scale=settings.bone_scale),
        roll=roll,
        warp=warp,
        mediastinum=mediastinum,
        wall=build_chest_wall(settings, skeleton, dome_heights, place, bone_rng),
        abdomen=build_abdomen(right_dome, place, rng_rest),
        skeleton=skeleton,
        lungs=grow_lungs(
            place, mediastinum.chambers, dome_heights, settings, np.random.default_rng(lung_stream)
        ),
        dome_heights=dome_heights,
        texture_seed=int(rng_rest.integers(2**31)),
    )


def _warp(rng: np.random.Generator) -> Warp:
    heights = np.linspace(-270.0, 270.0, 28)
    scoliosis = float(rng.normal(0.0, 4.0)) * (2.5 if rng.random() < 0.1 else 1.0)
    wave = float(rng.uniform(90.0, 160.0))
    x = scoliosis * np.sin(heights / wave + float(rng.uniform(0.0, 6.3)))
    y = float(rng.normal(0.0, 6.0)) * np.square(heights / 180.0)
    amplitudes = (
        (float(rng.uniform(2.0, 6.0)), 55.0),
        (float(rng.uniform(0.4, 1.5)), 22.0),
    )
    return Warp.draw(rng, amplitudes, np.c_[heights, x, y])
