"""Small volumes whose score can be worked out on paper."""

from __future__ import annotations

import numpy as np

from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, LabelMap


def soft_tissue_volume(
    shape: tuple[int, int, int] = (6, 32, 32),
    spacing_mm: tuple[float, float, float] = (3.0, 0.5, 0.5),
    background_hu: float = 40.0,
) -> CtVolume:
    geometry = VolumeGeometry.axial(shape, spacing_mm)
    return CtVolume(geometry, np.full(shape, background_hu, dtype=np.float32))


def plaque_phantom(
    *,
    peak_hu: float = 250.0,
    spacing_between_slices_mm: float = 3.0,
    slice_count: int = 2,
    label: int = CORONARY,
) -> tuple[CtVolume, LabelMap]:
    """A 5 x 5 mm square of uniform calcium (10 x 10 pixels of 0.5 mm) in ``slice_count`` slices."""
    blank = soft_tissue_volume(spacing_mm=(spacing_between_slices_mm, 0.5, 0.5))
    hu = blank.hu.copy()
    labels = np.zeros(hu.shape, dtype=np.uint8)
    plaque = np.s_[1 : 1 + slice_count, 10:20, 10:20]
    hu[plaque] = peak_hu
    labels[plaque] = label
    return CtVolume(blank.geometry, hu), LabelMap(blank.geometry, labels)
