"""A marked scan, read from the data folder and checked against its marks."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.settings import ScanSettings
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from model_training.backgrounds.heart_mask import heart_mask
from model_training.backgrounds.marks import DenseSpot, ScanMarks

ARTERY_MARGIN_MM: Final = 2.5
"""Around the lumen of an artery everything within this belongs to the heart. Our choice."""
_RANGE_TOLERANCE_MM: Final = 0.1
"""Marks are rounded to a tenth of a millimetre."""


@dataclass(frozen=True, eq=False)
class Background:
    """A real scan without coronary calcium.

    ``heart`` (slice, row, column) is True inside the pericardial sac; ``structures``, uint8, holds
    the :class:`Structure` of calcium and metal that the scan itself shows and somebody marked.
    """

    marks: ScanMarks
    volume: CtVolume
    heart: NDArray[np.bool_]
    structures: NDArray[np.uint8]

    def scanner(self, *, psf_factor: float = 1.0, motion_mm: float = 0.0) -> Scanner:
        """Return the scanner that this scan was made with, as the simulator knows it.

        Parameters
        ----------
        psf_factor
            Multiplies the point spread of the marks.
        motion_mm
            How far the heart moves while a slice is taken.
        """
        return scanner_of(
            self.volume,
            psf_sigma_mm=psf_factor * self.marks.psf_sigma_mm,
            slice_thickness_mm=self.marks.slice_thickness_mm,
            motion_mm=motion_mm,
        )


def load_background(marks: ScanMarks, data: Path) -> Background:
    """Read the scan of marks from the data folder.

    Raises
    ------
    CacscoreError
        If the series cannot be read.
    ValueError
        If the file is missing, holds another series, or does not reach over the marked range.
    """
    path = data / marks.source.file
    if not path.exists():
        raise ValueError(
            f"The scan of {marks.name} is not at {path}. Say with --data or CACSCORE_REAL_DATA "
            f"where {marks.source.file} lies; it is {marks.source.subject} of "
            f"{marks.source.collection} (doi {marks.source.doi})."
        )
    with tempfile.TemporaryDirectory() as folder:
        volume = read_ct_series(path, Path(folder)).volume
    found = volume.identity.series_instance_uid if volume.identity else None
    if found != marks.source.series_instance_uid:
        raise ValueError(
            f"{path} holds the series {found}, but {marks.name} was marked on "
            f"{marks.source.series_instance_uid}."
        )
    return background_of(marks, volume)


def background_of(marks: ScanMarks, volume: CtVolume) -> Background:
    """Return a volume with its marks, cut to the slices that the marks describe."""
    geometry = volume.geometry
    heights = [geometry.position_lps_mm((index, 0, 0))[2] for index in range(geometry.shape[0])]
    low, high = marks.z_range_mm
    inside = [
        index
        for index, z in enumerate(heights)
        if low - _RANGE_TOLERANCE_MM <= z <= high + _RANGE_TOLERANCE_MM
    ]
    spacing = geometry.spacing_between_slices_mm
    is_covered = heights[0] <= low + spacing and heights[-1] >= high - spacing
    if not inside or not is_covered:
        raise ValueError(
            f"{marks.name} is marked from {low} to {high} mm, but its slices reach from "
            f"{heights[0]:.1f} to {heights[-1]:.1f} mm."
        )
    whole = slice(None)
    box = (slice(inside[0], inside[-1] + 1), whole, whole)
    cut = CtVolume(geometry.cropped(box), volume.hu[box].astype(np.float32), volume.acquisition)
    return Background(
        marks,
        cut,
        _heart_with_arteries(cut.geometry, marks),
        _known_structures(cut, marks.dense_spots),
    )


def scanner_of(
    volume: CtVolume, *, psf_sigma_mm: float, slice_thickness_mm: float, motion_mm: float = 0.0
) -> Scanner:
    """Return a scanner of the simulator whose grid is that of a volume.

    Raises
    ------
    ValueError
        If the volume is not a stack of axial slices with square pixels and as many rows as
        columns.
    """
    geometry = volume.geometry
    slices, rows, columns = geometry.shape
    settings = ScanSettings(
        kind="gated" if volume.acquisition.is_ecg_gated else "chest",
        matrix_size=rows,
        pixel_spacing_mm=geometry.pixel_spacing_mm[0],
        spacing_between_slices_mm=geometry.spacing_between_slices_mm,
        slice_thickness_mm=slice_thickness_mm,
        z_extent_mm=slices * geometry.spacing_between_slices_mm,
        kvp=volume.acquisition.kvp or 120.0,
        psf_sigma_mm=psf_sigma_mm,
        motion_mm=motion_mm,
        noise_sd_hu=0.0,
    )
    middle = geometry.position_lps_mm((0.5 * (slices - 1), 0.5 * (rows - 1), 0.5 * (columns - 1)))
    scanner = Scanner(settings, middle)
    if rows != columns or not scanner.geometry.is_same_grid(geometry):
        raise ValueError(
            f"Calcium is inserted into axial slices with square pixels and as many rows as "
            f"columns, not into {rows} x {columns} pixels with the affine "
            f"{np.round(geometry.affine, 3).tolist()}."
        )
    return scanner


def _heart_with_arteries(geometry: VolumeGeometry, marks: ScanMarks) -> NDArray[np.bool_]:
    """Return the outlined heart, and around each artery what an outline may have cut off."""
    heart = heart_mask(geometry, marks.heart)
    for branch in marks.coronary_tree().branches:
        for point, radius in zip(branch.lumen.points, branch.lumen.radii, strict=True):
            x, y, z = point.tolist()
            box, inside = _ball(geometry, (x, y, z), float(radius) + ARTERY_MARGIN_MM)
            heart[box] |= inside
    return heart


def _known_structures(volume: CtVolume, spots: tuple[DenseSpot, ...]) -> NDArray[np.uint8]:
    structures = np.zeros(volume.geometry.shape, dtype=np.uint8)
    for spot in spots:
        box, inside = _ball(volume.geometry, spot.centre_mm, spot.radius_mm)
        part = structures[box]
        part[inside & (volume.hu[box] >= LITERATURE.threshold_hu)] = spot.structure
    return structures


def _ball(
    geometry: VolumeGeometry, centre_mm: tuple[float, float, float], radius_mm: float
) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]]:
    """Return the box of a ball within the grid, and which of its voxels lie in the ball."""
    middle = geometry.index_at(centre_mm)
    bounds, squared = [], []
    for centre, spacing, size in zip(middle, geometry.spacing_mm, geometry.shape, strict=True):
        reach = radius_mm / spacing
        first = int(np.clip(np.floor(centre - reach), 0, size))
        last = int(np.clip(np.ceil(centre + reach) + 1, first, size))
        bounds.append(slice(first, last))
        squared.append(np.square((np.arange(first, last) - centre) * spacing))
    total = squared[0][:, np.newaxis, np.newaxis] + squared[1][:, np.newaxis] + squared[2]
    return (bounds[0], bounds[1], bounds[2]), total <= radius_mm**2
