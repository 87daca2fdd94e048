"""Cylindrical inserts in uniform tissue, whose area, volume and mass can be worked out on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Final

import numpy as np
from scipy import ndimage

from calcium_scoring.phantom.deposits import MASS_CALIBRATION_FACTOR
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, LabelMap

_SUPERSAMPLING: Final = 16


@dataclass(frozen=True)
class CylinderInsert:
    """A cylinder along z of uniform attenuation; ``centre_lps_mm`` is its middle."""

    centre_lps_mm: tuple[float, float, float]
    radius_mm: float
    length_mm: float
    hu: float
    label: int = CORONARY

    @property
    def area_mm2(self) -> float:
        """Area of the cross-section."""
        return pi * self.radius_mm**2

    @property
    def volume_mm3(self) -> float:
        """Volume of the cylinder."""
        return self.area_mm2 * self.length_mm

    def mass_mg(self, background_hu: float) -> float:
        """Return the mass of hydroxyapatite that raises the background to this attenuation."""
        excess_hu = self.hu - background_hu
        return excess_hu * MASS_CALIBRATION_FACTOR * self.volume_mm3 / 1000.0


@dataclass(frozen=True, eq=False)
class CylinderPhantom:
    """A scan of cylinders; ``truth`` holds the voxels of inserts that reach 130 HU."""

    volume: CtVolume
    truth: LabelMap
    inserts: tuple[CylinderInsert, ...]
    background_hu: float


def cylinder_phantom(
    inserts: Sequence[CylinderInsert],
    *,
    shape: tuple[int, int, int] = (16, 128, 128),
    spacing_mm: tuple[float, float, float] = (3.0, 0.5, 0.5),
    origin_lps_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    slice_thickness_mm: float | None = None,
    background_hu: float = 40.0,
    psf_sigma_mm: float = 0.0,
    noise_sd_hu: float = 0.0,
    seed: int = 0,
) -> CylinderPhantom:
    """Return a scan of cylinders that do not overlap.

    Parameters
    ----------
    inserts
        Cylinders; what lies outside the grid is cut off.
    shape, spacing_mm, origin_lps_mm
        The grid, in the order (slice, row, column); the origin (x, y, z) is voxel (0, 0, 0).
    slice_thickness_mm
        Width of the rectangular slice profile; the spacing if it is not given.
    psf_sigma_mm
        Standard deviation of the Gaussian in-plane point spread; 0 leaves only partial volume.
    noise_sd_hu
        White noise, drawn from ``seed``.
    """
    geometry = VolumeGeometry.axial(shape, spacing_mm, origin_lps_mm)
    thickness = spacing_mm[0] if slice_thickness_mm is None else slice_thickness_mm
    if thickness <= 0.0:
        raise ValueError(f"A slice thickness must be above 0 mm, not {thickness} mm.")
    excess = np.zeros((len(inserts), *shape), dtype=np.float64)
    for number, insert in enumerate(inserts):
        disc = _disc(geometry, insert)
        if psf_sigma_mm > 0.0:
            sigma = (psf_sigma_mm / spacing_mm[1], psf_sigma_mm / spacing_mm[2])
            disc = ndimage.gaussian_filter(disc, sigma, truncate=6.0)
        centre = origin_lps_mm[2] + np.arange(shape[0]) * spacing_mm[0]
        top = np.minimum(centre + 0.5 * thickness, insert.centre_lps_mm[2] + 0.5 * insert.length_mm)
        bottom = np.maximum(
            centre - 0.5 * thickness, insert.centre_lps_mm[2] - 0.5 * insert.length_mm
        )
        share = np.clip(top - bottom, 0.0, None) / thickness
        excess[number] = (insert.hu - background_hu) * share[:, np.newaxis, np.newaxis] * disc
    noise = np.random.default_rng(seed).normal(0.0, 1.0, size=shape) * noise_sd_hu
    hu = (background_hu + excess.sum(axis=0) + noise).astype(np.float32)
    labels = np.zeros(shape, dtype=np.uint8)
    for image, insert in zip(excess, inserts, strict=True):
        # Half the threshold's excess keeps noise at the far end of the blur out of the truth.
        belongs = image >= 0.5 * (LITERATURE.threshold_hu - background_hu)
        labels[belongs & (hu >= LITERATURE.threshold_hu)] = insert.label
    return CylinderPhantom(
        CtVolume(geometry, hu, mass_calibration_factor=MASS_CALIBRATION_FACTOR),
        LabelMap(geometry, labels),
        tuple(inserts),
        background_hu,
    )


def _disc(
    geometry: VolumeGeometry, insert: CylinderInsert
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return how much of each pixel lies inside the cross-section."""
    _, rows, columns = geometry.shape
    _, row_mm, column_mm = geometry.spacing_mm
    x0, y0, _ = geometry.position_lps_mm((0.0, 0.0, 0.0))
    fine = (np.arange(_SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - 0.5
    y = y0 + (np.arange(rows)[:, np.newaxis] + fine).ravel() * row_mm - insert.centre_lps_mm[1]
    x = (
        x0
        + (np.arange(columns)[:, np.newaxis] + fine).ravel() * column_mm
        - insert.centre_lps_mm[0]
    )
    inside = np.square(y)[:, np.newaxis] + np.square(x) <= insert.radius_mm**2
    shares = inside.reshape(rows, _SUPERSAMPLING, columns, _SUPERSAMPLING).mean(axis=(1, 3))
    return np.asarray(shares, dtype=np.float64)
