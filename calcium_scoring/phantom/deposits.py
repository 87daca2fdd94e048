"""Deposits of calcium: small bent ellipsoids of known volume and mass, and their image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, pi
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.phantom.acquisition import Scanner, slice_sensitivity
from calcium_scoring.phantom.shapes import Vectors
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.label_map import Artery

MASS_CALIBRATION_FACTOR: Final = 0.77
"""mg hydroxyapatite per cm3 and HU at 120 kVp: the phantom's own; scanners have 0.7 to 0.8."""
FINE_STEP_MM: Final = 0.2
"""Sampling of a deposit. Our choice: a third of the smallest radius that is drawn."""


@dataclass(frozen=True, eq=False)
class Deposit:
    """Uniform calcium in the shape of an ellipsoid that may be bent round a vessel.

    ``frame`` has three orthonormal rows: along the vessel, round it, and outwards; ``radii_mm``
    belong to them. The second axis is bent to a circle of ``bend_radius_mm`` about the vessel's
    axis, which turns an ellipsoid into a crescent and leaves its volume as it is. ``excess_hu`` is
    added to the tissue, ``owner`` says whose calcium it is.
    """

    owner: Artery | Structure
    centre_lps_mm: tuple[float, float, float]
    frame: Vectors
    radii_mm: tuple[float, float, float]
    excess_hu: float
    bend_radius_mm: float = 1e6

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
        """Tell which LPS positions lie inside."""
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
        a, b, c = self.radii_mm
        inside: NDArray[np.bool_] = (along / a) ** 2 + (across / b) ** 2 + (
            outwards / c
        ) ** 2 <= 1.0
        return inside


@dataclass(frozen=True, eq=False)
class DepositImage:
    """What a deposit adds to a noise-free scan: HU (slice, row, column) from ``corner`` on."""

    deposit: Deposit
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

    The sum of the image times the voxel volume is excess HU times volume, whatever the scan, as
    long as the deposit and its blur lie inside the scan.
    """
    shape, spacing = scanner.geometry.shape, np.array(scanner.geometry.spacing_mm)
    reach = max(deposit.radii_mm)
    thickness = scanner.settings.slice_thickness_mm
    blur = np.array([0.75 * thickness, scanner.blur_reach_mm, scanner.blur_reach_mm])
    centre = np.array(deposit.centre_lps_mm[::-1])
    origin = scanner.origin[::-1]
    low = np.ceil((centre - reach - blur - origin) / spacing - 0.5).astype(int)
    high = np.floor((centre + reach + blur - origin) / spacing + 0.5).astype(int) + 1
    first, last = np.maximum(low, 0), np.minimum(high, shape)
    if (last - first < 1).any():
        return None
    split = ceil(spacing[1] / FINE_STEP_MM)
    fine = (np.arange((high[1] - low[1]) * split) + 0.5) / split - 0.5
    y = origin[1] + (low[1] + fine) * spacing[1]
    fine = (np.arange((high[2] - low[2]) * split) + 0.5) / split - 0.5
    x = origin[2] + (low[2] + fine) * spacing[2]
    # Only rows and columns that the deposit itself can reach are sampled finely.
    near_y, near_x = np.abs(y - centre[1]) <= reach, np.abs(x - centre[2]) <= reach
    heights = np.arange(-reach + 0.5 * FINE_STEP_MM, reach, FINE_STEP_MM) + centre[0]
    inside = deposit.contains(
        x[near_x][np.newaxis, np.newaxis], y[near_y][np.newaxis, :, np.newaxis],
        heights[:, np.newaxis, np.newaxis],
    )  # fmt: skip
    total_mm3 = inside.sum() * FINE_STEP_MM * (spacing[1] / split) * (spacing[2] / split)
    if total_mm3 == 0.0:
        return None
    scale = deposit.excess_hu * deposit.volume_mm3 / total_mm3
    slices = np.arange(first[0], last[0])
    offsets = heights[np.newaxis] - (origin[0] + slices * spacing[0])[:, np.newaxis]
    weights = slice_sensitivity(offsets, thickness) * FINE_STEP_MM
    rendered = np.zeros((len(slices), len(y), len(x)), dtype=np.float32)
    window = np.ix_(np.arange(len(slices)), np.flatnonzero(near_y), np.flatnonzero(near_x))
    rendered[window] = scale * np.tensordot(weights, inside.astype(np.float64), axes=1)
    rows, columns = high[1] - low[1], high[2] - low[2]
    pixels = rendered.reshape(len(slices), rows, split, columns, split).mean(axis=(2, 4))
    for local, slice_index in enumerate(slices):
        pixels[local] = scanner.moved(scanner.blurred(pixels[local]), int(slice_index))
    cut = pixels[
        :, first[1] - low[1] : last[1] - low[1], first[2] - low[2] : last[2] - low[2]
    ].astype(np.float32)
    return DepositImage(deposit, (int(first[0]), int(first[1]), int(first[2])), cut)
