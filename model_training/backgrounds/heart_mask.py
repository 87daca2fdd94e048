"""From outlines at a few heights to a mask: shapes between them are interpolated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask

from calcium_scoring.volume.geometry import VolumeGeometry
from model_training.backgrounds.marks import HeartOutline


def heart_mask(geometry: VolumeGeometry, outlines: Sequence[HeartOutline]) -> NDArray[np.bool_]:
    """Return the voxels (slice, row, column) inside the outlined heart.

    The signed distance to the outline is interpolated linearly between the heights (shape
    interpolation after Raya and Udupa 1990, doi 10.1109/42.52980). Slices farther than half their
    spacing beyond the first or last outline hold no heart.

    Parameters
    ----------
    geometry
        Axial slices, ascending in z.
    outlines
        Ascending in z.
    """
    mask = np.zeros(geometry.shape, dtype=np.bool_)
    heights = np.array([outline.z_mm for outline in outlines])
    distances = [_signed_distance(geometry, outline) for outline in outlines]
    half = 0.5 * geometry.spacing_between_slices_mm
    for index in range(geometry.shape[0]):
        z = geometry.position_lps_mm((index, 0, 0))[2]
        if not heights[0] - half <= z <= heights[-1] + half:
            continue
        upper = int(np.clip(np.searchsorted(heights, z), 1, len(heights) - 1))
        share = (z - heights[upper - 1]) / (heights[upper] - heights[upper - 1])
        share = float(np.clip(share, 0.0, 1.0))
        mask[index] = (1.0 - share) * distances[upper - 1] + share * distances[upper] <= 0.0
    return mask


def _signed_distance(geometry: VolumeGeometry, outline: HeartOutline) -> NDArray[np.float32]:
    """Return the distance to an outline in mm, (row, column), negative inside."""
    corners = [
        geometry.index_at((float(x), float(y), outline.z_mm))[1:] for x, y in outline.points_mm
    ]
    inside = polygon2mask(geometry.shape[1:], np.array(corners))  # type: ignore[no-untyped-call]
    if not inside.any():
        raise ValueError(f"The outline at z = {outline.z_mm} mm encloses no pixel of the scan.")
    spacing = geometry.pixel_spacing_mm
    outer = ndimage.distance_transform_edt(~inside, sampling=spacing)
    inner = ndimage.distance_transform_edt(inside, sampling=spacing)
    return np.asarray(outer - inner, dtype=np.float32)
