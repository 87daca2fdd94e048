"""Beam hardening and metal streaks: errors of the projections, reconstructed.

Dense matter hardens the beam, so that rays through much of it are measured too low: dark bands
between dense things and beside them. Metal adds rays that disagree with each other and rays that
nearly nothing passes. Strengths are our choice, set by looking at chest CT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from calcium_scoring.phantom.projections import (
    WATER_PER_MM,
    FloatImage,
    coarse,
    enlarged,
    projector,
)

DENSE_HU: Final = 130.0
"""What is denser hardens the beam more than the water that scanners correct for."""
_HARDENING: Final = 0.045
"""Shortfall per squared line integral of dense matter."""
_COARSE: Final = 128
_COARSE_ANGLES: Final = 60
_FINE: Final = 256
_FINE_ANGLES: Final = 150
_LARGEST_DISAGREEMENT: Final = 0.4
_SATURATION: Final = 0.4
_STARVATION: Final = 0.04
_STARVED_AT: Final = 6.0
_LARGEST_ERROR_HU: Final = 1200.0
_METAL_HU: Final = 1500.0
"""Metal itself stays bright: from here on the error no longer counts."""


@dataclass(frozen=True)
class StreakStyle:
    """How the metal of one scan streaks; drawn once, so that scans differ.

    ``disagreement`` is the share by which rays of different directions disagree, as of metal that
    moves; ``coherence_deg`` over how many degrees they do so alike; ``reduction`` what a metal
    artefact reduction leaves of it all.
    """

    disagreement: float
    coherence_deg: float
    reduction: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> StreakStyle:
        """Return the style of a scan."""
        return cls(
            disagreement=float(rng.uniform(0.1, 0.8)),
            coherence_deg=float(rng.uniform(1.0, 5.0)),
            reduction=float(rng.choice([1.0, rng.uniform(0.15, 0.6)], p=[0.75, 0.25])),
        )


def beam_hardening(hu: FloatImage, pixel_mm: float, strength: float) -> FloatImage:
    """Return the error in HU that dense matter makes in a slice; 0 mean over the slice, nearly.

    ``strength`` multiplies the usual shortfall; 0 is a scanner that corrects it all.
    """
    size = hu.shape[0]
    dense, factor = coarse(np.maximum(hu - np.float32(DENSE_HU), 0.0), _COARSE)
    if strength <= 0.0 or not dense.any():
        return np.zeros_like(hu)
    rays = projector(dense.shape[0], _COARSE_ANGLES)
    per_pixel = factor * pixel_mm * WATER_PER_MM / 1000.0
    integrals = rays.forward(dense) * np.float32(per_pixel)
    error = np.float32(-_HARDENING * strength) * np.square(integrals)
    image = rays.backprojected(error) / np.float32(per_pixel)
    return enlarged(image, factor, size)


def metal_streaks(
    metal: FloatImage, pixel_mm: float, style: StreakStyle, rng: np.random.Generator
) -> FloatImage:
    """Return the error in HU that metal makes in a slice.

    Parameters
    ----------
    metal
        What metal adds to the slice without noise, in HU (row, column).
    pixel_mm
        Spacing of the pixels.
    style
        How it streaks.
    rng
        Chance of the slice.
    """
    size = metal.shape[0]
    thin, factor = coarse(np.where(metal > 1.0, metal, np.float32(0.0)), _FINE)
    if not thin.any():
        return np.zeros_like(metal)
    rays = projector(thin.shape[0], _FINE_ANGLES)
    per_pixel = factor * pixel_mm * WATER_PER_MM / 1000.0
    integrals = rays.forward(thin) * np.float32(per_pixel)
    smoothing = style.coherence_deg * _FINE_ANGLES / 180.0
    wander = ndimage.gaussian_filter1d(rng.standard_normal(_FINE_ANGLES), smoothing, mode="wrap")
    wander *= style.disagreement / max(float(wander.std()), 1e-6)
    # Thick metal stops all rays alike: what disagrees is bounded.
    error = np.float32(_LARGEST_DISAGREEMENT) * np.tanh(integrals / _LARGEST_DISAGREEMENT)
    error *= (wander[:, np.newaxis] - 0.3 * style.disagreement).astype(np.float32)
    error -= np.float32(_SATURATION) * np.square(integrals) / (1.0 + 0.3 * integrals)
    starved = np.exp(0.5 * np.minimum(integrals, _STARVED_AT)) - 1.0
    error += np.float32(_STARVATION) * starved * rng.standard_normal(error.shape, dtype=np.float32)
    image = rays.backprojected(error.astype(np.float32)) / np.float32(per_pixel)
    np.clip(image, -_LARGEST_ERROR_HU, _LARGEST_ERROR_HU, out=image)
    outside = np.clip(1.0 - metal / np.float32(_METAL_HU), 0.0, 1.0)
    streaks = style.reduction * outside * enlarged(image, factor, size)
    return np.asarray(streaks, dtype=np.float32)
