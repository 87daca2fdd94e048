"""Enhanced CT: many slices in one object, each described by its functional groups.

A frame becomes an image like any other: a header in which the attributes of its functional groups
(PS3.3 C.7.6.16) stand where single-frame CT has them. Everything that judges, sorts and measures
slices then needs to know of one kind of CT only. Frames may come in any order; where they lie is in
their own position and orientation, and frames of another stack are another series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from calcium_scoring.dicom.headers import (
    PARSER_ERRORS,
    ImageFile,
    NotReadable,
    number,
    quiet_pydicom,
    sop_class,
    text,
    texts,
)

ENHANCED_CT: Final = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
"""SOP classes of CT with many frames in one object."""

LARGEST_FRAME_COUNT: Final = 4_000
"""Frames become headers of their own, which take memory; our choice, as for the slices of a
series."""

_FUNCTIONAL_GROUPS: Final = (
    # What a converter of old series did not know where to put (PS3.3 C.7.6.16.2.25).
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
    "CTAcquisitionTypeSequence",
    "CTAcquisitionDetailsSequence",
    "CTXRayDetailsSequence",
    "CTReconstructionSequence",
    "CardiacSynchronizationSequence",
    "FrameContentSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
)
"""Macros whose attributes single-frame CT has in its top level; a later one has the last word."""

_OF_THE_OBJECT: Final = frozenset({"SOPClassUID", "SOPInstanceUID", "NumberOfFrames"})
_GROUP_HOLDERS: Final = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_HOUNSFIELD_UCUM: Final = "[hnsf'U]"


def is_enhanced_ct(header: Dataset) -> bool:
    """Tell whether a file holds CT as Enhanced (or legacy converted) multi-frame object."""
    return sop_class(header) in ENHANCED_CT


def frames_of(image: ImageFile) -> list[ImageFile]:
    """Return the frames of an Enhanced CT object as images with headers of their own.

    Raises
    ------
    NotReadable
        The object does not describe each of its frames.
    """
    with quiet_pydicom():
        try:
            return _frames(image)
        except PARSER_ERRORS as error:
            raise NotReadable(
                "is an Enhanced CT object whose functional groups cannot be read"
            ) from error


def _frames(image: ImageFile) -> list[ImageFile]:
    header = image.header
    frame_count = int(number(header, "NumberOfFrames") or 0)
    shared: Dataset = next(iter(header.get("SharedFunctionalGroupsSequence") or ()), Dataset())
    own = header.get("PerFrameFunctionalGroupsSequence") or ()
    if frame_count < 1 or len(own) != frame_count:
        raise NotReadable(
            f"is an Enhanced CT object of {frame_count} frames that describes {len(own)} of them"
        )
    if frame_count > LARGEST_FRAME_COUNT:
        raise NotReadable(
            f"is an Enhanced CT object of {frame_count} frames; at most {LARGEST_FRAME_COUNT} "
            "are read"
        )
    common = list(_elements(header))
    frames = []
    for frame_index, groups in enumerate(own):
        frame = Dataset()
        frame.file_meta = header.file_meta
        for element in common:
            # Frames own their elements: setting an attribute changes its element in place.
            frame.add(copy(element))
        for holder in (shared, groups):
            _flatten(frame, holder)
        _note_other_units(frame, (shared, groups))
        frames.append(
            replace(image, header=frame, frame_index=frame_index, frame_count=frame_count)
        )
    return frames


def _elements(header: Dataset) -> Iterator[DataElement]:
    """Give the readable attributes that all frames have in common."""
    for tag in tuple(header.keys()):
        with suppress(*PARSER_ERRORS):
            element = header[tag]
            if element.keyword not in _GROUP_HOLDERS:
                yield element


def _flatten(frame: Dataset, groups: Dataset) -> None:
    """Put the attributes of functional groups into the top level of a frame's header."""
    for keyword in _FUNCTIONAL_GROUPS:
        for item in groups.get(keyword) or ():
            for element in item:
                if element.keyword and element.keyword not in _OF_THE_OBJECT:
                    frame.add(copy(element))
            break  # a macro has one item
    for item in groups.get("CTImageFrameTypeSequence") or ():
        if "FrameType" in item:
            frame.ImageType = list(texts(item, "FrameType"))
    usage = groups.get("ContrastBolusUsageSequence") or ()
    if usage and all(text(item, "ContrastBolusAgentAdministered") == "NO" for item in usage):
        # The object lists the agents of the examination; this frame was acquired before.
        frame.pop("ContrastBolusAgentSequence", None)


def _note_other_units(frame: Dataset, holders: Sequence[Dataset]) -> None:
    """Let the unit of a real world value mapping stand for an unspecified Rescale Type.

    Perfusion and effective atomic number maps are Enhanced CT too; they are no Hounsfield units.
    """
    if text(frame, "RescaleType") not in {None, "US"}:
        return
    units = [
        text(unit, "CodeValue")
        for holder in holders
        for mapping in holder.get("RealWorldValueMappingSequence") or ()
        for unit in mapping.get("MeasurementUnitsCodeSequence") or ()
    ]
    if any(unit not in {None, _HOUNSFIELD_UCUM} for unit in units):
        frame.RescaleType = "NOT HU"
