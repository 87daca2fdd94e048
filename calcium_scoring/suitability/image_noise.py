"""How noisy a scan is where it matters: the standard deviation within soft tissue of the heart."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.errors import SeriesWarning
from calcium_scoring.model_input.heart_region import HeartRegion
from calcium_scoring.suitability.heart_voxels import coarse_index, heart_interior
from calcium_scoring.volume.ct_volume import CtVolume

LARGEST_NOISE_SD_HU: Final = 22.0
"""Above this the threshold of 130 HU is less than four standard deviations from blood of 42 HU, and
noise alone begins to reach it. Our choice."""

SOFT_TISSUE_HU: Final = (0.0, 90.0)
"""Mean of a block that counts: blood and muscle, neither fat nor calcium. Our choice."""

BLOCK_MM: Final = 5.0
"""Side of a block within a slice (our choice): small enough to lie within one tissue."""

MEASURED_SLICES: Final = 20
"""Slices of the heart that are looked at; our choice."""

MIN_BLOCKS: Final = 50
"""With fewer blocks nothing is said; our choice."""


def heart_noise_sd_hu(volume: CtVolume, region: HeartRegion) -> float | None:
    """Return the median standard deviation (HU) of 5 mm blocks of soft tissue within the heart.

    A block lies in one slice, so that neither spacing nor anatomy between slices counts as noise.
    None where the heart holds too few of them, as in a scan of its edge.
    """
    interior = heart_interior(region)
    rows, columns = (
        max(3, round(BLOCK_MM / spacing_mm)) for spacing_mm in volume.geometry.pixel_spacing_mm
    )
    _, row_count, column_count = volume.geometry.shape
    corners = np.stack(
        np.meshgrid(
            np.arange(0, row_count - rows + 1, rows),
            np.arange(0, column_count - columns + 1, columns),
            indexing="ij",
        ),
        axis=-1,
    ).reshape(-1, 2)
    deviations: list[NDArray[np.float32]] = []
    for number in _heart_slices(region):
        middles = np.column_stack(
            [np.full(len(corners), number), corners + np.array([rows // 2, columns // 2])]
        )
        inside = interior[coarse_index(region, middles)]
        windows = np.lib.stride_tricks.sliding_window_view(volume.slice_hu(number), (rows, columns))
        blocks = windows[corners[inside, 0], corners[inside, 1]].reshape(-1, rows * columns)
        means = blocks.mean(axis=1)
        is_soft = (means >= SOFT_TISSUE_HU[0]) & (means <= SOFT_TISSUE_HU[1])
        deviations.append(blocks[is_soft].std(axis=1, ddof=1))
    found = np.concatenate(deviations) if deviations else np.empty(0, dtype=np.float32)
    return float(np.median(found)) if found.size >= MIN_BLOCKS else None


def noise_warnings(volume: CtVolume, region: HeartRegion) -> tuple[SeriesWarning, ...]:
    """Warn of noise that reaches the calcium threshold."""
    noise_sd_hu = heart_noise_sd_hu(volume, region)
    if noise_sd_hu is None or noise_sd_hu <= LARGEST_NOISE_SD_HU:
        return ()
    return (
        SeriesWarning(
            "high_noise",
            f"The noise within the heart is {noise_sd_hu:.0f} HU (standard deviation); beyond "
            f"{LARGEST_NOISE_SD_HU:g} HU it begins to reach the threshold of 130 HU and may be "
            "counted as calcium or change its score.",
            {
                "noise_sd_hu": round(noise_sd_hu, 1),
                "largest_noise_sd_hu": LARGEST_NOISE_SD_HU,
            },
        ),
    )


def _heart_slices(region: HeartRegion) -> NDArray[np.int_]:
    """Return up to MEASURED_SLICES slices of the scan, spread over the height of the heart."""
    slice_count = region.native.shape[0]
    index = np.column_stack([np.arange(slice_count), np.zeros((slice_count, 2), dtype=np.int_)])
    has_heart = (region.distance_mm == 0.0).any(axis=(1, 2))[coarse_index(region, index)[0]]
    slices = np.flatnonzero(has_heart)
    if slices.size > MEASURED_SLICES:
        slices = slices[np.linspace(0, slices.size - 1, MEASURED_SLICES).round().astype(np.int_)]
    return slices
