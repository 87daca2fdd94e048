"""Which voxels are coronary calcium, and of which artery; label values are defined here only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.volume.geometry import VolumeGeometry

LabelArray: TypeAlias = NDArray[np.uint8]
MaskArray: TypeAlias = NDArray[np.bool_]

BACKGROUND = 0


class Artery(IntEnum):
    """The four coronary arteries of a calcium score; the value is the label."""

    LM = 1
    LAD = 2
    LCX = 3
    RCA = 4


CORONARY = 5
"""Label of coronary calcium whose artery is not known, as from a binary network."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Labels ``(slice, row, column)``, uint8: background, an :class:`Artery`, or ``CORONARY``."""

    geometry: VolumeGeometry
    labels: LabelArray

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8 or self.labels.shape != self.geometry.shape:
            raise ValueError(
                f"Labels must be uint8 of shape {self.geometry.shape}, "
                f"not {self.labels.dtype} of {self.labels.shape}."
            )
        if self.labels.size and int(self.labels.max()) > CORONARY:
            raise ValueError(f"Label {int(self.labels.max())} is unknown; {CORONARY} is the last.")
        self.labels.setflags(write=False)

    @classmethod
    def from_mask(cls, geometry: VolumeGeometry, calcium_mask: MaskArray) -> LabelMap:
        """Return the label map of a binary mask: calcium without an artery."""
        return cls(geometry, np.where(calcium_mask, CORONARY, BACKGROUND).astype(np.uint8))

    @property
    def calcium_mask(self) -> MaskArray:
        """All coronary calcium, whatever its artery."""
        mask: MaskArray = self.labels != BACKGROUND
        return mask
