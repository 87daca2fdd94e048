"""Attenuation of tissues, sharpness of edges, and what is dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import wasserstein_distance

from calcium_scoring.scoring.protocol import LITERATURE
from model_training.realism.scans import Scan
from model_training.realism.zones import MEASURED_ZONES, Mask, Zone, shrunk

DENSE_HU: Final = LITERATURE.threshold_hu
MOST_SAMPLES: Final = 20_000
_BIN_HU: Final = 4.0
_EIGHT: Final = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Tissue:
    """Which voxels show a tissue: a zone without its rim, and a range of HU."""

    name: str
    zones: tuple[Zone, ...]
    range_hu: tuple[float, float]
    rim_mm: float = 0.0


TISSUES: Final = (
    Tissue("fat of the wall", (Zone.WALL,), (-200.0, -20.0), 2.0),
    Tissue("muscle of the wall", (Zone.WALL,), (-20.0, 130.0), 2.0),
    Tissue("fat around the heart", (Zone.HEART,), (-200.0, -20.0), 3.0),
    Tissue("blood and heart muscle", (Zone.HEART,), (-20.0, 130.0), 6.0),
    Tissue("whole heart", (Zone.HEART,), (-300.0, 1500.0), 3.0),
    Tissue("mediastinum", (Zone.MEDIASTINUM,), (-200.0, 300.0), 3.0),
    Tissue("lung", (Zone.LUNG,), (-1000.0, 100.0), 2.0),
    Tissue("bone", (Zone.BONE,), (-200.0, 2000.0)),
    Tissue("abdomen", (Zone.ABDOMEN,), (-200.0, 300.0), 3.0),
)


def tissue_samples(
    scan: Scan, zones: Sequence[NDArray[np.uint8]], tissue: Tissue, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return HU of a tissue, drawn at random from all of its voxels in the scan."""
    found = []
    for slab, zone_image in zip(scan.slabs, zones, strict=True):
        for image, plane in zip(slab.hu, zone_image, strict=True):
            mask = np.isin(plane, tissue.zones)
            if tissue.rim_mm:
                mask = shrunk(mask, tissue.rim_mm / slab.pixel_mm)
            values = image[mask]
            low, high = tissue.range_hu
            found.append(values[(values >= low) & (values <= high)])
    samples = np.concatenate(found) if found else np.zeros(0, dtype=np.float32)
    if samples.size > MOST_SAMPLES:
        samples = rng.choice(samples, MOST_SAMPLES, replace=False)
    return samples


@dataclass(frozen=True)
class Peak:
    """The peak of a histogram."""

    position_hu: float
    width_hu: float
    """Full width at half of the height."""


def peak_of(samples: NDArray[np.float32]) -> Peak | None:
    """Return where most voxels are; None for less than 100 of them."""
    if samples.size < 100:
        return None
    bounds = np.arange(samples.min() - 5 * _BIN_HU, samples.max() + 6 * _BIN_HU, _BIN_HU)
    counts, _ = np.histogram(samples, bins=bounds)
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 2.0)
    top = int(smooth.argmax())
    high = smooth >= 0.5 * smooth[top]
    left, right = top, top
    while left > 0 and high[left - 1]:
        left -= 1
    while right < high.size - 1 and high[right + 1]:
        right += 1
    return Peak(float(bounds[top] + 0.5 * _BIN_HU), float((right - left + 1) * _BIN_HU))


def tissue_distance_hu(first: NDArray[np.float32], second: NDArray[np.float32]) -> float | None:
    """Return the Wasserstein distance of two samples: mean shift in HU that makes them equal."""
    if min(first.size, second.size) < 100:
        return None
    return float(wasserstein_distance(first, second))


@dataclass(frozen=True)
class DenseSpots:
    """What has at least 130 HU in a zone, by slice.

    ``count_per_slice`` and the areas are those of 8-connected components within a slice.
    """

    share: float
    count_per_slice: float
    median_area_mm2: float
    high_area_mm2: float
    """90th percentile."""
    tiny_share: float
    """Share of components below 1 mm2: noise, mostly."""


def dense_spots(scan: Scan, zones: Sequence[NDArray[np.uint8]], zone: Zone) -> DenseSpots | None:
    """Return the dense components of a zone, or None where the scan does not show it."""
    areas: list[float] = []
    voxels = dense_voxels = slices = 0
    for slab, zone_image in zip(scan.slabs, zones, strict=True):
        for image, plane in zip(slab.hu, zone_image, strict=True):
            mask = plane == zone
            if not mask.any():
                continue
            dense = mask & (image >= DENSE_HU)
            labels, count = ndimage.label(dense, structure=_EIGHT)
            if count:
                areas += (np.bincount(labels.ravel())[1:] * slab.pixel_mm**2).tolist()
            voxels += int(mask.sum())
            dense_voxels += int(dense.sum())
            slices += 1
    if not slices:
        return None
    return DenseSpots(
        share=dense_voxels / voxels,
        count_per_slice=len(areas) / slices,
        median_area_mm2=float(np.median(areas)) if areas else 0.0,
        high_area_mm2=float(np.percentile(areas, 90)) if areas else 0.0,
        tiny_share=float(np.mean(np.array(areas) < 1.0)) if areas else 0.0,
    )


def edge_widths_mm(scan: Scan, zones: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    """Return the median width of the edges of skin, lung and bone: step over steepest slope."""
    widths: dict[str, list[NDArray[np.float64]]] = {"skin": [], "heart and lung": [], "bone": []}
    for slab, zone_image in zip(scan.slabs, zones, strict=True):
        for image, plane in zip(slab.hu, zone_image, strict=True):
            inside = plane != Zone.OUTSIDE
            heart, lung = plane == Zone.HEART, plane == Zone.LUNG
            borders: dict[str, tuple[Mask, float]] = {
                "skin": (inside & _touches(~inside), 500.0),
                "heart and lung": (heart & _touches(lung), 500.0),
                "bone": ((plane == Zone.BONE) & _touches(plane == Zone.WALL), 150.0),
            }
            for name, (border, least_step_hu) in borders.items():
                found = _widths(image, border, slab.pixel_mm, least_step_hu)
                if found.size:
                    widths[name].append(found)
    return {
        name: float(np.median(np.concatenate(values))) for name, values in widths.items() if values
    }


def dense_shares(scan: Scan, zones: Sequence[NDArray[np.uint8]]) -> dict[Zone, DenseSpots]:
    """Return the dense components of every zone that the scan shows."""
    found = {zone: dense_spots(scan, zones, zone) for zone in MEASURED_ZONES}
    return {zone: spots for zone, spots in found.items() if spots is not None}


def _touches(mask: Mask) -> Mask:
    return np.asarray(ndimage.binary_dilation(mask, structure=_EIGHT), dtype=bool)


def _widths(
    image: NDArray[np.float32], border: Mask, pixel_mm: float, least_step_hu: float
) -> NDArray[np.float64]:
    if not border.any():
        return np.zeros(0)
    size = 2 * round(3.0 / pixel_mm) + 1
    step = ndimage.maximum_filter(image, size) - ndimage.minimum_filter(image, size)
    across, along = np.gradient(image, pixel_mm)
    slope = ndimage.maximum_filter(np.hypot(across, along), 3)
    kept = border & (step >= least_step_hu)
    return np.asarray(step[kept] / slope[kept], dtype=np.float64)
