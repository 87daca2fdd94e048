"""Rib cage, spine and diaphragm of the phantom: what bounds the lungs.

Coordinates are those of the ideal patient of :mod:`calcium_scoring.phantom.anatomy`, before roll
and warp. The tables are our choice, read off chest CT of adults.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.phantom.shapes import Distance

CAGE_EXPONENT: Final = 2.35
_Z = np.array([-260.0, -160, -100, -60, -20, 20, 60, 90, 115, 135, 150, 175, 260])
_HALF_WIDTH = np.array([128.0, 132, 137, 138, 136, 132, 123, 108, 86, 62, 38, 22, 20])
_FRONT = np.array([-126.0, -132, -139, -143, -142, -137, -126, -108, -86, -64, -46, -40, -40])
_BACK = np.array([38.0, 42, 46, 50, 52, 53, 53, 50, 44, 34, 20, 10, 4])


def cage_section(z: float, depth_scale: float) -> tuple[float, float, float]:
    """Return half width, front and back of the inside of the rib cage at a height."""
    front = float(np.interp(z, _Z, _FRONT)) * depth_scale
    return float(np.interp(z, _Z, _HALF_WIDTH)), front, float(np.interp(z, _Z, _BACK))


def cage_sections(
    z: NDArray[np.float64], depth_scale: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return half widths, fronts and backs at many heights."""
    return (
        np.interp(z, _Z, _HALF_WIDTH),
        np.interp(z, _Z, _FRONT) * depth_scale,
        np.interp(z, _Z, _BACK),
    )


def trunk_section(z: float, depth_scale: float, belly_mm: float) -> tuple[float, float, float]:
    """Return half width, front and back of the inside of the trunk's wall, pushed by the belly."""
    half_width, front, back = cage_section(z, depth_scale)
    belly = belly_mm * float(np.interp(z, [-150.0, -70.0, 0.0], [1.0, 0.35, 0.0]))
    return half_width + 0.35 * belly, front - belly, back


def middle_half_width(z: float) -> float:
    """Return how far from the middle the tops of the lungs begin."""
    return float(np.interp(z, [75.0, 115.0], [0.0, 24.0]))


def apex_height(px: Distance, apex_mm: float) -> NDArray[np.float32]:
    """Return how high the lungs reach: to ``apex_mm``, less towards the sides and the middle."""
    return np.asarray(apex_mm - 0.008 * np.square(np.abs(px) - 40.0), dtype=np.float32)


def spine_offset(z: float) -> float:
    """Return y of the centre of the vertebrae: the thoracic spine is bent backwards."""
    return -((z - 10.0) ** 2) / (1250.0 if z > 10.0 else 1700.0)


def vertebra_scale(z: float) -> float:
    """Return the size of a vertebra relative to that behind the heart."""
    return float(
        np.interp(z, [-220, -120, 0, 80, 140, 170, 240], [1.4, 1.22, 1.0, 0.86, 0.76, 0.66, 0.6])
    )


def spine_region(px: Distance, py: Distance, scale: float = 1.0) -> Distance:
    """Return the distance to vertebra and paravertebral tissue, which indents the lungs."""
    along = np.clip(py, 0.0, 48.0)
    radius = np.float32(2.5 + 19.0 * scale) + along * np.float32(0.4)
    result: Distance = np.hypot(px, py - along) - radius
    return result


def dome_height(
    px: Distance, py: Distance, heights: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return the height of the diaphragm.

    ``heights`` are the tops of the right and left dome and of the part below the heart.
    """
    right, left, middle = heights
    height = np.maximum(
        right - 34.0 * np.square((px + 62) / 70) - 38.0 * np.square((py + 62) / 78),
        left - 34.0 * np.square((px - 72) / 62) - 38.0 * np.square((py + 52) / 78),
    )
    height = np.maximum(
        height, middle - 12.0 * np.square((px - 24) / 62) - 14.0 * np.square((py + 88) / 50)
    )
    return np.asarray(height, dtype=np.float32)


def dome_distance(
    px: Distance, py: Distance, z: float, heights: tuple[float, float, float]
) -> Distance:
    """Return how far the plane lies above the diaphragm."""
    result: Distance = np.asarray((z - dome_height(px, py, heights)) * 0.7, dtype=np.float32)
    return result
