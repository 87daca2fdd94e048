"""How a segmentation object stores its segments."""

from __future__ import annotations

from enum import StrEnum


class SegmentationKind(StrEnum):
    """Type of a DICOM SEG: a bit plane for each segment, or one number a voxel (since 2024)."""

    BINARY = "BINARY"
    LABELMAP = "LABELMAP"
