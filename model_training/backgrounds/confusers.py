"""Calcium in aorta, valves and pericardium of a real scan, which a network must leave alone.

Shapes come from the simulator's own tools; how often there is some and how large it is are our
choice, alike to :mod:`calcium_scoring.phantom.confusers`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.placing import along_wall, chance, cluster, free
from calcium_scoring.phantom.shapes import Tube, Vectors, frame_along
from calcium_scoring.phantom.structures import Structure
from model_training.backgrounds.marks import ScanMarks, tube_through

_AORTA_ODDS: Final = 0.5
_VALVE_ODDS: Final = 0.35
_ANNULUS_ODDS: Final = 0.25
_PERICARDIUM_ODDS: Final = 0.06
_AORTA_STEP_MM: Final = 3.0
_MOST_AORTIC_LESIONS: Final = 12
_ROOT_SHARE: Final = 0.85
"""Cusps reach to this share of the radius of the aorta. Our choice."""


def sample_confusers(
    marks: ScanMarks, *, rate: float, rng: np.random.Generator
) -> tuple[Deposit, ...]:
    """Return calcium along what is marked besides the coronary arteries.

    Parameters
    ----------
    marks
        Parts of the aorta, its root, the mitral annulus and the outlines of the heart.
    rate
        Multiplies how often there is some; 0 gives none.
    rng
        Decides everything.
    """
    streams = rng.spawn(4)
    return (
        *_aortic_wall(marks, rate, streams[0]),
        *_aortic_valve(marks, rate, streams[1]),
        *_mitral_annulus(marks, rate, streams[2]),
        *_pericardium(marks, rate, streams[3]),
    )


def _dense(rng: np.random.Generator, median_hu: float) -> float:
    return float(np.clip(rng.lognormal(np.log(median_hu), 0.5), 130.0, 1800.0))


def _aortic_wall(marks: ScanMarks, rate: float, rng: np.random.Generator) -> list[Deposit]:
    deposits: list[Deposit] = []
    for points in marks.aorta.values():
        if not chance(rng, _AORTA_ODDS, rate):
            continue
        tube = tube_through(points, step_mm=_AORTA_STEP_MM)
        if len(tube.points) < 3:
            continue
        for _ in range(int(np.clip(rng.geometric(0.3), 1, _MOST_AORTIC_LESIONS))):
            deposits += _wall_lesion(tube, rng)
    return deposits


def _wall_lesion(tube: Tube, rng: np.random.Generator) -> list[Deposit]:
    """Return a fleck, a plate, or a band that follows the wall."""
    index = int(rng.integers(1, len(tube.points) - 1))
    angle = float(rng.uniform(0.0, 2.0 * np.pi))
    excess_hu, size = _dense(rng, 560.0), float(rng.lognormal(0.0, 0.5))
    return along_wall(
        tube,
        index,
        angle,
        size=size,
        excess_hu=excess_hu,
        owner=Structure.AORTIC_WALL_CALCIUM,
        body_scale=1.0,
        rng=rng,
    )


def _aortic_valve(marks: ScanMarks, rate: float, rng: np.random.Generator) -> list[Deposit]:
    """Return plates on the cusps and lumps at their bases."""
    root = marks.aortic_root
    if len(root) < 2 or not marks.aorta or not chance(rng, _VALVE_ODDS, rate):
        return []
    normal, first, second = frame_along(root[-1] - root[0])
    middle = root.mean(axis=0)
    tubes = np.concatenate(list(marks.aorta.values()))
    nearest = int(np.linalg.norm(tubes[:, :3] - root[-1], axis=1).argmin())
    radius = _ROOT_SHARE * float(tubes[nearest, 3])
    heaviness, excess_hu = float(rng.lognormal(0.0, 0.8)), _dense(rng, 540.0)
    start = float(rng.uniform(0.0, 2.0 * np.pi))
    deposits = []
    for _ in range(int(np.clip(rng.geometric(0.3) * heaviness, 1, 40))):
        angle = start + 2.0 * np.pi * (int(rng.integers(3)) + rng.uniform(-0.45, 0.45)) / 3.0
        outwards = np.cos(angle) * first + np.sin(angle) * second
        distance = radius * float(np.sqrt(rng.uniform(0.05, 1.0)))
        height = float(rng.normal(4.0 * (1.0 - distance / radius), 1.5))
        size = float(rng.lognormal(0.0, 0.4)) * float(np.clip(heaviness, 0.7, 1.6))
        deposits.append(
            free(
                middle + distance * outwards + height * normal,
                (1.9 * size, 1.3 * size, 0.7 * size),
                excess_hu * float(rng.uniform(0.6, 1.4)),
                Structure.AORTIC_VALVE_CALCIUM,
                rng,
            )
        )
    return deposits


def _mitral_annulus(marks: ScanMarks, rate: float, rng: np.random.Generator) -> list[Deposit]:
    """Return a spot, a bow or the whole marked part of the ring."""
    if len(marks.mitral_annulus) < 2 or not chance(rng, _ANNULUS_ODDS, rate):
        return []
    extent = float(rng.beta(0.8, 1.2))
    thickness = float(np.clip(rng.lognormal(np.log(1.3 + 1.6 * extent), 0.5), 0.7, 6.0))
    ring = np.pad(marks.mitral_annulus, ((0, 0), (0, 1)), constant_values=1.0)
    points = tube_through(ring, step_mm=0.8 * thickness).points
    count = max(1, round((0.05 + 0.95 * extent) * len(points)))
    first = int(rng.integers(0, len(points) - count + 1))
    excess_hu, gaps = _dense(rng, 620.0), float(rng.uniform(0.0, 0.35))
    deposits: list[Deposit] = []
    for point in points[first : first + count]:
        if rng.random() < gaps and deposits:
            continue
        size = thickness * float(rng.lognormal(0.0, 0.25))
        deposits.append(
            free(
                point + rng.normal(0.0, 0.7, size=3),
                (
                    1.1 * size,
                    size * float(rng.uniform(0.8, 1.5)),
                    size * float(rng.uniform(0.6, 1.0)),
                ),
                excess_hu * float(rng.uniform(0.7, 1.3)),
                Structure.MITRAL_ANNULUS_CALCIUM,
                rng,
            )
        )
    return deposits


def _pericardium(marks: ScanMarks, rate: float, rng: np.random.Generator) -> list[Deposit]:
    """Return lumps and plates on the outline of the heart."""
    if not chance(rng, _PERICARDIUM_ODDS, rate):
        return []
    deposits: list[Deposit] = []
    for _ in range(int(np.clip(rng.geometric(0.4), 1, 6))):
        outline = marks.heart[int(rng.integers(len(marks.heart)))]
        start = int(rng.integers(len(outline.points_mm)))
        size, excess_hu = float(rng.lognormal(0.2, 0.4)), _dense(rng, 560.0)
        for number in range(int(rng.integers(1, 5))):
            here = outline.points_mm[(start + number) % len(outline.points_mm)]
            after = outline.points_mm[(start + number + 1) % len(outline.points_mm)]
            middle: Vectors = np.append(0.5 * (here + after), outline.z_mm)
            deposits += cluster(
                middle,
                count=int(rng.integers(1, 5)),
                spread_mm=1.5,
                size_mm=size,
                excess_hu=excess_hu,
                owner=Structure.PERICARDIAL_CALCIUM,
                rng=rng,
            )
    return deposits
