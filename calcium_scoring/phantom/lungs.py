"""Branching vessels of the lungs."""

from __future__ import annotations

from typing import Final

import numpy as np

from calcium_scoring.phantom.cage import cage_section, dome_distance, spine_offset
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.shapes import Ellipsoid, Placement, Tube, Vectors

_HILA: Final = (
    # position, first direction, radius: arteries and veins of upper, middle and lower lobes
    ((-46.0, -36.0, 34.0), (-0.6, -0.3, 0.9), 5.0),
    ((-50.0, -36.0, 20.0), (-0.8, -0.7, -0.2), 4.2),
    ((-54.0, -24.0, 4.0), (-0.5, 0.3, -0.9), 5.5),
    ((-50.0, -16.0, -4.0), (-0.7, 0.7, -0.4), 4.6),
    ((56.0, -28.0, 38.0), (0.4, -0.3, 1.0), 5.0),
    ((64.0, -30.0, 24.0), (0.8, -0.8, 0.0), 4.0),
    ((62.0, -16.0, 16.0), (0.4, 0.4, -0.9), 5.5),
    ((62.0, -14.0, -8.0), (0.6, 0.5, -0.6), 4.6),
)
_HEART_CENTRE: Final = np.array([22.0, -75.0, -8.0])
_HEART_RADIUS_MM: Final = 95.0
_SMALLEST_RADIUS_MM: Final = 0.45


def grow_lung_vessels(
    rolled: Placement,
    chambers: tuple[Ellipsoid, ...],
    dome_heights: tuple[float, float, float],
    settings: PatientSettings,
    rng: np.random.Generator,
) -> tuple[Tube, ...]:
    """Return the vessels of both lungs, thinning as they branch until they leave the lung."""
    tubes: list[Tube] = []

    def is_in_lung(point: Vectors, margin_mm: float) -> bool:
        half_width, front, back = cage_section(float(point[2]), settings.chest_depth_scale)
        centre, half_depth = 0.5 * (front + back), 0.5 * (back - front)
        u = abs(point[0]) / max(half_width - margin_mm, 5.0)
        v = abs(point[1] - centre) / max(half_depth - margin_mm, 5.0)
        x, y = (np.array([value], dtype=np.float32) for value in point[:2])
        if u**2.3 + v**2.3 > 1.0 or dome_distance(x, y, float(point[2]), dome_heights)[0] < 2.0:
            return False
        if abs(point[0]) < 30.0 and point[1] > spine_offset(float(point[2])) - 22.0:
            return False
        placed = rolled(point)
        if np.linalg.norm(placed - _HEART_CENTRE) > _HEART_RADIUS_MM:
            return True
        return all(
            float(shape.distance(placed[0], placed[1], placed[2])) > 4.0 for shape in chambers
        )

    def grow(start: Vectors, direction: Vectors, radius: float, depth: int) -> None:
        if radius < _SMALLEST_RADIUS_MM or depth > 14:
            return
        points = [start]
        heading = direction / np.linalg.norm(direction)
        step = 3.0 + 1.6 * radius
        for _ in range(int(rng.integers(2, 4))):
            heading = heading + rng.normal(0.0, 0.13, size=3)
            heading /= np.linalg.norm(heading)
            following = points[-1] + step * heading
            if depth > 0 and not is_in_lung(following, 5.0):
                # Turned towards the middle of the lung, a vessel may go on.
                inward = np.array([np.sign(start[0]) * 75.0, -40.0, start[2]]) - points[-1]
                heading = heading + 1.2 * inward / np.linalg.norm(inward)
                heading /= np.linalg.norm(heading)
                following = points[-1] + step * heading
                if not is_in_lung(following, 5.0):
                    break
            points.append(following)
        if len(points) < 2:
            return
        end_radius = radius * 0.93
        tubes.append(Tube(rolled(points), np.linspace(radius, end_radius, len(points))))
        side = rng.normal(size=3)
        side -= heading * (side @ heading)
        side /= np.linalg.norm(side)
        grow(points[-1], heading + 0.5 * side, end_radius * rng.uniform(0.75, 0.93), depth + 1)
        grow(
            points[-1],
            heading - rng.uniform(0.3, 0.8) * side,
            end_radius * rng.uniform(0.55, 0.9),
            depth + 1,
        )

    for position, direction, radius in _HILA:
        start = np.array(position) + rng.normal(0.0, 2.0, size=3)
        grow(start, np.array(direction), radius * rng.uniform(0.85, 1.1), 0)
    return tuple(tubes)
