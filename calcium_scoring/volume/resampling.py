"""The one resampler: in-plane, between grids that share their slice planes.

Slices are never interpolated: the score is defined on the slices as acquired.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.volume.geometry import VolumeGeometry


def in_plane_grid(geometry: VolumeGeometry, pixel_spacing_mm: float) -> VolumeGeometry:
    """Return the grid of the same slices with square pixels and the usual in-plane direction.

    Columns run along the axis of the source that is nearest to the patient's left, rows along
    the one nearest to posterior, both ascending, so that flipped sources come out alike. The
    outer edges of the first pixels coincide; at the far side less than one pixel may be added.
    """
    directions = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    flip_rows, flip_columns = directions[1, 1] < 0, directions[0, 2] < 0
    _, rows, columns = geometry.shape
    row_direction = directions[:, 1] * (-1 if flip_rows else 1)
    column_direction = directions[:, 2] * (-1 if flip_columns else 1)
    first_row = rows - 0.5 if flip_rows else -0.5
    first_column = columns - 0.5 if flip_columns else -0.5
    edge = geometry.affine @ np.array([0.0, first_row, first_column, 1.0])
    affine = np.eye(4)
    affine[:3, 0] = geometry.affine[:3, 0]
    affine[:3, 1] = row_direction * pixel_spacing_mm
    affine[:3, 2] = column_direction * pixel_spacing_mm
    affine[:3, 3] = edge[:3] + 0.5 * (affine[:3, 1] + affine[:3, 2])
    shape = (
        geometry.shape[0],
        int(np.ceil(rows * geometry.spacing_mm[1] / pixel_spacing_mm - 1e-6)),
        int(np.ceil(columns * geometry.spacing_mm[2] / pixel_spacing_mm - 1e-6)),
    )
    return VolumeGeometry(shape, affine)


def resample_slice(
    values: NDArray[np.float32],
    source: VolumeGeometry,
    target: VolumeGeometry,
    *,
    order: Literal[0, 1] = 1,
    outside: float | None = None,
) -> NDArray[np.float32]:
    """Resample one slice ``(row, column)`` from the pixels of ``source`` to those of ``target``.

    Both grids must share slice planes and in-plane axes (up to sign), as a grid and its
    :func:`in_plane_grid` do. ``order`` 1 is linear, 0 nearest neighbour; beyond the outermost
    pixel centres the edge value is used, or ``outside`` where it is given.
    """
    to_source = np.linalg.solve(source.affine, target.affine)
    scale = np.array([to_source[1, 1], to_source[2, 2]])
    offset = np.array([to_source[1, 3], to_source[2, 3]])
    resampled = np.empty(target.shape[1:], dtype=np.float32)
    ndimage.affine_transform(
        values,
        scale,
        offset,
        output_shape=target.shape[1:],
        output=resampled,
        order=order,
        mode="nearest" if outside is None else "constant",
        cval=0.0 if outside is None else outside,
        prefilter=False,
    )
    return resampled
