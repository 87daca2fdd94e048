"""Organs below the diaphragm and the thyroid, as ellipsoids of the ideal patient.

Places, sizes and attenuations are our choice, read off non-contrast CT of adults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from calcium_scoring.phantom.shapes import Distance, Ellipsoid, Placement, Tube, frame_along

Content = Literal["solid", "hollow", "kidney", "gas"]


class _PartMaker(Protocol):
    def __call__(
        self,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        axis: tuple[float, float, float] = ...,
        spread: float = ...,
    ) -> Ellipsoid: ...


@dataclass(frozen=True, eq=False)
class Organ:
    """An organ: the union of ``parts``, of one attenuation or with a wall round its content.

    ``fill`` is how much of a hollow organ's depth is liquid or food; above it is gas.
    """

    name: str
    parts: tuple[Ellipsoid, ...]
    hu: float
    content: Content = "solid"
    content_hu: float = 0.0
    fill: float = 1.0
    wall_mm: float = 3.0

    def reaches(self, z: float) -> bool:
        """Tell whether the plane may meet the organ."""
        return any(abs(z - float(part.centre[2])) < max(part.radii) for part in self.parts)

    def distance(self, px: Distance, py: Distance, z: float) -> Distance:
        """Return the distance to its surface."""
        nearest = self.parts[0].distance(px, py, z)
        for part in self.parts[1:]:
            nearest = np.minimum(nearest, part.distance(px, py, z))
        return nearest


@dataclass(frozen=True, eq=False)
class Abdomen:
    """Organs in the order in which they cover each other, and arteries."""

    organs: tuple[Organ, ...]
    thyroid: Organ
    arteries: tuple[Tube, ...]
    liver_hu: float


def build_abdomen(
    right_dome_mm: float,
    placed: Placement,
    rng: np.random.Generator,
) -> Abdomen:
    """Return the organs below a diaphragm of this height."""
    shift = right_dome_mm + 14.0

    def part(
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        axis: tuple[float, float, float] = (1.0, 0.0, 0.0),
        spread: float = 0.12,
    ) -> Ellipsoid:
        sizes = np.array(radii) * np.exp(rng.normal(0.0, spread, size=3))
        place = np.array(centre) + rng.normal(0.0, 5.0, size=3) + [0.0, 0.0, shift]
        tilted = np.array(axis) + rng.normal(0.0, 0.12, size=3)
        a, b, c = sizes.tolist()
        return Ellipsoid(place, (a, b, c), frame_along(tilted))

    liver_hu = float(rng.choice([rng.normal(58.0, 6.0), rng.uniform(5.0, 48.0)], p=[0.72, 0.28]))
    organs = [*_bowel(part, rng)]
    for side, name in ((-1.0, "right kidney"), (1.0, "left kidney")):
        kidney = part(
            (side * 62.0, 14.0, -150.0 - 6.0 * side), (56.0, 27.0, 30.0), (side * 0.2, 0.1, 1.0)
        )
        organs.append(Organ(name, (kidney,), float(rng.normal(31.0, 3.0)), "kidney"))
    organs += [
        Organ("pancreas", (part((30.0, -46.0, -130.0), (60.0, 11.0, 12.0), (1.0, 0.15, 0.25)),),
              float(rng.normal(38.0, 6.0))),
        Organ("spleen", (part((104.0, 14.0, -84.0), (34.0, 52.0, 54.0), (1.0, 0.5, 0.2), 0.2),),
              float(rng.normal(50.0, 4.0))),
        Organ(
            "stomach",
            (part((70.0, -40.0, -68.0), (48.0, 46.0, 48.0), (0.3, -0.6, -0.7), 0.2),
             part((44.0, -88.0, -126.0), (50.0, 24.0, 26.0), (1.0, 0.1, 0.3), 0.2)),
            42.0, "hollow", content_hu=float(rng.choice([8.0, 25.0, 45.0])),
            fill=float(rng.uniform(0.15, 1.0)), wall_mm=4.0,
        ),
        Organ(
            "liver",
            (part((-82.0, -32.0, -80.0), (104.0, 108.0, 88.0), (1.0, 0.1, 0.1)),
             part((6.0, -88.0, -66.0), (72.0, 36.0, 38.0), (1.0, 0.15, 0.15), 0.18),
             part((-96.0, -20.0, -120.0), (34.0, 56.0, 70.0), (1.0, 0.0, 0.0), 0.15)),
            liver_hu,
        ),
    ]  # fmt: skip
    if rng.random() < 0.85:
        organs.append(
            Organ("gallbladder",
                  (part((-50.0, -82.0, -132.0), (30.0, 15.0, 15.0), (0.1, -0.6, -0.8), 0.2),),
                  float(rng.normal(12.0, 5.0)))
        )  # fmt: skip
    return Abdomen(tuple(organs), _thyroid(rng), _arteries(shift, placed, rng), liver_hu)


def _bowel(part: _PartMaker, rng: np.random.Generator) -> list[Organ]:
    """Return loops of bowel, the colon's with gas and stool."""
    organs = []
    for _ in range(int(rng.integers(14, 40))):
        centre = (
            float(rng.uniform(-100, 105)),
            float(rng.uniform(-118, -20)),
            float(rng.uniform(-245, -125)),
        )
        size = float(rng.uniform(11.0, 19.0))
        axis = (float(rng.normal()), float(rng.normal()), 0.4)
        organs.append(
            Organ(
                "bowel",
                (part(centre, (1.6 * size, size, size), axis),),
                38.0,
                "hollow",
                content_hu=float(rng.uniform(5.0, 45.0)),
                fill=float(min(rng.uniform(0.3, 1.8), 1.0)),
                wall_mm=2.5,
            )
        )
    colon = (
        (98.0, -28.0, -84.0), (90.0, -70.0, -112.0), (52.0, -104.0, -136.0), (8.0, -112.0, -146.0),
        (-40.0, -104.0, -140.0), (-84.0, -72.0, -142.0), (-96.0, -30.0, -168.0),
        (104.0, 0.0, -140.0),
    )  # fmt: skip
    for centre in colon:
        size = float(rng.uniform(14.0, 27.0))
        fill = float(np.clip(rng.uniform(-0.2, 1.2), 0.0, 1.0))
        organs.append(
            Organ("colon", (part(centre, (1.4 * size, size, size)),), 35.0, "hollow",
                  float(rng.uniform(-60.0, 60.0)), fill, 2.0)
        )  # fmt: skip
    return organs


def _thyroid(rng: np.random.Generator) -> Organ:
    size = float(np.exp(rng.normal(0.0, 0.25)))
    height = 150.0 + float(rng.normal(0.0, 8.0))
    lobes = [
        Ellipsoid(
            np.array([side * (17.0 + 3.0 * size), -60.0, height + rng.normal(0.0, 3.0)]),
            (8.0 * size, 9.5 * size, 22.0 * size),
        )
        for side in (-1.0, 1.0)
    ]
    isthmus = Ellipsoid(np.array([0.0, -72.0, height - 6.0]), (16.0, 3.5, 7.0))
    return Organ("thyroid", (*lobes, isthmus), float(np.clip(rng.normal(105.0, 18.0), 50.0, 140.0)))


def _arteries(shift: float, placed: Placement, rng: np.random.Generator) -> tuple[Tube, ...]:
    """Return coeliac, splenic, mesenteric and renal arteries."""
    courses = (
        ([[6, -32, -118], [6, -44, -120], [40, -36, -112], [84, -4, -98]], (3.4, 3.2, 2.6, 2.2)),
        ([[6, -44, -120], [-20, -50, -116], [-34, -56, -108]], (2.8, 2.4, 2.0)),
        ([[5, -34, -134], [4, -52, -150], [2, -60, -240]], (3.6, 3.4, 2.6)),
        ([[6, -24, -146], [30, -8, -150], [52, 8, -152]], (2.8, 2.5, 2.0)),
        ([[2, -24, -148], [-26, -8, -150], [-52, 8, -154]], (2.8, 2.5, 2.0)),
    )
    tubes = []
    for points, radii in courses:
        values = np.array(points, dtype=np.float64) + rng.normal(0.0, 2.5, size=(len(points), 3))
        values[:, 2] += 0.5 * shift
        tubes.append(Tube(placed(values), np.array(radii)))
    return tuple(tubes)
