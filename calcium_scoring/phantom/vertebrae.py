"""The section of a vertebra or disc in one plane. Sizes are our choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calcium_scoring.phantom.shapes import Distance, superellipse_distance
from calcium_scoring.phantom.skeleton import Vertebra

VERTEBRA_BOX_MM = ((-43.0, 43.0), (-30.0, 62.0))
"""What a vertebra of scale 1 takes up in x and y, turned a little."""
_END_PLATE_MM = 1.2


@dataclass(frozen=True, eq=False)
class VertebraShape:
    """Distances to body, arch, canal, bone spurs, and to the muscle around them all.

    ``cortex_mm`` is a factor on the thickness of the cortex, large within an end plate.
    """

    body: Distance
    arch: Distance
    canal: Distance
    flesh: Distance
    spurs: Distance | None
    cortex_mm: float
    is_disc: bool


def vertebra_shape(vertebra: Vertebra, px: Distance, py: Distance, z: float) -> VertebraShape:
    """Return the section at a height; ``px``, ``py`` are from the middle of the body."""
    scale = vertebra.scale
    x, y = px / np.float32(scale), py / np.float32(scale)
    from_disc = min(z - vertebra.bottom_mm, vertebra.top_mm - z)
    half_disc = 0.5 * vertebra.disc_mm
    is_disc = from_disc < half_disc
    from_plate = max(from_disc - half_disc, 0.0)
    flare = 2.2 * float(np.clip(1.0 - from_plate / 7.0, 0.0, 1.0))
    body = superellipse_distance(x, y, 16.6 + flare, 14.6 + 0.7 * flare, 2.3)
    canal = np.asarray(np.hypot(x / 1.08, y - 22.5) - 8.3, dtype=np.float32)
    # A slight waist at the sides, and a flat front edge.
    body = body + np.float32(0.5 * min(from_plate, 5.0) / 5.0) * np.exp(-np.square(y / 8.0))
    body = np.maximum(body, -canal + 1.0)
    phase = (z - vertebra.bottom_mm) / (vertebra.top_mm - vertebra.bottom_mm)
    arch = _arch(x, y, canal, phase, from_disc)
    flesh = np.asarray(np.hypot(x, y - 30.0) - 17.0, dtype=np.float32)
    # A worn end plate is dense some way into the body.
    plate = _END_PLATE_MM * (1.0 + 2.5 * vertebra.wear)
    cortex = 1.0 + max(0.0, 7.0 * (plate - from_plate)) if not is_disc else 1.0
    return VertebraShape(
        body=body * np.float32(scale),
        arch=arch * np.float32(scale),
        canal=canal * np.float32(scale),
        flesh=flesh * np.float32(scale),
        spurs=_spurs(vertebra, x, y, body, from_plate),
        cortex_mm=cortex,
        is_disc=is_disc,
    )


def _spurs(
    vertebra: Vertebra, x: Distance, y: Distance, body: Distance, from_plate: float
) -> Distance | None:
    """Return lips of bone at the edge of a worn disc, on one side more than on the other."""
    size = 7.0 * vertebra.wear - 1.5 - 0.9 * from_plate
    if size < 0.6:
        return None
    angle = np.arctan2(y, x)
    turn = np.cos(angle - np.float32(vertebra.spur_angle))
    reach = np.float32(size) * np.clip(turn, 0.0, 1.0) ** 2
    lip = np.abs(body - 0.5 * reach) - 0.5 * reach - np.float32(0.3)
    return np.asarray(np.maximum(lip, np.float32(8.0) * (0.15 - turn)), dtype=np.float32)


def _arch(x: Distance, y: Distance, canal: Distance, phase: float, from_disc: float) -> Distance:
    ring = np.hypot(x / 1.08, y - 22.5) - 14.2
    if from_disc < 8.0:
        # The foramina, and behind them the joints.
        ring = np.maximum(ring, 26.0 - y)
        ring = np.minimum(ring, np.hypot(np.abs(x) - 15.0, y - 28.0) - 6.8)
    else:
        ring = np.maximum(ring, 8.0 - y)
        along = np.clip((np.abs(x) - 10.0) / 20.0, 0.0, 1.0)
        ring = np.minimum(
            ring,
            np.hypot(np.abs(x) - 10.0 - 20.0 * along, y - 25.0 - 9.0 * along) - (5.6 - 1.2 * along),
        )
    spine_end = np.clip(y, 32.0, 34.0 + 18.0 * abs(np.cos(np.pi * phase)))
    ring = np.minimum(ring, np.hypot(x, y - spine_end) - 4.0)
    return np.asarray(np.maximum(ring, -canal), dtype=np.float32)
