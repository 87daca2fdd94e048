"""Volumes and label maps as MetaImage, NRRD or NIfTI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from calcium_scoring.volume.geometry import VolumeGeometry


def write_itk(
    path: Path,
    values: NDArray[Any],
    geometry: VolumeGeometry,
    *,
    flipped: tuple[int, ...] = (),
) -> Path:
    """Write an axial grid; along the ``flipped`` axes the file runs the other way."""
    affine = geometry.affine.copy()
    for axis in flipped:
        affine[:, 3] += affine[:, axis] * (geometry.shape[axis] - 1)
        affine[:, axis] *= -1.0
    image: Any = SimpleITK.GetImageFromArray(np.flip(values, flipped))
    spacing = np.array(geometry.spacing_mm)[::-1]
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, 2::-1] / spacing).ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path
