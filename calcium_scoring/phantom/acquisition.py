"""The scanner of the phantom: slice profile, in-plane point spread, motion, noise, quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special

from calcium_scoring.phantom.settings import ScanSettings
from calcium_scoring.volume.ct_volume import AIR_HU, HuArray
from calcium_scoring.volume.geometry import VolumeGeometry

PLANE_PITCH_MM: Final = 1.7
"""Largest distance of the thin planes of which a slice is the weighted mean."""
HIGHEST_HU: Final = 3071.0
"""Highest value of a 12-bit CT scale."""
PROFILE_EDGE: Final = 0.12
"""Standard deviation of the blur of the slice profile's edges, as a share of the thickness."""
ENHANCEMENT_RANGE: Final = 2.0
"""Width of the negative lobe of an edge-enhancing kernel, in widths of its peak."""

STREAK_SIGMA_MM: Final = 2.5
"""Length of the horizontal streaks where few photons pass from side to side. Our choice: the noise
of low-dose chest CT is alike over about 3 mm along a row."""

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

    ``centre_lps_mm`` is the middle of the scanned block; ``motion_directions`` holds one in-plane
    vector (x, y) a slice, of at most unit length, by which the motion is multiplied.
    """

    settings: ScanSettings
    centre_lps_mm: tuple[float, float, float]
    motion_directions: NDArray[np.float64]

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

    @property
    def blur_reach_mm(self) -> float:
        """How far from a point its image reaches, motion included."""
        width = ENHANCEMENT_RANGE if self.settings.edge_enhancement else 1.0
        return 3.5 * width * self.settings.psf_sigma_mm + 0.5 * self.settings.motion_mm

    def moved(self, image: FloatImage, slice_index: int) -> FloatImage:
        """Return an image smeared along the motion of its slice; the sum is conserved."""
        if not self.settings.motion_mm:
            return image
        dx, dy = self.motion_directions[slice_index] * self.settings.motion_mm
        pixel = self.settings.pixel_spacing_mm
        total = np.zeros_like(image)
        shares = np.linspace(-0.5, 0.5, max(3, ceil(self.settings.motion_mm / pixel) + 1))
        for share in shares:
            shift = (share * dy / pixel, share * dx / pixel)
            total += ndimage.shift(image, shift, order=1, mode="nearest")
        total /= np.float32(len(shares))
        return total

    @cached_property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Pixels inside the reconstructed circle."""
        size = self.settings.matrix_size
        offset = np.arange(size) - 0.5 * (size - 1)
        inside: NDArray[np.bool_] = np.hypot(offset[:, np.newaxis], offset) <= 0.5 * size
        return inside

    @cached_property
    def _noise_filter(self) -> NDArray[np.float32]:
        """Amplitude of the noise per frequency: the ramp of back projection times the kernel."""
        size, pixel = self.settings.matrix_size, self.settings.pixel_spacing_mm
        row = fft.fftfreq(size, pixel)[:, np.newaxis]
        column = fft.rfftfreq(size, pixel)[np.newaxis]
        squared = row**2 + column**2
        sigma = self.settings.psf_sigma_mm
        kernel = np.exp(-2.0 * (np.pi * sigma) ** 2 * squared)
        enhancement = self.settings.edge_enhancement
        if enhancement:
            wide = np.exp(-2.0 * (np.pi * ENHANCEMENT_RANGE * sigma) ** 2 * squared)
            kernel = kernel + enhancement * (kernel - wide)
        # The power of filtered back projection grows with the frequency, hence the root.
        amplitude = np.sqrt(np.sqrt(squared) + 0.01) * kernel
        power = np.square(amplitude)
        weight = np.where((column == 0) | (column == column.max()), 1.0, 2.0)
        amplitude /= np.sqrt((power * weight).sum() / size**2)
        return amplitude.astype(np.float32)

    def noise(self, rng: np.random.Generator, shoulder_share: float) -> FloatImage:
        """Return the noise of one slice, strongest in the middle of the body.

        ``shoulder_share`` (0 to 1) adds to the horizontal streaks, as wide shoulders do.
        """
        size = self.settings.matrix_size
        if not self.settings.noise_sd_hu:
            return np.zeros((size, size), dtype=np.float32)
        white = rng.standard_normal((size, size), dtype=np.float32)
        spectrum = fft.rfft2(white)
        spectrum *= self._noise_filter
        noise: FloatImage = np.asarray(fft.irfft2(spectrum, s=(size, size)), dtype=np.float32)
        streak_share = min(1.5, self.settings.streak_share + shoulder_share)
        if streak_share > 0.0:
            streaks = rng.standard_normal((size, size), dtype=np.float32)
            sigma = STREAK_SIGMA_MM / self.settings.pixel_spacing_mm
            streaks = ndimage.gaussian_filter1d(streaks, sigma, axis=1, truncate=3.0)
            thin = self.settings.psf_sigma_mm / self.settings.pixel_spacing_mm
            streaks = ndimage.gaussian_filter1d(streaks, thin, axis=0, truncate=3.0)
            noise += np.float32(streak_share / streaks.std()) * streaks
            noise /= np.float32(np.hypot(1.0, streak_share))
        scaled: FloatImage = noise * self._noise_profile * np.float32(self.settings.noise_sd_hu)
        return scaled

    @cached_property
    def _noise_profile(self) -> NDArray[np.float32]:
        size, pixel = self.settings.matrix_size, self.settings.pixel_spacing_mm
        offset = (np.arange(size) - 0.5 * (size - 1)) * pixel
        squared = np.square(offset[:, np.newaxis] / 130.0) + np.square(offset / 150.0)
        return np.asarray(0.6 + 0.45 * np.exp(-0.7 * squared), dtype=np.float32)

    def reconstructed(self, image: FloatImage) -> HuArray:
        """Return whole HU within the scanner's scale, and air outside the field of view."""
        values = np.clip(np.rint(image), AIR_HU, HIGHEST_HU).astype(np.float32)
        values[~self.field_of_view] = AIR_HU
        return values
