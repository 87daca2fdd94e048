"""Random changes of pose and of Hounsfield values; deterministic by the generator given.

There are no flips: anatomy has sides, and a heart on the right would only teach to ignore them.
Ranges are our choice. The distance between slices is never changed here, since slices are never
interpolated when serving; it varies from case to case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges of the random changes; all zero means none."""

    max_scale_change: float = 0.15
    """Scale is drawn log-uniformly from [1 / (1 + m), 1 + m]."""
    max_rotation_degrees: float = 12.0
    max_shift_mm: float = 25.0
    """How far the sampled voxel may lie from the middle of the crop, along row and column."""
    max_hu_offset: float = 12.0
    """Scanners agree on soft tissue within about 10 HU."""
    max_contrast_change: float = 0.05
    """Scaling of HU about water, as between kernels and calibrations."""
    max_noise_hu: float = 12.0
    """Standard deviation of the noise that is added, drawn from [0, m]."""
    max_noise_smoothing_pixels: float = 0.0
    """The noise is smoothed by a Gaussian of up to this width first, as kernels do."""
    sharpness_part: float = 0.0
    """Part of the crops that are blurred or sharpened, as by another kernel."""
    max_blur_pixels: float = 0.6
    max_sharpening: float = 0.6
    """Up to this share of what a Gaussian of a pixel takes away is added."""
    slice_skip_part: float = 0.0
    """Part of the crops that see only every second slice, as of a scan of twice the spacing; only
    where the spacing stays within ``max_skipped_spacing_mm``."""
    max_skipped_spacing_mm: float = 3.0

    @property
    def is_off(self) -> bool:
        """Whether nothing is changed."""
        return self == NO_AUGMENTATION


NO_AUGMENTATION = AugmentationConfig(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def random_slice_step(
    config: AugmentationConfig, spacing_between_slices_mm: float, rng: np.random.Generator
) -> int:
    """Draw how many slices a step to the neighbouring slice of a window takes."""
    is_skipping = rng.uniform() < config.slice_skip_part
    return (
        2 if is_skipping and 2.0 * spacing_between_slices_mm <= config.max_skipped_spacing_mm else 1
    )


@dataclass(frozen=True)
class Pose:
    """How a crop lies on its slice: a pixel covers ``scale`` times the model's pixel spacing."""

    scale: float
    rotation_degrees: float
    shift_mm: tuple[float, float]
    """Where the middle of the crop lies from the sampled voxel, (row, column)."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(2, 2) from crop offsets to slice offsets, (row, column), both in mm."""
        angle = math.radians(self.rotation_degrees)
        rotation = np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        return self.scale * rotation


def random_pose(config: AugmentationConfig, rng: np.random.Generator) -> Pose:
    """Draw a pose."""
    limit = math.log1p(config.max_scale_change)
    row_mm, column_mm = rng.uniform(-config.max_shift_mm, config.max_shift_mm, 2)
    return Pose(
        scale=math.exp(rng.uniform(-limit, limit)),
        rotation_degrees=float(
            rng.uniform(-config.max_rotation_degrees, config.max_rotation_degrees)
        ),
        shift_mm=(float(row_mm), float(column_mm)),
    )


def jitter_hu(
    hu: NDArray[np.float32], config: AugmentationConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return (slice, row, column) HU with random sharpness, offset, contrast and noise."""
    contrast = 1.0 + rng.uniform(-config.max_contrast_change, config.max_contrast_change)
    offset = rng.uniform(-config.max_hu_offset, config.max_hu_offset)
    noise_hu = rng.uniform(0.0, config.max_noise_hu)
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    if config.max_noise_smoothing_pixels:
        width = rng.uniform(0.0, config.max_noise_smoothing_pixels)
        noise = _blurred(noise, width)
        noise /= noise.std()
    if rng.uniform() < config.sharpness_part:
        if rng.uniform() < 0.5:
            hu = _blurred(hu, rng.uniform(0.0, config.max_blur_pixels))
        else:
            share = np.float32(rng.uniform(0.0, config.max_sharpening))
            hu = hu + share * (hu - _blurred(hu, 1.0))
    changed: NDArray[np.float32] = (
        hu * np.float32(contrast) + np.float32(offset) + np.float32(noise_hu) * noise
    )
    return changed


def _blurred(planes: NDArray[np.float32], width_pixels: float) -> NDArray[np.float32]:
    """Return planes (slice, row, column) blurred in-plane."""
    blurred: NDArray[np.float32] = ndimage.gaussian_filter(
        planes, (0.0, width_pixels, width_pixels), truncate=3.0
    )
    return blurred
