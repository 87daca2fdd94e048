"""One scan becomes many: thicker slices, a softer kernel, more noise, another field of view.

What is done here is linear in the pixels, so that it is done alike to the scan and to the calcium
that is added to it. Nothing is mirrored: the heart lies on the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.settings import BURDEN_RANGES
from calcium_scoring.scoring.categories import RISK_CATEGORIES
from calcium_scoring.volume.ct_volume import AIR_HU
from calcium_scoring.volume.geometry import VolumeGeometry

THICKEST_SPACING_MM: Final = 5.0
"""Slices farther apart are refused by the service."""
THICKEST_SLICE_MM: Final = 7.5
"""Our choice: a mean of slices that are 5 mm thick already goes no farther."""
_NATIVE_ODDS: Final = 0.4
_BURDEN_ODDS: Final = (0.15, 0.1, 0.2, 0.25, 0.3)
"""Of the risk categories: more of the high ones than the simulator draws, since a moving heart in
thick slices loses much of what the noise-free reference scan sees. Our choice."""


@dataclass(frozen=True)
class SliceMerge:
    """New slices: the mean of ``width`` slices, every ``step`` slices, from ``first`` on."""

    first: int = 0
    step: int = 1
    width: int = 1

    def __post_init__(self) -> None:
        if self.first < 0 or min(self.step, self.width) < 1:
            raise ValueError(
                f"Slices are merged from 0 on, one or more at a time; not {self.first}, every "
                f"{self.step}, {self.width} at a time."
            )

    def sources(self, slice_count: int) -> list[range]:
        """Return the slices of which each new one is the mean."""
        starts = range(self.first, slice_count - self.width + 1, self.step)
        return [range(start, start + self.width) for start in starts]

    def geometry(self, geometry: VolumeGeometry) -> VolumeGeometry:
        """Return the grid of the new slices, each in the middle of its sources."""
        count = len(self.sources(geometry.shape[0]))
        affine = np.array(geometry.affine)
        affine[:3, 3] += affine[:3, 0] * (self.first + 0.5 * (self.width - 1))
        affine[:3, 0] *= self.step
        return VolumeGeometry((count, *geometry.shape[1:]), affine)

    def thickness_mm(self, slice_thickness_mm: float, spacing_mm: float) -> float:
        """Return the thickness of the new slices, about: what their sources cover."""
        return slice_thickness_mm + (self.width - 1) * spacing_mm


@dataclass(frozen=True)
class InsertionSettings:
    """How much calcium is inserted, and what else is changed; see :func:`sample_settings`.

    ``psf_factor`` multiplies the point spread of the marks, which is not known better than that.
    ``softening_sigma_mm`` blurs scan and calcium, as a softer kernel does; ``added_noise_hu`` is
    the standard deviation of correlated noise that is added. ``margin_mm`` cuts everything that is
    farther from the heart: (slices below and above, rows, columns); None keeps all.
    """

    burden_category: str = "11-100"
    confuser_rate: float = 1.0
    motion_mm: float = 0.0
    psf_factor: float = 1.0
    softening_sigma_mm: float = 0.0
    added_noise_hu: float = 0.0
    merge: SliceMerge = SliceMerge()
    margin_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.burden_category not in BURDEN_RANGES:
            raise ValueError(
                f"Burden category {self.burden_category!r} is unknown; "
                f"one of {', '.join(BURDEN_RANGES)} is accepted."
            )
        amounts = (
            self.confuser_rate, self.motion_mm, self.softening_sigma_mm, self.added_noise_hu,
        )  # fmt: skip
        if min(amounts) < 0.0 or self.psf_factor <= 0.0:
            raise ValueError(f"Amounts cannot be negative: {amounts}, {self.psf_factor}.")


def sample_settings(
    geometry: VolumeGeometry, slice_thickness_mm: float, rng: np.random.Generator
) -> InsertionSettings:
    """Draw what is inserted into a scan and how the scan is varied. Ranges are our choice."""
    whole = rng.random() < 0.4
    margins = rng.uniform((8.0, 12.0, 12.0), (60.0, 60.0, 60.0))
    is_softened, is_noisier = rng.random(2) < (0.35, 0.5)
    return InsertionSettings(
        burden_category=str(rng.choice(RISK_CATEGORIES, p=_BURDEN_ODDS)),
        confuser_rate=float(rng.choice([0.0, 0.5, 1.0, 2.0], p=[0.2, 0.3, 0.3, 0.2])),
        motion_mm=float(min(8.0, rng.gamma(2.0, 1.3))),
        psf_factor=float(rng.uniform(0.85, 1.2)),
        softening_sigma_mm=float(rng.uniform(0.25, 0.8)) if is_softened else 0.0,
        added_noise_hu=float(rng.uniform(3.0, 18.0)) if is_noisier else 0.0,
        merge=_sample_merge(geometry.spacing_between_slices_mm, slice_thickness_mm, rng),
        margin_mm=None if whole else (float(margins[0]), float(margins[1]), float(margins[2])),
    )


def merged(volume: NDArray[np.float32], sources: range) -> NDArray[np.float32]:
    """Return the mean of neighbouring slices (slice, row, column)."""
    return np.asarray(volume[sources.start : sources.stop].mean(axis=0), dtype=np.float32)


def softened(image: NDArray[np.float32], sigma_pixels: float) -> NDArray[np.float32]:
    """Return a slice after a softer kernel; what pads the field of view stays as it is."""
    if not sigma_pixels:
        return image
    blurred = np.asarray(ndimage.gaussian_filter(image, sigma_pixels), dtype=np.float32)
    is_padding = image <= AIR_HU
    blurred[is_padding] = image[is_padding]
    return blurred


def near_heart(
    geometry: VolumeGeometry, heart: NDArray[np.bool_], margin_mm: tuple[float, float, float]
) -> tuple[slice, slice, slice]:
    """Return the box around the heart, wider by a margin in each direction."""
    bounds = []
    for axis, (margin, spacing) in enumerate(zip(margin_mm, geometry.spacing_mm, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(heart.any(axis=others))
        reach = round(margin / spacing)
        bounds.append(slice(max(0, int(inside[0]) - reach), int(inside[-1]) + reach + 1))
    return bounds[0], bounds[1], bounds[2]


def _sample_merge(
    spacing_mm: float, slice_thickness_mm: float, rng: np.random.Generator
) -> SliceMerge:
    if rng.random() < _NATIVE_ODDS:
        return SliceMerge()
    most = max(1, int(THICKEST_SPACING_MM / spacing_mm + 1e-6))
    step = int(rng.integers(1, most + 1))
    # Contiguous, overlapping, or thinner slices than their distance.
    width = step if rng.random() < 0.6 else int(rng.integers(1, 2 * step + 1))
    widest = max(1, 1 + int((THICKEST_SLICE_MM - slice_thickness_mm) / spacing_mm + 1e-6))
    return SliceMerge(int(rng.integers(0, step)), step, min(width, widest))
