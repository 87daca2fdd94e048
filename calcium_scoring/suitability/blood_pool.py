"""Whether contrast agent is in the heart, whatever the header says.

Without contrast agent blood is about as dense as heart muscle; with it the chambers, more than half
of a heart's volume, stand out from everything around them. Calcium, stents and wires are far too
small to lift the upper quarter of a heart's voxels.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from calcium_scoring.errors import ContrastEnhanced
from calcium_scoring.model_input.heart_region import HeartRegion
from calcium_scoring.suitability.heart_voxels import heart_interior

BLOOD_POOL_QUANTILE: Final = 0.75
"""Of the heart's coarse voxels: above half of the chambers' volume, below what calcium fills."""

LARGEST_PLAIN_BLOOD_HU: Final = 90.0
"""A brighter blood pool holds contrast agent. Our choice, between what was measured: 41 to 44 HU in
four patients without contrast agent, 76 HU in a scanned plastic phantom of the heart, 334 HU in a
patient with it (docs/decisions/0015)."""

SMALLEST_INTERIOR_ML: Final = 40.0
"""With less of the heart's interior in the scan nothing is said; our choice."""


def blood_pool_hu(region: HeartRegion) -> float | None:
    """Return the upper quartile of the mean HU of coarse voxels (8 mm) well inside the heart.

    None where less than :data:`SMALLEST_INTERIOR_ML` of the interior is in the scan.
    """
    values = region.coarse_hu[heart_interior(region)]
    if values.size * region.coarse.voxel_volume_mm3 / 1000.0 < SMALLEST_INTERIOR_ML:
        return None
    return float(np.quantile(values, BLOOD_POOL_QUANTILE))


def check_blood_pool(region: HeartRegion) -> None:
    """Refuse a scan whose blood is enhanced.

    Raises
    ------
    ContrastEnhanced
        The blood pool is brighter than :data:`LARGEST_PLAIN_BLOOD_HU`.
    """
    found_hu = blood_pool_hu(region)
    if found_hu is not None and found_hu > LARGEST_PLAIN_BLOOD_HU:
        raise ContrastEnhanced(
            f"A quarter of the inside of the heart is brighter than {found_hu:.0f} HU; blood "
            f"without contrast agent stays below {LARGEST_PLAIN_BLOOD_HU:g} HU, whatever the "
            "header says. Enhanced blood is counted as calcium: send the non-contrast series.",
            blood_pool_hu=round(found_hu, 1),
            largest_plain_blood_hu=LARGEST_PLAIN_BLOOD_HU,
        )
