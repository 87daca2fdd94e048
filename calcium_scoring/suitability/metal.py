"""Metal near the heart: leads, valves, clips, wires and stents, and the streaks they cause."""

from __future__ import annotations

from typing import Final

import numpy as np

from calcium_scoring.errors import SeriesWarning
from calcium_scoring.model_input.heart_region import HeartRegion
from calcium_scoring.suitability.heart_voxels import coarse_index
from calcium_scoring.volume.ct_volume import CtVolume

METAL_HU: Final = 2000.0
"""Denser than this is metal: calcium and cortical bone stay below. Our choice."""

NEAR_HEART_MM: Final = 30.0
"""Streaks of metal within this distance cross the heart; sternal wires lie within it. Our
choice."""


def metal_warnings(volume: CtVolume, region: HeartRegion) -> tuple[SeriesWarning, ...]:
    """Warn of voxels above :data:`METAL_HU` within :data:`NEAR_HEART_MM` of the heart."""
    near_count, peak_hu, nearest_mm = 0, METAL_HU, np.inf
    for number, hu in enumerate(volume.hu):
        if hu.max() <= METAL_HU:
            continue
        dense = np.argwhere(hu > METAL_HU)
        index = np.column_stack([np.full(len(dense), number), dense])
        distance_mm = region.distance_mm[coarse_index(region, index)]
        is_near = distance_mm <= NEAR_HEART_MM
        if is_near.any():
            near_count += int(np.count_nonzero(is_near))
            near = dense[is_near]
            peak_hu = max(peak_hu, float(hu[near[:, 0], near[:, 1]].max()))
            nearest_mm = min(nearest_mm, float(distance_mm.min()))
    if not near_count:
        return ()
    volume_mm3 = near_count * volume.geometry.voxel_volume_mm3
    where = "in the heart" if nearest_mm == 0.0 else f"{nearest_mm:.0f} mm from the heart"
    return (
        SeriesWarning(
            "metal_near_heart",
            f"There is metal {where}: {volume_mm3:.0f} mm³ are denser than {METAL_HU:g} HU. "
            "Stents, leads, valves, clips and their streaks may be counted as calcium.",
            {
                "metal_volume_mm3": round(volume_mm3, 1),
                "peak_hu": round(peak_hu, 1),
                "distance_mm": round(nearest_mm, 1),
                "metal_hu": METAL_HU,
            },
        ),
    )
