"""Which voxels of a scan belong to its heart: the coarse heart region at the scan's own grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.model_input.heart_region import HeartRegion
from calcium_scoring.volume.label_map import MaskArray


def heart_interior(region: HeartRegion) -> MaskArray:
    """Return the coarse voxels inside the heart whose neighbours on all sides are heart too.

    The outermost coarse voxels of a heart are averages of heart, fat and lung; the voxels of the
    first and last slice of the scan count as if the heart went on beyond.
    """
    heart = region.distance_mm == 0.0
    inside: MaskArray = ndimage.binary_erosion(heart, border_value=1)
    return inside


def coarse_index(
    region: HeartRegion, index: NDArray[np.int_]
) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.int_]]:
    """Return the coarse voxel in which voxels of the scan lie.

    Parameters
    ----------
    region
        Both of its grids share their axes.
    index
        (count, 3) indices (slice, row, column) on the grid of the scan.
    """
    to_coarse = np.linalg.solve(region.coarse.affine, region.native.affine)
    coarse = np.rint(index @ np.diag(np.diag(to_coarse)[:3]) + to_coarse[:3, 3]).astype(np.int_)
    coarse = np.clip(coarse, 0, np.array(region.coarse.shape) - 1)
    return coarse[:, 0], coarse[:, 1], coarse[:, 2]
