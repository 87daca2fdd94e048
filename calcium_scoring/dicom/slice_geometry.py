"""Where the slices of a series lie: from image position and orientation alone.

``SliceThickness`` and ``SpacingBetweenSlices`` are never used; both are wrong in real series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from calcium_scoring.dicom.headers import ImageFile, number, numbers, text
from calcium_scoring.dicom.select_series import (
    AXIAL_TOLERANCE_DEGREES,
    IN_PLANE_TOLERANCE_DEGREES,
    MIN_SLICE_COUNT,
    TILT_TOLERANCE_DEGREES,
    angle_to_axis_degrees,
    in_plane_rotation_degrees,
    slice_normal,
)
from calcium_scoring.errors import (
    GantryTilt,
    InconsistentSeries,
    InvalidGeometry,
    IrregularGeometry,
    NotAxial,
    RotatedInPlane,
    SeriesTooLarge,
    TooFewSlices,
)
from calcium_scoring.volume.geometry import VolumeGeometry

Vector: TypeAlias = NDArray[np.float64]

GAP_TOLERANCE_MM: Final = 0.1
"""Gaps between slices may differ from their median by this much: positions are often written
with one decimal. At 2.5 mm it is 4 % of one slice's share of the score. Our choice."""

SAME_POSITION_MM: Final = 0.01
"""Slices nearer than this lie at the same place; no reconstruction steps so finely. Our choice."""

LATERAL_TOLERANCE_MM: Final = 1.0
"""Slices may lie off the common axis by this much, about one pixel; our choice."""

PIXELS_A_SIDE: Final = (64, 2048)
"""Smallest and largest number of rows and columns; our choice."""

PIXEL_SPACING_RANGE_MM: Final = (0.1, 2.0)
"""Smallest and largest plausible distance of pixels in a body CT; our choice."""

LARGEST_SLICE_COUNT: Final = 4_000
"""A chest in slices of 0.1 mm; our choice."""

LARGEST_VOXEL_COUNT: Final = 2**29
"""2,048 slices of 512 x 512: 2 GiB as Hounsfield values. Our choice."""

LARGEST_COMPRESSION: Final = 200
"""Voxels of 16 bits may take this many times the bytes of their files, beyond the first 64 MiB.
Lossless compression of CT packs 2 to 5 : 1, a blank slice some hundred; our choice."""

_FREE_VOXEL_BYTES: Final = 64 * 1024 * 1024

_ORIENTATION_TOLERANCE: Final = 1e-3
"""Direction cosines are written with few decimals; 1e-3 is 0.06 degrees."""

_SPACING_TOLERANCE_MM: Final = 1e-4


@dataclass(frozen=True)
class SliceStack:
    """The slices of one series in ascending order, and the grid that they form.

    ``positions`` has one entry a slice: the files that lie there, normally one, several when
    a slice was sent more than once.
    """

    geometry: VolumeGeometry
    positions: tuple[tuple[ImageFile, ...], ...]


def stack_slices(images: Sequence[ImageFile]) -> SliceStack:
    """Sort the slices of a series by position along their normal and return their grid.

    Slice 0 is the lowest (most inferior). The spacing is the mean distance of neighbours,
    which all lie within :data:`GAP_TOLERANCE_MM` of their median; the mean of rounded positions
    is not biased, their median is (1.2, 1.3, 1.2 mm for 1.25 mm).

    Raises
    ------
    InvalidGeometry
        Matrix, pixel spacing, orientation or position is missing or impossible.
    InconsistentSeries
        Slices differ in matrix, pixel spacing, orientation, patient, study or frame of reference.
    GantryTilt, NotAxial, RotatedInPlane
        The slices are tilted, sheared, not axial, or axial with rows that do not run from side
        to side. Flips are accepted, and so is a turn by 180 degrees, which is two flips.
    SeriesTooLarge
        There are more slices or voxels than any CT has, or files far too small for them.
    TooFewSlices
        There are fewer than ``MIN_SLICE_COUNT`` different positions.
    IrregularGeometry
        A slice is missing or the spacing changes.
    """
    first = images[0].header
    _check_common(images)
    shape, pixel_spacing_mm = _in_plane(first)
    orientation = numbers(first, "ImageOrientationPatient", 6)
    normal = slice_normal(first)
    if orientation is None or normal is None:
        raise InvalidGeometry(
            "Image Orientation (Patient) is missing or is not two directions; without it the "
            "slices have no place in the patient.",
            attribute="ImageOrientationPatient",
        )
    along_row, along_column = _unit_vectors(orientation)
    _check_orientation(first, normal)
    if normal[2] < 0:
        normal = -normal

    positions = np.array([_position(image.header) for image in images])
    groups = _same_place(positions @ normal)
    if len(groups) < MIN_SLICE_COUNT:
        raise TooFewSlices(
            f"The series has slices at {len(groups)} different positions; at least "
            f"{MIN_SLICE_COUNT} are needed to cover a heart.",
            slice_count=len(groups),
            smallest_slice_count=MIN_SLICE_COUNT,
        )
    _check_size(images, len(groups), shape)
    places = np.array([positions[group[0]] for group in groups])
    step = _step(places, normal)

    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = along_column * pixel_spacing_mm[0]
    affine[:3, 2] = along_row * pixel_spacing_mm[1]
    affine[:3, 3] = places[0]
    return SliceStack(
        VolumeGeometry((len(groups), *shape), affine),
        tuple(tuple(images[index] for index in group) for group in groups),
    )


def _check_common(images: Sequence[ImageFile]) -> None:
    """Refuse slices that differ in what must be common to one series."""
    first = images[0].header
    for keyword, name in (
        ("PatientID", "patient"),
        ("StudyInstanceUID", "study"),
        ("FrameOfReferenceUID", "frame of reference"),
        ("Modality", "modality"),
    ):
        values = {text(image.header, keyword) for image in images}
        if len(values) > 1:
            raise InconsistentSeries(
                f"The slices of the series name {len(values)} different values of {name}; one "
                "series has one.",
                attribute=keyword,
                value_count=len(values),
            )
    for keyword, count, tolerance in (
        ("Rows", 1, 0.0),
        ("Columns", 1, 0.0),
        ("PixelSpacing", 2, _SPACING_TOLERANCE_MM),
        ("ImageOrientationPatient", 6, _ORIENTATION_TOLERANCE),
    ):
        expected = numbers(first, keyword, count)
        deviating = sum(
            not _agree(expected, numbers(image.header, keyword, count), tolerance)
            for image in images
        )
        if deviating:
            raise InconsistentSeries(
                f"{deviating} of {len(images)} slices differ from the first one in {keyword}; it "
                "must be the same for all slices of one series.",
                attribute=keyword,
                deviating_slice_count=deviating,
                slice_count=len(images),
            )


def _check_size(images: Sequence[ImageFile], slice_count: int, shape: tuple[int, int]) -> None:
    """Refuse what would take much memory before any of it is asked for."""
    voxel_count = slice_count * shape[0] * shape[1]
    evidence = {"slice_count": slice_count, "voxel_count": voxel_count}
    if slice_count > LARGEST_SLICE_COUNT or voxel_count > LARGEST_VOXEL_COUNT:
        raise SeriesTooLarge(
            f"The series has {slice_count} slices of {shape[0]} x {shape[1]} pixels; at most "
            f"{LARGEST_SLICE_COUNT} slices and {LARGEST_VOXEL_COUNT} voxels are accepted. Send the "
            "calcium scan, or a coarser reconstruction.",
            **evidence,
        )
    file_bytes = sum(path.stat().st_size for path in {image.path for image in images})
    if 2 * voxel_count > _FREE_VOXEL_BYTES + LARGEST_COMPRESSION * file_bytes:
        raise SeriesTooLarge(
            f"The series claims {voxel_count} voxels in {file_bytes} bytes; no compression of CT "
            f"packs {LARGEST_COMPRESSION} : 1.",
            file_bytes=file_bytes,
            **evidence,
        )


def _agree(
    expected: tuple[float, ...] | None, found: tuple[float, ...] | None, tolerance: float
) -> bool:
    if expected is None or found is None:
        return expected is found
    return all(abs(a - b) <= tolerance for a, b in zip(expected, found, strict=True))


def _in_plane(header: Dataset) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return (rows, columns) and the pixel spacing (between rows, between columns)."""
    rows, columns = number(header, "Rows"), number(header, "Columns")
    smallest, largest = PIXELS_A_SIDE
    if (
        rows is None
        or columns is None
        or not all(smallest <= side <= largest for side in (rows, columns))
    ):
        raise InvalidGeometry(
            f"The image matrix is {rows} x {columns} pixels; {smallest} to {largest} a side are "
            "accepted.",
            rows=rows,
            columns=columns,
        )
    spacing = numbers(header, "PixelSpacing", 2)
    low_mm, high_mm = PIXEL_SPACING_RANGE_MM
    if spacing is None or not all(low_mm <= one <= high_mm for one in spacing):
        raise InvalidGeometry(
            f"Pixel Spacing is {'missing' if spacing is None else f'{spacing} mm'}; two values "
            f"from {low_mm} to {high_mm} mm are accepted.",
            pixel_spacing_mm=None if spacing is None else list(spacing),
        )
    return (int(rows), int(columns)), (spacing[0], spacing[1])


def _unit_vectors(orientation: tuple[float, ...]) -> tuple[Vector, Vector]:
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if (
        max(abs(length - 1.0) for length in lengths) > 0.01
        or abs(float(along_row @ along_column)) > 0.01
    ):
        raise InvalidGeometry(
            "Image Orientation (Patient) does not hold two perpendicular unit vectors.",
            image_orientation_patient=list(orientation),
        )
    return along_row / lengths[0], along_column / lengths[1]


def _check_orientation(header: Dataset, normal: Vector) -> None:
    tilt_degrees = number(header, "GantryDetectorTilt") or 0.0
    if abs(tilt_degrees) > TILT_TOLERANCE_DEGREES:
        raise GantryTilt(
            f"The gantry was tilted by {tilt_degrees:g} degrees; at most "
            f"{TILT_TOLERANCE_DEGREES} are accepted, as calcium scoring is defined on upright "
            "slices.",
            gantry_detector_tilt_degrees=tilt_degrees,
            tolerance_degrees=TILT_TOLERANCE_DEGREES,
        )
    angle_degrees = angle_to_axis_degrees(normal)
    if angle_degrees > AXIAL_TOLERANCE_DEGREES:
        raise NotAxial(
            f"The slices are turned {angle_degrees:.1f} degrees away from axial; at most "
            f"{AXIAL_TOLERANCE_DEGREES:g} are accepted. Send the axial series.",
            angle_degrees=round(angle_degrees, 3),
            tolerance_degrees=AXIAL_TOLERANCE_DEGREES,
        )
    rotation_degrees = in_plane_rotation_degrees(header)
    if rotation_degrees > IN_PLANE_TOLERANCE_DEGREES:
        raise RotatedInPlane(
            f"The rows of the slices run {rotation_degrees:.1f} degrees off the patient's "
            f"left-right direction; at most {IN_PLANE_TOLERANCE_DEGREES:g} are accepted, because "
            "the network knows upright hearts only. Send an axial series whose rows run from side "
            "to side of the patient; flips are no matter.",
            rotation_degrees=round(rotation_degrees, 3),
            tolerance_degrees=IN_PLANE_TOLERANCE_DEGREES,
        )


def _position(header: Dataset) -> tuple[float, ...]:
    position = numbers(header, "ImagePositionPatient", 3)
    if position is None:
        raise InvalidGeometry(
            "Image Position (Patient) is missing or is not three numbers in at least one slice; "
            "without it the slice has no place in the patient.",
            attribute="ImagePositionPatient",
        )
    return position


def _same_place(heights_mm: Vector) -> list[list[int]]:
    """Return indices in ascending height, those at the same height together."""
    groups: list[list[int]] = []
    for index in np.argsort(heights_mm, kind="stable"):
        if groups and heights_mm[index] - heights_mm[groups[-1][0]] <= SAME_POSITION_MM:
            groups[-1].append(int(index))
        else:
            groups.append([int(index)])
    return groups


def _step(places: Vector, normal: Vector) -> Vector:
    """Return the vector from one slice to the next, after checking that it is one vector."""
    heights_mm = places @ normal
    gaps_mm = [float(above - below) for below, above in pairwise(heights_mm)]
    median_mm = float(np.median(gaps_mm))
    sheared = places - places[0] - np.outer(heights_mm - heights_mm[0], normal)
    drift_mm = float(np.linalg.norm(sheared[-1]))
    angle_degrees = float(np.degrees(np.arctan2(drift_mm, heights_mm[-1] - heights_mm[0])))
    if angle_degrees > TILT_TOLERANCE_DEGREES:
        raise GantryTilt(
            f"The slices are sheared: their positions run {angle_degrees:.1f} degrees off the "
            f"slice normal, as with a tilted gantry; at most {TILT_TOLERANCE_DEGREES} are "
            "accepted.",
            shear_degrees=round(angle_degrees, 3),
            tolerance_degrees=TILT_TOLERANCE_DEGREES,
        )
    if any(abs(gap - median_mm) > GAP_TOLERANCE_MM for gap in gaps_mm):
        raise IrregularGeometry(tuple(gaps_mm), GAP_TOLERANCE_MM)
    lateral_mm = float(np.linalg.norm(sheared, axis=1).max())
    if lateral_mm > LATERAL_TOLERANCE_MM:
        raise InvalidGeometry(
            f"A slice lies {lateral_mm:.2f} mm to the side of the others; at most "
            f"{LATERAL_TOLERANCE_MM} mm are accepted. Send the slices of one reconstruction.",
            lateral_offset_mm=round(lateral_mm, 3),
            tolerance_mm=LATERAL_TOLERANCE_MM,
        )
    step: Vector = (places[-1] - places[0]) / (len(places) - 1)
    return step
