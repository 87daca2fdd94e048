"""Volume score: voxels of calcium times the volume of a voxel, without interpolation.

Callister et al., Radiology 1998;208:807-814, interpolate between slices first; this plain
variant does not, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from calcium_scoring.scoring.lesions import SliceLesion


def volume_score_mm3(lesions: Iterable[SliceLesion], *, voxel_volume_mm3: float) -> float:
    """Return the volume in mm3 of all voxels that belong to the lesions."""
    return sum(lesion.pixel_count for lesion in lesions) * voxel_volume_mm3
