"""Noise in even tissue: its strength, its power spectrum, its correlation along z."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model_training.realism.scans import Scan, Slab
from model_training.realism.zones import Zone

SQUARE_PIXELS: Final = 24
"""Side of the squares in which noise is measured: 16 to 24 mm."""
SQUARES_PER_SLICE: Final = 8
TISSUE_HU: Final = (-10.0, 90.0)
"""Mean of a square of muscle, blood or organs."""
SMOOTHING_MM: Final = 3.0
FREQUENCIES_PER_MM: Final = np.linspace(0.0, 0.9, 19)
"""Bounds of the bins of the power spectrum."""


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise of a zone of a scan.

    ``spectrum`` is the share of the variance in each bin of ``FREQUENCIES_PER_MM``;
    ``correlation_along_z`` is that of the residues of neighbouring slices.
    """

    sd_hu: float
    mean_frequency_per_mm: float
    correlation_along_z: float
    spectrum: NDArray[np.float64]
    square_count: int


def noise_of(scan: Scan, zones: Sequence[NDArray[np.uint8]], zone: Zone) -> Noise | None:
    """Return the noise of a zone, or None where it has no even square."""
    spectra, deviations, correlations = [], [], []
    for slab, zone_image in zip(scan.slabs, zones, strict=True):
        for index, row, column in even_squares(slab, zone_image == zone):
            where = np.s_[row : row + SQUARE_PIXELS, column : column + SQUARE_PIXELS]
            residue = detrended(slab.hu[index][where])
            deviations.append(float(residue.std()))
            spectra.append(radial_power(residue, slab.pixel_mm))
            neighbour = index + 1 if index + 1 < len(slab.hu) else index - 1
            other = detrended(slab.hu[neighbour][where])
            correlations.append(float((residue * other).mean() / (residue.std() * other.std())))
    if not spectra:
        return None
    spectrum = np.mean(spectra, axis=0)
    spectrum /= spectrum.sum()
    middles = 0.5 * (FREQUENCIES_PER_MM[1:] + FREQUENCIES_PER_MM[:-1])
    return Noise(
        sd_hu=float(np.median(deviations)),
        mean_frequency_per_mm=float(spectrum @ middles),
        correlation_along_z=float(np.median(correlations)),
        spectrum=spectrum,
        square_count=len(spectra),
    )


def even_squares(slab: Slab, mask: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return (slice, row, column) of the corners of the most even squares within a mask."""
    size, step = SQUARE_PIXELS, SQUARE_PIXELS // 2
    found = []
    for index, (image, inside) in enumerate(zip(slab.hu, mask, strict=True)):
        if inside.sum() < size * size:
            continue
        smooth = ndimage.gaussian_filter(image, SMOOTHING_MM / slab.pixel_mm)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        candidates = []
        for row in range(int(rows[0]), int(rows[-1]) - size + 2, step):
            for column in range(int(columns[0]), int(columns[-1]) - size + 2, step):
                where = np.s_[row : row + size, column : column + size]
                if not inside[where].all():
                    continue
                if TISSUE_HU[0] <= smooth[where].mean() <= TISSUE_HU[1]:
                    candidates.append((float(np.ptp(smooth[where])), index, row, column))
        found += [corner[1:] for corner in sorted(candidates)[:SQUARES_PER_SLICE]]
    return found


def detrended(square: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a square without the surface of second order that fits it best."""
    size = square.shape[0]
    y, x = np.mgrid[-1.0 : 1.0 : size * 1j, -1.0 : 1.0 : size * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1).reshape(-1, 6)
    values = square.astype(np.float64).ravel()
    weights, *_ = np.linalg.lstsq(terms, values, rcond=None)
    residue: NDArray[np.float64] = (values - terms @ weights).reshape(square.shape)
    return residue


def radial_power(residue: NDArray[np.float64], pixel_mm: float) -> NDArray[np.float64]:
    """Return the power (HU2 mm2, summed over the plane) of a square per bin of frequency."""
    size = residue.shape[0]
    power = np.abs(np.fft.fft2(residue)) ** 2 * pixel_mm**2 / size**2
    frequency = np.fft.fftfreq(size, pixel_mm)
    radius = np.hypot(frequency[:, np.newaxis], frequency)
    sums, _ = np.histogram(radius, bins=FREQUENCIES_PER_MM, weights=power)
    return np.asarray(sums, dtype=np.float64)


def spectrum_distance(first: Noise, second: Noise) -> float:
    """Return the share of the variance that lies at other frequencies: 0 to 1."""
    return float(0.5 * np.abs(first.spectrum - second.spectrum).sum())
