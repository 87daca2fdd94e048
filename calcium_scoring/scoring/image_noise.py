"""The noise of a scan, from its own soft tissue: how strong, and how alike in neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.volume.ct_volume import CtVolume

SOFT_TISSUE_HU: Final = (20.0, 80.0)
"""Mean of a block that counts: blood and muscle, neither fat nor bone. Our choice."""
BLOCK_MM: Final = 6.0
"""Side of a block (our choice): small enough to lie within one tissue."""
MEASURED_PAIRS: Final = 10
"""Pairs of neighbouring slices that are looked at, spread over the slices asked for. Our choice."""
MIN_BLOCKS: Final = 40
"""With fewer blocks there is hardly any soft tissue; our choice."""


@dataclass(frozen=True)
class ImageNoise:
    """Noise of a scan: its standard deviation, and its correlation between neighbours.

    Correlations (-1 to 1) are those of voxels next to each other along each axis.
    """

    sd_hu: float
    slice_correlation: float
    row_correlation: float
    column_correlation: float


def measure_noise(volume: CtVolume, slices: tuple[int, int] | None = None) -> ImageNoise | None:
    """Measure the noise in blocks of soft tissue; None where the scan holds too little of it.

    Medians over blocks: a block that holds an edge of an organ has a say like any other, no more.
    ``slices`` are the first and last slice to look at; by default the middle four fifths.
    """
    count = volume.geometry.shape[0]
    first, last = slices or (int(0.1 * (count - 1)), int(0.9 * (count - 1)))
    first = max(0, min(first, count - 2))
    last = min(max(last, first + 1), count - 1)
    lower = np.unique(np.linspace(first, last - 1, MEASURED_PAIRS).round().astype(int))
    spacing = volume.geometry.pixel_spacing_mm
    found = [
        _block_statistics(
            volume.slice_hu(index), volume.slice_hu(min(index + 1, count - 1)), spacing
        )
        for index in lower
    ]
    statistics = np.concatenate(found, axis=1)
    if statistics.shape[1] < MIN_BLOCKS:
        return None
    variance, between, along_rows, along_columns = np.median(statistics, axis=1)
    if variance <= 0.0:
        return ImageNoise(0.0, 0.0, 0.0, 0.0)
    # The mean square of a difference of neighbours is 2 variance (1 - correlation).
    correlations = 1.0 - np.array([between, along_rows, along_columns]) / (2.0 * variance)
    slice_, row, column = np.clip(correlations, -1.0, 1.0).tolist()
    return ImageNoise(float(np.sqrt(variance)), slice_, row, column)


def _block_statistics(
    hu: NDArray[np.float32], above: NDArray[np.float32], pixel_spacing_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """Return (4, blocks): variance, mean square differences to slice, row, column neighbours."""
    rows, columns = (
        min(extent, max(3, round(BLOCK_MM / spacing)))
        for extent, spacing in zip(hu.shape, pixel_spacing_mm, strict=True)
    )
    blocks, upper = _blocks(hu, rows, columns), _blocks(above, rows, columns)
    means, upper_means = blocks.mean(axis=(1, 2)), upper.mean(axis=(1, 2))
    low, high = SOFT_TISSUE_HU
    is_soft = (means >= low) & (means <= high) & (upper_means >= low) & (upper_means <= high)
    chosen = blocks[is_soft] - means[is_soft, np.newaxis, np.newaxis]
    other = upper[is_soft] - upper_means[is_soft, np.newaxis, np.newaxis]
    return np.stack(
        [
            chosen.var(axis=(1, 2), ddof=1),
            # Two slices whose block means were taken off have lost one value in rows x columns.
            np.square(chosen - other).sum(axis=(1, 2)) / (rows * columns - 1),
            np.square(np.diff(chosen, axis=1)).mean(axis=(1, 2)),
            np.square(np.diff(chosen, axis=2)).mean(axis=(1, 2)),
        ]
    )


def _blocks(hu: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float64]:
    down, across = hu.shape[0] // rows, hu.shape[1] // columns
    return (
        hu[: down * rows, : across * columns]
        .reshape(down, rows, across, columns)
        .transpose(0, 2, 1, 3)
        .reshape(down * across, rows, columns)
        .astype(np.float64)
    )
