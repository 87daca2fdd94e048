"""Images and label maps as MetaImage, NRRD or NIfTI, through SimpleITK.

SimpleITK reads all three with one call and turns every orientation into LPS millimetres, where a
reader of our own would need the spaces, encodings and detached headers of each format.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from calcium_scoring.errors import InvalidGeometry, MaskRejected, NotAxial, UnsupportedImageType
from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import BACKGROUND, CORONARY, LabelMap

IMAGE_SUFFIXES: Final = (".mhd", ".mha", ".nrrd", ".nhdr", ".nii", ".nii.gz")

GRID_TOLERANCE_MM: Final = 0.1
"""Voxels of a label map may lie this far from those of the scan, as for NIfTI masks."""

AXIAL_TOLERANCE: Final = 0.01
"""Largest off-axis part of a direction, about half a degree as for the gantry. Our choice."""

AIR_BELOW_HU: Final = -500.0
"""A CT scan of a chest holds air; without anything below this, values are no HU. Our choice."""


def read_volume(path: Path, acquisition: CtAcquisition | None = None) -> CtVolume:
    """Read a CT volume whose values are HU; such files say nothing of the acquisition.

    Raises
    ------
    UnsupportedImageType
        The file cannot be read, or is not one volume of HU.
    NotAxial, InvalidGeometry
        Its slices are oblique, or it lies nowhere.
    """
    values, geometry = _read(path)
    hu = values.astype(np.float32)
    if not np.isfinite(hu).all() or hu.min() > AIR_BELOW_HU:
        raise UnsupportedImageType(
            f"{path.name} holds values from {values.min():g} to {values.max():g}; a CT volume in "
            f"HU has air below {AIR_BELOW_HU:g} HU and no missing values.",
            smallest_value=float(values.min()),
        )
    return CtVolume(geometry, hu, acquisition or CtAcquisition())


def read_labels(
    path: Path, geometry: VolumeGeometry, meanings: Mapping[int, int] | None = None
) -> LabelMap:
    """Read a label map as labels on the grid of a scan.

    Parameters
    ----------
    path
        A file with one whole number a voxel.
    geometry
        Grid of the scan; rows, columns and slices may run the other way in the file.
    meanings
        Which values are calcium, as labels of ``calcium_scoring.volume.label_map``; all other
        values are background. By default a single value is coronary calcium of unknown artery;
        several values are refused, because one of them may be the heart.

    Raises
    ------
    MaskRejected
        The file cannot be read, its voxels are not those of the scan, or it is not clear which
        values are calcium.
    """
    try:
        values, own_geometry = _read(path)
    except (UnsupportedImageType, NotAxial, InvalidGeometry) as error:
        raise MaskRejected(error.message) from error
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise MaskRejected(f"{path.name} holds fractions; labels are whole numbers.")
    found = np.unique(values[values != BACKGROUND])
    if meanings is None:
        if found.size > 1:
            raise MaskRejected(
                f"{path.name} holds the values {[int(one) for one in found]}; state which of "
                "them are coronary calcium.",
                values=[int(one) for one in found],
            )
        meanings = {int(one): CORONARY for one in found}
    labels = np.zeros(values.shape, dtype=np.uint8)
    for value, label in meanings.items():
        labels[values == value] = label
    return LabelMap(geometry, _turned(labels, own_geometry, geometry))


def _turned(
    labels: NDArray[np.uint8], own: VolumeGeometry, geometry: VolumeGeometry
) -> NDArray[np.uint8]:
    """Return labels in the directions of the scan; both grids have the same axes up to sign."""
    if own.shape != geometry.shape:
        raise MaskRejected(
            f"The label map has {own.shape} voxels (slices, rows, columns), the scan "
            f"{geometry.shape}; it must be drawn on this scan.",
            mask_shape=list(own.shape),
            series_shape=list(geometry.shape),
        )
    to_scan = np.linalg.solve(geometry.affine, own.affine)
    flips = tuple(axis for axis in range(3) if to_scan[axis, axis] < 0)
    affine = own.affine.copy()
    for axis in flips:
        affine[:, 3] += affine[:, axis] * (own.shape[axis] - 1)
        affine[:, axis] *= -1.0
    if not VolumeGeometry(own.shape, affine).is_same_grid(geometry, GRID_TOLERANCE_MM):
        raise MaskRejected(
            f"The voxels of the label map lie more than {GRID_TOLERANCE_MM} mm away from those "
            "of the scan; it must be drawn on this scan.",
            tolerance_mm=GRID_TOLERANCE_MM,
        )
    return np.ascontiguousarray(np.flip(labels, flips))


def _read(path: Path) -> tuple[NDArray[Any], VolumeGeometry]:
    """Return values (slice, row, column) in ascending z, y and x of LPS, and their grid."""
    try:
        image: Any = SimpleITK.ReadImage(str(path))
        is_volume = image.GetDimension() == 3 and image.GetNumberOfComponentsPerPixel() == 1
        if not is_volume:
            raise UnsupportedImageType(
                f"{path.name} is not one volume: {image.GetDimension()} dimensions, "
                f"{image.GetNumberOfComponentsPerPixel()} values a voxel."
            )
        image = SimpleITK.DICOMOrient(image, "LPS")  # type: ignore[no-untyped-call]
        values = SimpleITK.GetArrayFromImage(image)
    except RuntimeError as error:
        raise UnsupportedImageType(
            f"{path.name} cannot be read as MetaImage, NRRD or NIfTI: it is missing, damaged, "
            "incomplete or something else."
        ) from error
    directions = np.array(image.GetDirection()).reshape(3, 3)
    if np.abs(directions - np.eye(3)).max() > AXIAL_TOLERANCE:
        raise NotAxial(f"The slices of {path.name} are not axial.")
    affine = np.eye(4)
    affine[:3, :3] = (directions * np.array(image.GetSpacing()))[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    slices, rows, columns = values.shape
    try:
        return values, VolumeGeometry((slices, rows, columns), affine)
    except ValueError as error:
        raise InvalidGeometry(f"{path.name}: {error}") from error
