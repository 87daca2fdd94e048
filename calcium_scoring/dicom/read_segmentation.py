"""DICOM SEG of any origin as a label map on the grid of a series.

Frames are placed by their own position and orientation, so that it does not matter which tool
wrote them, in which order, or whether empty frames were left out or the frames cropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from calcium_scoring.dicom.codes import CALCIUM_TYPES, LABEL_OF_ANATOMY
from calcium_scoring.dicom.headers import PARSER_ERRORS, numbers, quiet_pydicom, text
from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.errors import MaskRejected
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import BACKGROUND, CORONARY, LabelArray, LabelMap

FRAME_TOLERANCE_MM: Final = 0.1
"""A frame may lie this far from its slice: other tools round positions. Our choice."""

_LABEL_MAP_SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.7"
_SEGMENTATION_KINDS: Final = frozenset({SegmentationStorage, _LABEL_MAP_SEGMENTATION})

FrameMask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class SegmentationOrigin:
    """What a SEG says of where it came from; None where it does not say.

    ``series_instance_uids`` are those of the images that it was made on. The model is that of the
    first segment's algorithm; ``model_sha256`` is what cacscore writes as device serial number.
    """

    series_instance_uids: frozenset[str]
    model_name: str | None
    model_version: str | None
    model_sha256: str | None
    content_label: str | None = None


def read_segmentation_origin(path: Path) -> SegmentationOrigin:
    """Read which series a SEG was made on and by which model; MaskRejected as for its labels."""
    with quiet_pydicom():
        try:
            header = dcmread(path, stop_before_pixels=True)
            referenced = header.get("ReferencedSeriesSequence", None) or ()
            uids = (text(item, "SeriesInstanceUID") for item in referenced)
            algorithms = header.SegmentSequence[0].get(
                "SegmentationAlgorithmIdentificationSequence", None
            )
            algorithm = algorithms[0] if algorithms else Dataset()
            return SegmentationOrigin(
                frozenset(uid for uid in uids if uid),
                text(algorithm, "AlgorithmName"),
                text(algorithm, "AlgorithmVersion"),
                text(header, "DeviceSerialNumber"),
                text(header, "ContentLabel"),
            )
        except PARSER_ERRORS as error:
            raise MaskRejected(
                "The mask cannot be read as a DICOM segmentation: it is damaged or incomplete."
            ) from error


def read_segmentation(path: Path, series: CtSeries) -> LabelMap:
    """Read the calcium segments of a SEG as labels on the grid of the series.

    A segment with the code of an artery as its anatomic region gets that artery; one that is
    only said to be calcium, or that is the only one, becomes coronary calcium.

    Raises
    ------
    MaskRejected
        The file is no SEG, a frame does not lie on a slice of the series or is turned against
        it, segments overlap, or several segments leave open which of them are coronary calcium.
    """
    with quiet_pydicom():
        try:
            segmentation = dcmread(path)
            if segmentation.SOPClassUID not in _SEGMENTATION_KINDS:
                raise MaskRejected(
                    "The mask is a DICOM file but no segmentation; SEG is accepted.",
                )
            labels = _labels(segmentation, series.volume.geometry)
        except PARSER_ERRORS as error:
            raise MaskRejected(
                "The mask cannot be read as a DICOM segmentation: it is damaged or incomplete."
            ) from error
    return LabelMap(series.volume.geometry, labels)


def _labels(segmentation: Dataset, geometry: VolumeGeometry) -> LabelArray:
    label_of_segment = _label_of_segment(segmentation)
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    for frame in _frames(segmentation):
        place = _place(frame, geometry)
        target = labels[place]
        for segment_number, mask in frame.masks:
            label = label_of_segment[segment_number]
            taken = target[mask]
            if ((taken != BACKGROUND) & (taken != label)).any():
                raise MaskRejected(
                    "Two segments of the mask claim the same voxel; each voxel of calcium belongs "
                    "to one artery.",
                )
            target[mask] = label
    return labels


def _label_of_segment(segmentation: Dataset) -> dict[int, int]:
    segments = segmentation.SegmentSequence
    found: dict[int, int] = {}
    for segment in segments:
        segment_number = int(segment.SegmentNumber)
        anatomy = _code_values(segment, "AnatomicRegionSequence") | _code_values(
            segment, "PrimaryAnatomicStructureSequence"
        )
        kinds = _code_values(segment, "SegmentedPropertyTypeCodeSequence")
        arteries = {LABEL_OF_ANATOMY[one] for one in (anatomy | kinds) & LABEL_OF_ANATOMY.keys()}
        if len(arteries) == 1:
            found[segment_number] = arteries.pop()
        elif kinds & CALCIUM_TYPES or len(segments) == 1:
            found[segment_number] = CORONARY
        elif segment_number != 0:  # 0 is the background of label maps
            raise MaskRejected(
                f"Segment {segment_number} of {len(segments)} says neither that it is calcium nor "
                "which coronary artery it lies in; code the artery as its anatomic region, or "
                "send one segment.",
                segment_number=segment_number,
                segment_count=len(segments),
            )
    return found


def _code_values(segment: Dataset, keyword: str) -> set[str]:
    values = (text(item, "CodeValue") for item in segment.get(keyword, None) or ())
    return {value for value in values if value}


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame: its grid of one slice, and the mask of each segment in it."""

    geometry: VolumeGeometry
    masks: tuple[tuple[int, FrameMask], ...]


def _frames(segmentation: Dataset) -> Iterator[_Frame]:
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    own = segmentation.PerFrameFunctionalGroupsSequence
    pixels = segmentation.pixel_array
    rows, columns = int(segmentation.Rows), int(segmentation.Columns)
    pixels = pixels.reshape(len(own), rows, columns)
    half = float(segmentation.get("MaximumFractionalValue", 1)) / 2
    is_label_map = segmentation.SegmentationType == "LABELMAP"
    for groups, values in zip(own, pixels, strict=True):
        geometry = _frame_geometry(groups, shared, (1, rows, columns))
        masks: tuple[tuple[int, FrameMask], ...]
        if is_label_map:
            masks = tuple((int(one), values == one) for one in np.unique(values) if one)
        else:
            identification = _group(groups, shared, "SegmentIdentificationSequence")
            masks = ((int(identification.ReferencedSegmentNumber), values > half),)
        yield _Frame(geometry, masks)


def _group(groups: Dataset, shared: Dataset, keyword: str) -> Dataset:
    holder = groups if keyword in groups else shared
    item: Dataset = holder[keyword][0]
    return item


def _frame_geometry(
    groups: Dataset, shared: Dataset, shape: tuple[int, int, int]
) -> VolumeGeometry:
    position = numbers(_group(groups, shared, "PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = numbers(
        _group(groups, shared, "PlaneOrientationSequence"), "ImageOrientationPatient", 6
    )
    spacing = numbers(_group(groups, shared, "PixelMeasuresSequence"), "PixelSpacing", 2)
    if position is None or orientation is None or spacing is None:
        raise MaskRejected("A frame of the mask has no place: position or orientation is missing.")
    affine = np.eye(4)
    affine[:3, 1] = np.array(orientation[3:]) * spacing[0]
    affine[:3, 2] = np.array(orientation[:3]) * spacing[1]
    affine[:3, 0] = np.cross(orientation[:3], orientation[3:])
    affine[:3, 3] = position
    return VolumeGeometry(shape, affine)


def _place(frame: _Frame, geometry: VolumeGeometry) -> tuple[int, slice, slice]:
    """Return where a frame lies in the arrays of the series."""
    _, rows, columns = frame.geometry.shape
    corners = [
        np.array(geometry.index_at(frame.geometry.position_lps_mm((0, row, column))))
        for row, column in ((0, 0), (rows - 1, columns - 1), (0, columns - 1))
    ]
    start, stop, end_of_first_row = (np.rint(index).astype(int) for index in corners)
    offset_mm = max(
        float(np.linalg.norm((index - np.rint(index)) * geometry.spacing_mm)) for index in corners
    )
    steps = np.sign(stop - start)
    fits = (
        offset_mm <= FRAME_TOLERANCE_MM
        and start[0] == stop[0]
        and (abs(stop - start)[1:] == (rows - 1, columns - 1)).all()
        and min(*start, *stop) >= 0
        and (np.maximum(start, stop) < geometry.shape).all()
    )
    if not fits:
        raise MaskRejected(
            f"A frame of the mask ({rows} x {columns} pixels of "
            f"{frame.geometry.pixel_spacing_mm[0]:.4g} mm) does not lie on the slices of the "
            f"series ({geometry.shape[1]} x {geometry.shape[2]} pixels of "
            f"{geometry.pixel_spacing_mm[0]:.4g} mm); a mask must be drawn on this series.",
            offset_mm=round(offset_mm, 3),
        )
    # Two opposite corners of a square lie the same way when it is transposed.
    if end_of_first_row.tolist() != [start[0], start[1], stop[2]]:
        raise MaskRejected(
            "A frame of the mask is transposed or turned by 90 degrees against the slices of the "
            "series; its rows must run along theirs, in either direction.",
        )
    along_rows, along_columns = (
        _run(int(start[axis]), int(stop[axis]), int(steps[axis]) or 1) for axis in (1, 2)
    )
    return int(start[0]), along_rows, along_columns


def _run(start: int, stop: int, step: int) -> slice:
    end = stop + step
    return slice(start, end if end >= 0 else None, step)
