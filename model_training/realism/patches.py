"""Small pictures of scans and figures that describe them, for telling real from simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model_training.realism.scans import AIR_HU, Scan, Slab
from model_training.realism.zones import MEASURED_ZONES, Zone

PatchPair: TypeAlias = NDArray[np.float32]

PATCH_PIXELS: Final = 64
PATCH_PIXEL_MM: Final = 0.7
PATCHES_PER_ZONE_AND_SLICE: Final = 5

_BANDS_PER_MM: Final = ((0.02, 0.08), (0.08, 0.18), (0.18, 0.32), (0.32, 0.5), (0.5, 0.72))


@dataclass(frozen=True, eq=False)
class Patch:
    """A patch and the same place in the next slice.

    ``hu`` is (2, 64, 64) at 0.7 mm; ``zone`` is that of the middle.
    """

    hu: PatchPair
    zone: Zone
    scan_name: str
    slice_name: str


def cut_patches(
    scan: Scan, zones: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> list[Patch]:
    """Return patches around random voxels of every zone of every slice."""
    patches = []
    for slab, zone_image in zip(scan.slabs, zones, strict=True):
        for index in range(len(slab.hu)):
            neighbour = index + 1 if index + 1 < len(slab.hu) else index - 1
            for zone in MEASURED_ZONES:
                places = np.argwhere(zone_image[index] == zone)
                if len(places) < 200:
                    continue
                chosen = rng.choice(len(places), PATCHES_PER_ZONE_AND_SLICE, replace=False)
                patches += [
                    Patch(
                        _cut(slab, (index, neighbour), places[place]),
                        zone,
                        scan.name,
                        f"{scan.name} {slab.level} {index}",
                    )
                    for place in chosen
                ]
    return patches


def _cut(slab: Slab, slices: tuple[int, int], centre: NDArray[np.int64]) -> PatchPair:
    offsets = (np.arange(PATCH_PIXELS) - 0.5 * (PATCH_PIXELS - 1)) * PATCH_PIXEL_MM / slab.pixel_mm
    rows, columns = np.meshgrid(centre[0] + offsets, centre[1] + offsets, indexing="ij")
    planes = [
        ndimage.map_coordinates(slab.hu[index], [rows, columns], order=1, cval=AIR_HU)
        for index in slices
    ]
    return np.stack(planes).astype(np.float32)


def describe(patch: Patch) -> dict[str, float]:
    """Return figures of a patch: attenuation, edges, texture, noise, continuity along z."""
    image, other = patch.hu.astype(np.float64)
    figures = {
        f"HU {percent}th percentile": float(np.percentile(image, percent))
        for percent in (2, 10, 25, 50, 75, 90, 98)
    }
    for name, low, high in _RANGES_HU:
        figures[f"share {name}"] = float(np.mean((image >= low) & (image < high)))
    figures |= _edge_figures(image)
    figures |= _texture_figures(image)
    solid = (image > -50.0) & (image < 110.0)
    figures["mean HU of solid tissue"] = float(image[solid].mean()) if solid.any() else 0.0
    figures["SD of solid tissue"] = float(image[solid].std()) if solid.any() else 0.0
    fat = (image > -150.0) & (image < -40.0)
    figures["mean HU of fat"] = float(image[fat].mean()) if fat.any() else -100.0
    change = other - image
    figures["change to next slice, median"] = float(np.median(np.abs(change)))
    figures["change to next slice, 95th percentile"] = float(np.percentile(np.abs(change), 95))
    fine, fine_other = _fine(image), _fine(other)
    figures["fine detail shared with next slice"] = float(
        (fine * fine_other).mean() / (fine.std() * fine_other.std() + 1e-6)
    )
    return figures


_RANGES_HU: Final = (
    ("air", -1001.0, -950.0),
    ("lung", -950.0, -700.0),
    ("between lung and fat", -700.0, -150.0),
    ("fat", -150.0, -50.0),
    ("between fat and muscle", -50.0, 10.0),
    ("soft", 10.0, 90.0),
    ("90 to 130 HU", 90.0, 130.0),
    ("dense", 130.0, 300.0),
    ("very dense", 300.0, 4000.0),
)


def _edge_figures(image: NDArray[np.float64]) -> dict[str, float]:
    slope = np.hypot(*np.gradient(image, PATCH_PIXEL_MM))
    figures = {
        f"slope {percent}th percentile": float(np.log1p(np.percentile(slope, percent)))
        for percent in (10, 50, 75, 90, 99)
    }
    curvature = np.abs(ndimage.laplace(image))
    figures["sharpness of the steepest edges"] = float(
        np.log1p(np.percentile(curvature, 99)) - figures["slope 99th percentile"]
    )
    figures["curvature median"] = float(np.log1p(np.median(curvature)))
    return figures


def _texture_figures(image: NDArray[np.float64]) -> dict[str, float]:
    mean = ndimage.uniform_filter(image, 5)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(image * image, 5) - mean * mean, 0.0))
    wide = ndimage.gaussian_filter(image, 3.0)
    wide_spread = ndimage.gaussian_filter(np.square(image - wide), 3.0)
    figures = {
        f"local SD {percent}th percentile": float(np.log1p(np.percentile(spread, percent)))
        for percent in (5, 25, 50)
    }
    figures["coarse local SD 10th percentile"] = float(
        np.log1p(np.sqrt(np.percentile(wide_spread, 10)))
    )
    window = np.hanning(PATCH_PIXELS)
    # Strong edges would drown everything else.
    clipped = np.clip(image, -150.0, 200.0)
    power = np.abs(np.fft.fft2((clipped - clipped.mean()) * window[:, np.newaxis] * window)) ** 2
    frequency = np.fft.fftfreq(PATCH_PIXELS, PATCH_PIXEL_MM)
    radius = np.hypot(frequency[:, np.newaxis], frequency)
    for low, high in _BANDS_PER_MM:
        band = (radius >= low) & (radius < high)
        figures[f"log power {low} to {high} per mm"] = float(np.log(power[band].mean() + 1.0))
    fine = _fine(image)
    figures["tails of the fine detail"] = float(
        np.log(np.percentile(np.abs(fine), 98) / (np.median(np.abs(fine)) + 1e-3) + 1e-3)
    )
    return figures


def _fine(image: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(image, -150.0, 200.0)
    return np.asarray(clipped - ndimage.gaussian_filter(clipped, 1.5), dtype=np.float64)
