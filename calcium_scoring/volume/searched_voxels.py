"""Every dense voxel of the part of a scan that was searched, and what a model said of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.volume.geometry import VolumeGeometry


class SearchedPart(StrEnum):
    """Which part of a scan was searched for coronary calcium."""

    HEART_REGION = "heart_region"
    """The heart as the HeartFinder marks it, widened by a margin."""
    WHOLE_SCAN = "whole_scan"
    """Everything: the model has no HeartFinder, or it saw no heart."""
    MASK = "mask"
    """A reader's own mask: nothing is known of what lies outside it."""


@dataclass(frozen=True, eq=False)
class SearchedVoxels:
    """Voxels of at least a threshold within the searched part; a list, not a volume.

    A dense voxel is rare (a few in a thousand), so that what a model said of each fits into a
    fraction of the memory of a probability volume.

    Parameters
    ----------
    indices
        (n,) flat indices into the ``(slice, row, column)`` array of ``geometry``, ascending, each
        once.
    probabilities
        (n,) float32, probability of coronary calcium; None where no model was asked.
    kinds
        (n,) uint8, index into ``kind_names`` of what the model calls the voxel; None where it
        names nothing.
    """

    geometry: VolumeGeometry
    part: SearchedPart
    indices: NDArray[np.intp]
    probabilities: NDArray[np.float32] | None = None
    kinds: NDArray[np.uint8] | None = None
    kind_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.indices.size and not (
            (np.diff(self.indices) > 0).all()
            and self.indices[0] >= 0
            and self.indices[-1] < np.prod(self.geometry.shape)
        ):
            raise ValueError("Flat indices must ascend, each once, within the grid.")
        for values in (self.probabilities, self.kinds):
            if values is not None and values.shape != self.indices.shape:
                raise ValueError(
                    f"There must be one value for each of {self.indices.size} voxels, "
                    f"not {values.shape}."
                )

    @classmethod
    def of_mask(cls, geometry: VolumeGeometry, dense_mask: NDArray[np.bool_]) -> SearchedVoxels:
        """Return the dense voxels (slice, row, column) of a mask that a reader drew."""
        return cls(geometry, SearchedPart.MASK, np.flatnonzero(dense_mask))
