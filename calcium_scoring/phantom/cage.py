"""Rib cage, spine and diaphragm of the phantom: what bounds the lungs.

Coordinates are those of :mod:`calcium_scoring.phantom.anatomy` before the patient is rolled. The
tables are our choice, read off chest CT of adults.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from calcium_scoring.phantom.shapes import Distance

CAGE_EXPONENT: Final = 2.35
_Z = np.array([-200.0, -100.0, -60.0, -20.0, 20.0, 60.0, 90.0, 115.0, 135.0, 150.0, 175.0])
_HALF_WIDTH = np.array([136.0, 138, 138, 136, 132, 123, 108, 84, 58, 34, 20])
_FRONT = np.array([-136.0, -141, -143, -142, -137, -126, -108, -86, -62, -40, -30])
_BACK = np.array([42.0, 47, 50, 52, 53, 53, 50, 44, 34, 22, 16])


def cage_section(z: float, depth_scale: float) -> tuple[float, float, float]:
    """Return half width, front and back of the inside of the rib cage at a height."""
    front = float(np.interp(z, _Z, _FRONT)) * depth_scale
    return float(np.interp(z, _Z, _HALF_WIDTH)), front, float(np.interp(z, _Z, _BACK))


def spine_offset(z: float) -> float:
    """Return y of the centre of the vertebrae: the thoracic spine is bent backwards."""
    return -((z - 10.0) ** 2) / 1600.0


def spine_region(px: Distance, py: Distance) -> Distance:
    """Return the distance to vertebra and paravertebral tissue, which indents the lungs."""
    along = np.clip(py, 0.0, 48.0)
    result: Distance = np.hypot(px, py - along) - (21.5 + along * np.float32(0.22))
    return result


def dome_distance(
    px: Distance, py: Distance, z: float, heights: tuple[float, float, float]
) -> Distance:
    """Return how far the plane lies above the diaphragm.

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
    result: Distance = np.asarray((z - height) * 0.7, dtype=np.float32)
    return result
