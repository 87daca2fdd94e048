"""Calcium in the walls of arteries other than the aorta and the coronary arteries."""

from __future__ import annotations

from typing import Final

import numpy as np

from calcium_scoring.phantom.anatomy import Anatomy
from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.placing import chance, in_wall
from calcium_scoring.phantom.shapes import Tube
from calcium_scoring.phantom.structures import Structure

_NECK_ODDS: Final = 0.5
_ABDOMINAL_ODDS: Final = 0.3
_STEP_MM: Final = 3.0

_NECK_TUBE_TOP_MM: Final = 110.0
_NECK_TUBE_LARGEST_RADIUS_MM: Final = 7.5


def sample_vessel_calcium(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return calcium of carotid, subclavian, splenic, hepatic, renal and mesenteric arteries."""
    deposits: list[Deposit] = []
    for tube in _neck_arteries(anatomy):
        if chance(rng, _NECK_ODDS, rate):
            deposits += _lesions(tube, int(rng.integers(1, 6)), body_scale, rng)
    for tube in anatomy.abdominal_arteries:
        if chance(rng, _ABDOMINAL_ODDS, rate):
            deposits += _lesions(tube, int(rng.integers(1, 9)), body_scale, rng)
    return deposits


def _neck_arteries(anatomy: Anatomy) -> list[Tube]:
    """Return the branches of the arch: thin vessels that begin at it and leave the chest."""
    arch = anatomy.aorta.points[int(anatomy.aorta.points[:, 2].argmax())]
    # The first two are the right carotid and subclavian artery, the others are veins.
    found = list(anatomy.neck_vessels[:2])
    for tube in anatomy.great_vessels:
        ends = tube.points[[0, -1]]
        lower, upper = ends[ends[:, 2].argsort()]
        near_arch = np.linalg.norm(anatomy.aorta.points - lower, axis=1).min() < 22.0
        if (
            near_arch
            and abs(lower[2] - arch[2]) < 25.0
            and upper[2] > _NECK_TUBE_TOP_MM
            and float(np.median(tube.radii)) < _NECK_TUBE_LARGEST_RADIUS_MM
        ):
            found.append(tube)
    return found


def _lesions(tube: Tube, count: int, body_scale: float, rng: np.random.Generator) -> list[Deposit]:
    """Return flecks, and rails along both walls."""
    deposits: list[Deposit] = []
    tube = _resampled(tube)
    inner = len(tube.points) - 2
    if inner < 1:
        return deposits
    for _ in range(count):
        start = int(rng.integers(1, inner + 1))
        length = int(rng.integers(1, 6))
        angle = float(rng.uniform(0.0, 2.0 * np.pi))
        excess_hu = float(np.clip(rng.lognormal(np.log(560.0), 0.45), 140.0, 1500.0))
        for index in range(start, min(start + length, inner + 1)):
            size = float(rng.lognormal(0.0, 0.35))
            sides = (0.0, np.pi) if length > 2 else (0.0,)
            deposits += [
                in_wall(
                    tube,
                    index,
                    angle + side + float(rng.normal(0.0, 0.3)),
                    body_scale=body_scale,
                    radii_mm=(1.6 * size, 1.2 * size, 0.6 * size),
                    excess_hu=excess_hu * float(rng.uniform(0.6, 1.4)),
                    owner=Structure.VESSEL_WALL_CALCIUM,
                    rng=rng,
                )
                for side in sides
            ]
    return deposits


def _resampled(tube: Tube) -> Tube:
    """Return the tube with points 3 mm apart."""
    steps = np.linalg.norm(np.diff(tube.points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    fine = np.linspace(0.0, along[-1], max(2, int(along[-1] / _STEP_MM)))
    points = np.stack([np.interp(fine, along, axis) for axis in tube.points.T], axis=1)
    return Tube(points, np.interp(fine, along, tube.radii))
