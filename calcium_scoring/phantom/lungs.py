"""Vessels and bronchi of the lungs: trees that fill the space they are given.

Points spread over a lung are joined, nearest to the hilum first, to whatever lies nearest of the
tree so far; radii then follow from the number of ends that a stretch supplies (Murray's law).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.phantom.cage import CAGE_EXPONENT, apex_height, cage_sections, dome_height
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.shapes import Ellipsoid, Placement, Tube, Vectors

MURRAY_EXPONENT: Final = 2.35
"""Murray's 3 is too much for lungs, where 2.3 to 2.7 were measured."""
_DETOUR: Final = 0.12
"""Cost of a mm along the tree relative to a mm of new vessel."""
_SEEN_BRONCHUS_MM: Final = 1.1
_PLEURA_MM: Final = 5.0

_ARTERY_ROOTS: Final = (
    ((-44.0, -38.0, 36.0), (-54.0, -24.0, 6.0), (-52.0, -34.0, 20.0)),
    ((54.0, -26.0, 42.0), (62.0, -16.0, 16.0), (64.0, -26.0, 26.0)),
)
_VEIN_ROOTS: Final = (
    ((-52.0, -42.0, 22.0), (-50.0, -18.0, -10.0)),
    ((64.0, -24.0, 20.0), (64.0, -12.0, -12.0)),
)
_BRONCHUS_ROOTS: Final = (
    ((-58.0, -34.0, 52.0), (-50.0, -18.0, -8.0)),
    ((68.0, -42.0, 46.0), (58.0, -4.0, -10.0)),
)


@dataclass(frozen=True, eq=False)
class LungTrees:
    """Vessels, and bronchi beyond the lobes."""

    vessels: tuple[Tube, ...]
    bronchi: tuple[Tube, ...]


def grow_lungs(
    placed: Placement,
    chambers: Sequence[Ellipsoid],
    dome_heights: tuple[float, float, float],
    settings: PatientSettings,
    rng: np.random.Generator,
) -> LungTrees:
    """Return the trees of both lungs."""

    def is_in_lung(points: Vectors) -> NDArray[np.bool_]:
        return _is_in_lung(points, chambers, dome_heights, settings)

    vessels: list[Tube] = []
    bronchi: list[Tube] = []
    count = int(rng.integers(900, 1700))
    ends_mm = float(rng.uniform(0.24, 0.42))
    for side in range(2):
        for roots in (_ARTERY_ROOTS[side], _VEIN_ROOTS[side]):
            targets = _spread(is_in_lung, side, count, rng)
            vessels += _tree(np.array(roots), targets, ends_mm, placed, rng)
        targets = _spread(is_in_lung, side, int(rng.integers(30, 80)), rng)
        ends = float(rng.uniform(0.55, 0.95))
        grown = _tree(np.array(_BRONCHUS_ROOTS[side]), targets, ends, placed, rng)
        # Smaller ones are too thin to be seen.
        bronchi += [tube for tube in grown if tube.radii[-1] > _SEEN_BRONCHUS_MM]
    return LungTrees(tuple(vessels), tuple(bronchi))


def _spread(
    is_in_lung: Callable[[Vectors], NDArray[np.bool_]], side: int, count: int,
    rng: np.random.Generator,
) -> Vectors:  # fmt: skip
    low, high = np.array([20.0, -150.0, -95.0]), np.array([140.0, 55.0, 150.0])
    found = np.zeros((0, 3))
    for _ in range(20):
        points = rng.uniform(low, high, size=(3 * count, 3))
        points[:, 0] *= -1.0 if side == 0 else 1.0
        found = np.concatenate([found, points[is_in_lung(points)]])
        if len(found) >= count:
            break
    return found[:count]


def _is_in_lung(
    points: Vectors,
    chambers: Sequence[Ellipsoid],
    dome_heights: tuple[float, float, float],
    settings: PatientSettings,
) -> NDArray[np.bool_]:
    x, y, z = points.T
    half_width, front, back = cage_sections(z, settings.chest_depth_scale)
    centre, half_depth = 0.5 * (front + back), 0.5 * (back - front)
    u = np.abs(x) / np.maximum(half_width - _PLEURA_MM, 5.0)
    v = np.abs(y - centre) / np.maximum(half_depth - _PLEURA_MM, 5.0)
    inside: NDArray[np.bool_] = u**CAGE_EXPONENT + v**CAGE_EXPONENT < 1.0
    inside &= z > dome_height(x.astype(np.float32), y.astype(np.float32), dome_heights) + 4.0
    inside &= z < apex_height(x.astype(np.float32), settings.apex_mm) - 4.0
    inside &= (np.abs(x) > 28.0) | (y < np.minimum(-np.square(z - 10.0) / 1250.0, 0.0) - 22.0)
    # The mediastinum above the heart.
    inside &= np.abs(x) > np.interp(z, [0.0, 30.0, 60.0, 110.0], [0.0, 30.0, 34.0, 26.0])
    for shape in chambers:
        inside &= shape.distance(x, y, z) > 6.0
    return inside


def _tree(
    roots: Vectors,
    targets: Vectors,
    ends_mm: float,
    placed: Placement,
    rng: np.random.Generator,
) -> list[Tube]:
    order = np.argsort(np.linalg.norm(targets[:, np.newaxis] - roots, axis=2).min(axis=1))
    targets = targets[order]
    nodes = np.concatenate([roots + rng.normal(0.0, 2.0, size=roots.shape), targets])
    first = len(roots)
    parents = np.full(len(nodes), -1)
    lengths = np.zeros(len(nodes))
    for index in range(first, len(nodes)):
        offsets = nodes[:index] - nodes[index]
        gaps = np.sqrt(np.einsum("ij,ij->i", offsets, offsets))
        best = int(np.argmin(gaps + _DETOUR * lengths[:index]))
        parents[index], lengths[index] = best, lengths[best] + gaps[best]
    has_child = np.zeros(len(nodes), dtype=bool)
    has_child[parents[first:]] = True
    supplied = np.where(has_child, 0.0, 1.0)
    for index in range(len(nodes) - 1, first - 1, -1):
        supplied[parents[index]] += supplied[index]
    radii = ends_mm * np.maximum(supplied, 1.0) ** (1.0 / MURRAY_EXPONENT)
    radii *= np.exp(rng.normal(0.0, 0.08, size=len(radii)))
    middles = 0.5 * (nodes[parents] + nodes) + rng.normal(0.0, 0.9, size=nodes.shape)
    shown = np.stack([nodes[parents], middles, nodes], axis=1)
    shown = placed(shown.reshape(-1, 3)).reshape(shown.shape)
    return [
        Tube(shown[index], np.array([radii[index] * 1.05, radii[index], radii[index]]))
        for index in range(first, len(nodes))
    ]
