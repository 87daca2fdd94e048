"""Deposits of calcium: small rough bent ellipsoids of known volume and mass, and their image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import ceil, pi
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.acquisition import Scanner, slice_sensitivity
from calcium_scoring.phantom.shapes import Vectors
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.label_map import Artery

MASS_CALIBRATION_FACTOR: Final = 0.77
"""mg hydroxyapatite per cm3 and HU at 120 kVp: the phantom's own; scanners have 0.7 to 0.8."""
FINE_STEP_MM: Final = 0.2
"""Finest sampling of a deposit. Our choice: below half of the smallest radius that is drawn."""
FINE_STEPS_PER_RADIUS: Final = 24.0
"""Large deposits are sampled more coarsely: this many steps in their largest radius."""

_TILE: Final = 40
_TILE_PITCH_MM: Final = 0.3
_GRAIN_MM: Final = 0.4
"""Standard deviation of the blur that makes grains out of white noise. Our choice."""


@cache
def _texture_tile() -> NDArray[np.float32]:
    """Return a cube of grains that repeats: mean 0, standard deviation 1."""
    white = np.random.default_rng(20).standard_normal((_TILE, _TILE, _TILE))
    tile = ndimage.gaussian_filter(white, _GRAIN_MM / _TILE_PITCH_MM, mode="wrap")
    return np.asarray(tile / tile.std(), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Deposit:
    """Calcium in the shape of an ellipsoid that may be rough and bent round a vessel.

    ``frame`` has three orthonormal rows: along the vessel, round it, and outwards; ``radii_mm``
    belong to them. The second axis is bent to a circle of ``bend_radius_mm`` about the vessel's
    axis, which turns an ellipsoid into a crescent and leaves its volume as it is.

    ``excess_hu`` is what the deposit adds to the tissue, as the mean over the ellipsoid, so that
    its mass does not depend on ``roughness``. That is the standard deviation of the logarithm of
    the density from grain to grain; it also eats into the surface. ``texture_seed`` chooses the
    grains, ``plaque`` numbers what grew together, ``owner`` says whose calcium it is.
    """

    owner: Artery | Structure
    centre_lps_mm: tuple[float, float, float]
    frame: Vectors
    radii_mm: tuple[float, float, float]
    excess_hu: float
    bend_radius_mm: float = 1e6
    roughness: float = 0.0
    texture_seed: int = 0
    plaque: int = 0

    @property
    def volume_mm3(self) -> float:
        """Volume of an ellipsoid; bending does not change it while it reaches less than round."""
        return 4.0 / 3.0 * pi * self.radii_mm[0] * self.radii_mm[1] * self.radii_mm[2]

    @property
    def density_mg_per_cm3(self) -> float:
        """Hydroxyapatite that gives the excess attenuation."""
        return self.excess_hu * MASS_CALIBRATION_FACTOR

    @property
    def mass_mg(self) -> float:
        """Mass of hydroxyapatite."""
        return self.density_mg_per_cm3 * self.volume_mm3 / 1000.0

    def resized(self, factor: float) -> Deposit:
        """Return the deposit with every radius multiplied; bent ones stay less than round."""
        along, around, outwards = (radius * factor for radius in self.radii_mm)
        return replace(self, radii_mm=(along, min(around, 2.6 * self.bend_radius_mm), outwards))

    def contains(self, x: Vectors, y: Vectors, z: Vectors) -> NDArray[np.bool_]:
        """Tell which LPS positions lie inside the ellipsoid, whatever its roughness."""
        inside: NDArray[np.bool_] = self._squared_radius(self._local(x, y, z)) <= 1.0
        return inside

    def relative_density(self, x: Vectors, y: Vectors, z: Vectors) -> NDArray[np.float32]:
        """Return the density at LPS positions up to a common factor; 0 outside."""
        local = self._local(x, y, z)
        squared = self._squared_radius(local)
        if not self.roughness:
            return (squared <= 1.0).astype(np.float32)
        tile = _texture_tile()
        start = np.random.default_rng(self.texture_seed).integers(0, _TILE, size=3)
        a, b, c = (
            (np.floor(axis / _TILE_PITCH_MM).astype(np.intp) + int(first)) % _TILE
            for axis, first in zip(local, start, strict=True)
        )
        grains = tile[a, b, c]
        # Another part of the tile decides where the surface lies.
        surface = tile[b, c, a]
        inside = squared <= np.clip(1.0 - self.roughness * (0.5 + surface), 0.15, 1.0)
        return np.asarray(inside * np.exp(self.roughness * grains), dtype=np.float32)

    def _local(self, x: Vectors, y: Vectors, z: Vectors) -> tuple[Vectors, Vectors, Vectors]:
        """Return positions along, round and outwards, in mm from the centre."""
        offset = [
            axis_value - centre
            for axis_value, centre in zip((x, y, z), self.centre_lps_mm, strict=True)
        ]
        along, across, outwards = (
            offset[0] * row[0] + offset[1] * row[1] + offset[2] * row[2] for row in self.frame
        )
        if self.bend_radius_mm < 1e3:
            from_axis = outwards + self.bend_radius_mm
            across, outwards = (
                self.bend_radius_mm * np.arctan2(across, from_axis),
                np.hypot(across, from_axis) - self.bend_radius_mm,
            )
        return along, across, outwards

    def _squared_radius(self, local: tuple[Vectors, Vectors, Vectors]) -> Vectors:
        """Return the squared distance from the centre, 1 on the surface."""
        a, b, c = self.radii_mm
        along, across, outwards = local
        return np.asarray((along / a) ** 2 + (across / b) ** 2 + (outwards / c) ** 2)


@dataclass(frozen=True, eq=False)
class DepositImage:
    """What an object adds to a noise-free scan: HU (slice, row, column) from ``corner`` on."""

    owner: Artery | Structure
    corner: tuple[int, int, int]
    excess_hu: NDArray[np.float32]

    def slab(self, slice_index: int) -> tuple[tuple[slice, slice], NDArray[np.float32]] | None:
        """Return where and what is added to one slice, or None."""
        local = slice_index - self.corner[0]
        if not 0 <= local < self.excess_hu.shape[0]:
            return None
        _, row, column = self.corner
        _, rows, columns = self.excess_hu.shape
        return (slice(row, row + rows), slice(column, column + columns)), self.excess_hu[local]


def image_of(deposit: Deposit, scanner: Scanner) -> DepositImage | None:
    """Return the noise-free image of a deposit, or None where it lies outside the scan.

    At 120 kVp the sum of the image times the voxel volume is excess HU times volume, whatever the
    scan, as long as the deposit and its blur lie inside the scan.
    """
    shape, spacing = scanner.geometry.shape, np.array(scanner.geometry.spacing_mm)
    reach = max(deposit.radii_mm)
    step = max(FINE_STEP_MM, reach / FINE_STEPS_PER_RADIUS)
    thickness = scanner.settings.slice_thickness_mm
    blur = np.array([0.75 * thickness, scanner.blur_reach_mm, scanner.blur_reach_mm])
    centre = np.array(deposit.centre_lps_mm[::-1])
    origin = scanner.origin[::-1]
    low = np.ceil((centre - reach - blur - origin) / spacing - 0.5).astype(int)
    high = np.floor((centre + reach + blur - origin) / spacing + 0.5).astype(int) + 1
    first, last = np.maximum(low, 0), np.minimum(high, shape)
    if (last - first < 1).any():
        return None
    split = ceil(spacing[1] / step)
    fine = (np.arange((high[1] - low[1]) * split) + 0.5) / split - 0.5
    y = origin[1] + (low[1] + fine) * spacing[1]
    fine = (np.arange((high[2] - low[2]) * split) + 0.5) / split - 0.5
    x = origin[2] + (low[2] + fine) * spacing[2]
    # Only rows and columns that the deposit itself can reach are sampled finely.
    near_y, near_x = np.abs(y - centre[1]) <= reach, np.abs(x - centre[2]) <= reach
    heights = np.arange(-reach + 0.5 * step, reach, step) + centre[0]
    density = deposit.relative_density(
        x[near_x][np.newaxis, np.newaxis], y[near_y][np.newaxis, :, np.newaxis],
        heights[:, np.newaxis, np.newaxis],
    )  # fmt: skip
    sampled_mm3 = step * (spacing[1] / split) * (spacing[2] / split)
    total_mm3 = float(density.sum(dtype=np.float64)) * sampled_mm3
    if total_mm3 == 0.0:
        return None
    scale = scanner.calcium_factor * deposit.excess_hu * deposit.volume_mm3 / total_mm3
    slices = np.arange(first[0], last[0])
    offsets = heights[np.newaxis] - (origin[0] + slices * spacing[0])[:, np.newaxis]
    weights = (scale * step * slice_sensitivity(offsets, thickness)).astype(np.float32)
    rendered = np.zeros((len(slices), len(y), len(x)), dtype=np.float32)
    window = np.ix_(np.arange(len(slices)), np.flatnonzero(near_y), np.flatnonzero(near_x))
    rendered[window] = np.tensordot(weights, density, axes=1)
    rows, columns = high[1] - low[1], high[2] - low[2]
    pixels = rendered.reshape(len(slices), rows, split, columns, split).mean(axis=(2, 4))
    for local in range(len(slices)):
        pixels[local] = scanner.blurred(pixels[local])
    cut = pixels[
        :, first[1] - low[1] : last[1] - low[1], first[2] - low[2] : last[2] - low[2]
    ].astype(np.float32)
    return DepositImage(deposit.owner, (int(first[0]), int(first[1]), int(first[2])), cut)
