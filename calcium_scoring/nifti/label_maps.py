"""Label maps as NIfTI, and masks of any tool as label maps.

NIfTI counts voxels (column, row, slice) and places them in RAS millimetres. Written files keep
the voxels as they are and say in the affine where they lie; files that are read may run along
the axes in any order and direction, as long as their voxels are those of the series.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from calcium_scoring.errors import MaskRejected
from calcium_scoring.scoring.lesions import Lesion
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, LabelMap

GRID_TOLERANCE_MM: Final = 0.1
"""Voxels may lie this far from those of the series: NIfTI keeps single precision, and tools
round. A tenth of a millimetre is a fifth of the smallest pixel in use. Our choice."""

ARTERY_LABELS_MARK: Final = "cacscore labels 1 LM 2 LAD 3 LCX 4 RCA 5 coronary; research use only"
"""Description in the header of the files written here (at most 79 bytes)."""

LESIONS_MARK: Final = "cacscore lesions by id; research use only"

_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
_SCANNER_SPACE: Final = 1
_READ_ERRORS: Final = (
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    zlib.error,
)


def write_nifti(label_map: LabelMap, path: Path) -> Path:
    """Write a label map as ``.nii`` or ``.nii.gz`` (uint8, the same bytes each time)."""
    return _write(label_map.labels, label_map.geometry, ARTERY_LABELS_MARK, path)


def write_lesion_nifti(lesions: Sequence[Lesion], geometry: VolumeGeometry, path: Path) -> Path:
    """Write lesions as ``.nii`` or ``.nii.gz``: the value of a voxel is the id of its lesion.

    uint16 (slice, row, column) on the grid of the series, 0 where there is no lesion; the same
    bytes each time. The report lists the lesions by the same id.
    """
    numbers = np.zeros(geometry.shape, dtype=np.uint16)
    for lesion in lesions:
        for part in lesion.slice_lesions:
            numbers[part.slice_index, part.pixels[0], part.pixels[1]] = lesion.lesion_id
    return _write(numbers, geometry, LESIONS_MARK, path)


def _write(
    values: NDArray[np.uint8] | NDArray[np.uint16], geometry: VolumeGeometry, mark: str, path: Path
) -> Path:
    affine = geometry.affine_ras[:, [2, 1, 0, 3]]
    image: Any = nib.Nifti1Image(  # type: ignore[no-untyped-call]
        np.transpose(values, (2, 1, 0)), affine, dtype=values.dtype
    )
    image.set_sform(affine, code=_SCANNER_SPACE)
    image.set_qform(affine, code=_SCANNER_SPACE)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = mark.encode()
    nib.save(image, path)
    return path


def read_mask(
    path: Path, geometry: VolumeGeometry, *, has_artery_labels: bool | None = None
) -> LabelMap:
    """Read a NIfTI mask as labels on this grid.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` with one value a voxel.
    geometry
        Grid of the series.
    has_artery_labels
        Whether values mean what ``Artery`` says. By default only in files written here; in
        all others every value but 0 is coronary calcium whose artery is not known.

    Raises
    ------
    MaskRejected
        The file cannot be read or its voxels are not those of the series.
    """
    try:
        image: Any = nib.load(path)
        shape = _spatial_shape(image.shape)
        # Looked at before the voxels: a small file may claim terabytes.
        if sorted(shape) != sorted(geometry.shape):
            raise MaskRejected(
                f"The mask has {shape} voxels (columns, rows, slices); the series has "
                f"{geometry.shape[::-1]}. Draw the mask on this series.",
                mask_shape=list(shape),
                series_shape=list(geometry.shape[::-1]),
            )
        values = np.asanyarray(image.dataobj).reshape(shape)
        affine_ras = np.asarray(image.affine, dtype=np.float64)
        mark = bytes(image.header["descrip"].tobytes()).rstrip(b"\x00")
    except _READ_ERRORS as error:
        raise MaskRejected(
            "The mask cannot be read as NIfTI: it is damaged or something else."
        ) from error
    if has_artery_labels is None:
        has_artery_labels = mark == ARTERY_LABELS_MARK.encode()
    return _as_label_map(_on_grid(values, affine_ras, geometry), geometry, has_artery_labels)


def read_numpy_mask(
    path: Path, geometry: VolumeGeometry, *, has_artery_labels: bool = False
) -> LabelMap:
    """Read a ``.npy`` mask of shape (slices in ascending z, rows, columns).

    Raises
    ------
    MaskRejected
        The file is no plain array of numbers or has another shape than the series.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MaskRejected("The mask cannot be read as a .npy array of numbers.") from error
    if not isinstance(values, np.ndarray) or values.shape != geometry.shape:
        raise MaskRejected(
            f"The mask has the shape {getattr(values, 'shape', None)}; the series has "
            f"{geometry.shape} (slices in ascending z, rows, columns).",
            mask_shape=list(getattr(values, "shape", ())),
            series_shape=list(geometry.shape),
        )
    return _as_label_map(values, geometry, has_artery_labels)


def _spatial_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the trailing dimensions of one that some tools add."""
    return shape[:3] + tuple(extent for extent in shape[3:] if extent != 1)


def _on_grid(
    values: NDArray[Any], affine_ras: NDArray[np.float64], geometry: VolumeGeometry
) -> NDArray[Any]:
    """Return the mask in the order of the series: axes swapped and turned as the affines say."""
    try:
        to_series: NDArray[np.float64] = np.linalg.solve(
            geometry.affine, _LPS_TO_RAS @ affine_ras
        ).astype(np.float64)
    except np.linalg.LinAlgError as error:
        raise MaskRejected("The mask's affine does not place it in space.") from error
    axes = np.argmax(np.abs(to_series[:3, :3]), axis=1)
    if sorted(axes) != [0, 1, 2]:
        raise MaskRejected("The mask is turned against the series; its axes must be parallel.")
    turned = np.transpose(values, axes)
    steps = to_series[[0, 1, 2], axes]
    flips = tuple(axis for axis in range(3) if steps[axis] < 0)
    turned = np.flip(turned, flips)
    if turned.shape != geometry.shape:
        raise MaskRejected(
            f"The mask has {turned.shape} voxels along the axes of the series, which has "
            f"{geometry.shape} (slices, rows, columns); it must have the same grid.",
            mask_shape=list(turned.shape),
            series_shape=list(geometry.shape),
        )
    offset_mm = _largest_offset_mm(to_series, values.shape, axes, flips, geometry)
    if not offset_mm <= GRID_TOLERANCE_MM:
        raise MaskRejected(
            f"The voxels of the mask lie up to {offset_mm:.3f} mm away from those of the series; "
            f"{GRID_TOLERANCE_MM} mm are accepted. Draw the mask on this series.",
            offset_mm=round(offset_mm, 3),
            tolerance_mm=GRID_TOLERANCE_MM,
        )
    return turned


def _largest_offset_mm(
    to_series: NDArray[np.float64],
    shape: tuple[int, ...],
    axes: NDArray[np.intp],
    flips: tuple[int, ...],
    geometry: VolumeGeometry,
) -> float:
    """Return how far corners of the mask lie from the corners of the series that they should be."""
    corners = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    indices = corners * (np.array(shape) - 1)
    found = indices @ to_series[:3, :3].T + to_series[:3, 3]
    expected = indices[:, axes]
    for axis in flips:
        expected[:, axis] = geometry.shape[axis] - 1 - expected[:, axis]
    offsets = (found - expected) @ geometry.affine[:3, :3].T
    return float(np.linalg.norm(offsets, axis=1).max())


def _as_label_map(
    values: NDArray[Any], geometry: VolumeGeometry, has_artery_labels: bool
) -> LabelMap:
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all() or values.min() < 0:
        raise MaskRejected("The mask holds values that are no labels: negative, NaN or not real.")
    if not has_artery_labels:
        return LabelMap.from_mask(geometry, values != 0)
    labels = values.astype(np.uint8)
    if (labels != values).any() or labels.max() > CORONARY:
        raise MaskRejected(
            f"The mask holds values up to {values.max()}; artery labels are whole numbers from 0 "
            f"to {CORONARY}.",
            largest_value=float(values.max()),
        )
    return LabelMap(geometry, labels)
