"""The scanner of the phantom: grid, slice profile, in-plane point spread, quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from calcium_scoring.phantom.settings import ScanSettings
from calcium_scoring.volume.ct_volume import AIR_HU, HuSlice
from calcium_scoring.volume.geometry import VolumeGeometry

PLANE_PITCH_MM: Final = 1.7
"""Largest distance of the thin planes of which a slice is the weighted mean."""
HIGHEST_HU: Final = 3071.0
"""Highest value of a 12-bit CT scale."""
PROFILE_EDGE: Final = 0.12
"""Standard deviation of the blur of the slice profile's edges, as a share of the thickness."""
ENHANCEMENT_RANGE: Final = 2.0
"""Width of the negative lobe of an edge-enhancing kernel, in widths of its peak."""

CALCIUM_HU_BY_KVP: Final = {70: 1.59, 80: 1.36, 100: 1.115, 120: 1.0, 135: 0.91, 140: 0.89}
"""Attenuation of calcium relative to 120 kVp: the ratio of the adapted bound of 400 HU of the
Agatston score (Graeni 2018, doi 10.1093/ehjci/jey019); 140 kVp is continued, our choice."""

FloatImage = NDArray[np.float32]


def slice_sensitivity(offset_mm: NDArray[np.float64], thickness_mm: float) -> NDArray[np.float64]:
    """Return the sensitivity per mm at a distance from the slice centre: a rectangle, blurred."""
    edge = np.sqrt(2.0) * PROFILE_EDGE * thickness_mm
    upper = special.erf((offset_mm + 0.5 * thickness_mm) / edge)
    lower = special.erf((offset_mm - 0.5 * thickness_mm) / edge)
    return np.asarray(0.5 * (upper - lower) / thickness_mm)


@dataclass(frozen=True, eq=False)
class Scanner:
    """A scan's grid and everything linear that it does to an object.

    ``centre_lps_mm`` is the middle of the scanned block.
    """

    settings: ScanSettings
    centre_lps_mm: tuple[float, float, float]

    @cached_property
    def geometry(self) -> VolumeGeometry:
        """The grid of the scan; slices ascend in z."""
        settings = self.settings
        count, size = settings.slice_count, settings.matrix_size
        pixel, spacing = settings.pixel_spacing_mm, settings.spacing_between_slices_mm
        x, y, z = self.centre_lps_mm
        half = 0.5 * (size - 1) * pixel
        origin = (x - half, y - half, z - 0.5 * (count - 1) * spacing)
        return VolumeGeometry.axial((count, size, size), (spacing, pixel, pixel), origin)

    @cached_property
    def origin(self) -> NDArray[np.float64]:
        """Centre of voxel (0, 0, 0) as x, y, z."""
        return np.asarray(self.geometry.affine[:3, 3])

    @cached_property
    def plane_pitch_mm(self) -> float:
        """Distance of the thin planes that are rendered; a whole fraction of the spacing."""
        spacing = self.settings.spacing_between_slices_mm
        return spacing / ceil(spacing / PLANE_PITCH_MM - 1e-9)

    def planes_of_slice(self, slice_index: int) -> list[tuple[int, float]]:
        """Return the planes of a slice and their weights; plane p lies p pitches above slice 0."""
        pitch = self.plane_pitch_mm
        per_slice = round(self.settings.spacing_between_slices_mm / pitch)
        reach = ceil(0.75 * self.settings.slice_thickness_mm / pitch)
        offsets = np.arange(-reach, reach + 1)
        weights = slice_sensitivity(
            np.asarray(offsets * pitch, dtype=np.float64), self.settings.slice_thickness_mm
        )
        weights /= weights.sum()
        return [
            (slice_index * per_slice + int(offset), float(weight))
            for offset, weight in zip(offsets, weights, strict=True)
            if weight > 0.01
        ]

    def blurred(self, image: FloatImage) -> FloatImage:
        """Return an image after the in-plane point spread."""
        sigma = self.settings.psf_sigma_mm / self.settings.pixel_spacing_mm
        peak = ndimage.gaussian_filter(image, sigma, truncate=3.5)
        if self.settings.edge_enhancement:
            wide = ndimage.gaussian_filter(image, ENHANCEMENT_RANGE * sigma, truncate=3.5)
            peak += np.float32(self.settings.edge_enhancement) * (peak - wide)
        result: FloatImage = peak
        return result

    @cached_property
    def calcium_factor(self) -> float:
        """Attenuation of calcium, bone and iodine relative to 120 kVp."""
        voltages, factors = zip(*CALCIUM_HU_BY_KVP.items(), strict=True)
        return float(np.interp(self.settings.kvp, voltages, factors))

    @property
    def blur_reach_mm(self) -> float:
        """How far from a point its image reaches."""
        width = ENHANCEMENT_RANGE if self.settings.edge_enhancement else 1.0
        return 3.5 * width * self.settings.psf_sigma_mm

    @cached_property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Pixels inside the reconstructed circle."""
        size = self.settings.matrix_size
        offset = np.arange(size) - 0.5 * (size - 1)
        inside: NDArray[np.bool_] = np.hypot(offset[:, np.newaxis], offset) <= 0.5 * size
        return inside

    def reconstructed(self, image: FloatImage) -> HuSlice:
        """Return whole HU within the scanner's scale, and its padding outside the field of view."""
        values = np.clip(np.rint(image), AIR_HU, HIGHEST_HU).astype(np.float32)
        values[~self.field_of_view] = self.settings.padding_hu
        return values
