"""Counts of voxels and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calcium_scoring.volume.label_map import MaskArray


@dataclass(frozen=True)
class VoxelCounts:
    """Voxels found, wrongly marked and missed."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @classmethod
    def of(cls, found: MaskArray, calcium: MaskArray) -> VoxelCounts:
        """Compare what a model found with the reference; both of one shape."""
        return cls(
            int(np.count_nonzero(found & calcium)),
            int(np.count_nonzero(found & ~calcium)),
            int(np.count_nonzero(~found & calcium)),
        )

    @property
    def precision(self) -> float:
        """Part of the marked voxels that are calcium; 1 where nothing is marked."""
        marked = self.true_positives + self.false_positives
        return self.true_positives / marked if marked else 1.0

    @property
    def sensitivity(self) -> float:
        """Part of the calcium that is marked; 1 where there is none."""
        calcium = self.true_positives + self.false_negatives
        return self.true_positives / calcium if calcium else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both; 1 where there is no calcium and none is marked."""
        total = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / total if total else 1.0

    def __add__(self, other: VoxelCounts) -> VoxelCounts:
        return VoxelCounts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )
