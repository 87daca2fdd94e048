"""The soft tissue of a diseased vessel, where a marked centre line runs through fat.

Calcium lies in the wall of an artery. A line marked by hand misses the artery by a millimetre or
two in places, and small arteries are blurred to fat: calcium inserted there would stand in fat, as
it never does. So each plaque brings the vessel that it lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial, special

from calcium_scoring.phantom.acquisition import FloatImage, Scanner
from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.plaque import TISSUE_HU
from calcium_scoring.phantom.shapes import Vectors
from model_training.backgrounds.marks import ScanMarks, tube_through

WALL_MM: Final = 0.6
"""Thickness of a diseased wall around the lumen. Our choice."""
FAT_HU: Final = -110.0
"""Attenuation of fat on CT; about the lowest that epicardial fat has."""
_STEP_MM: Final = 0.75
_BEYOND_MM: Final = 3.0
"""The vessel is filled up to this distance from a plaque. Our choice."""
_REACH_SIGMAS: Final = 3.0
_CALM_MM: Final = 2.0
"""Blur that takes the noise out of the surroundings. Our choice."""


class VesselWall:
    """Soft tissue along the parts of the arteries that hold plaques."""

    def __init__(self, marks: ScanMarks, plaques: Sequence[Deposit], scanner: Scanner) -> None:
        self._scanner = scanner
        points, radii = _near(marks, plaques)
        self._points, self._radii = points, radii

    def in_slice(self, index: int, hu: FloatImage) -> FloatImage | None:
        """Return what is added to a slice (row, column) of the scan, or None."""
        scanner = self._scanner
        if not len(self._points):
            return None
        shares = [
            (weight, self._share_in_plane(scanner.origin[2] + plane * scanner.plane_pitch_mm))
            for plane, weight in scanner.planes_of_slice(index)
        ]
        total = np.zeros_like(hu)
        for weight, found in shares:
            if found is not None:
                box, share = found
                total[box] += np.float32(weight) * share
        if not total.any():
            return None
        sigma = _CALM_MM / scanner.settings.pixel_spacing_mm
        calm = ndimage.gaussian_filter(hu, sigma)
        missing = np.maximum(np.float32(TISSUE_HU) - calm, 0.0)
        # Where the line runs into lung, it is the line that is wrong: no more than fat is filled.
        filled: FloatImage = total * np.minimum(missing, np.float32(TISSUE_HU - FAT_HU))
        return filled

    def _share_in_plane(
        self, z_mm: float
    ) -> tuple[tuple[slice, slice], NDArray[np.float32]] | None:
        """Return the part of each pixel that is vessel, after the in-plane point spread."""
        settings = self._scanner.settings
        sigma = settings.psf_sigma_mm
        reach = float(self._radii.max()) + _REACH_SIGMAS * sigma
        near = np.abs(self._points[:, 2] - z_mm) <= reach
        if not near.any():
            return None
        points, radii = self._points[near], self._radii[near]
        low = (points[:, :2].min(axis=0) - reach - self._scanner.origin[:2]) / (
            settings.pixel_spacing_mm
        )
        high = (points[:, :2].max(axis=0) + reach - self._scanner.origin[:2]) / (
            settings.pixel_spacing_mm
        )
        first = np.clip(np.floor(low), 0, settings.matrix_size).astype(int)
        last = np.clip(np.ceil(high) + 1, 0, settings.matrix_size).astype(int)
        if (last <= first).any():
            return None
        x, y = (
            self._scanner.origin[axis]
            + np.arange(first[axis], last[axis]) * settings.pixel_spacing_mm
            for axis in (0, 1)
        )
        grid = np.stack(np.broadcast_arrays(x[np.newaxis], y[:, np.newaxis], z_mm), axis=-1)
        distance, nearest = spatial.cKDTree(points).query(grid)
        inside = (radii[nearest] - distance) / sigma
        share = special.ndtr(inside).astype(np.float32)
        return (slice(first[1], last[1]), slice(first[0], last[0])), share


def _near(marks: ScanMarks, plaques: Sequence[Deposit]) -> tuple[Vectors, Vectors]:
    """Return the points of the centre lines near plaques, and the outer radius of the vessel."""
    points, radii = [np.zeros((0, 3))], [np.zeros(0)]
    for artery, line in marks.arteries.items():
        centres = np.array(
            [plaque.centre_lps_mm for plaque in plaques if plaque.owner == artery]
        ).reshape(-1, 3)
        if not len(centres):
            continue
        tube = tube_through(line, step_mm=_STEP_MM)
        distance, _ = spatial.cKDTree(centres).query(tube.points)
        kept = distance <= _BEYOND_MM + tube.radii
        points.append(tube.points[kept])
        radii.append(tube.radii[kept] + WALL_MM)
    return np.concatenate(points), np.concatenate(radii)
