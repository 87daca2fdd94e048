"""Find the voxels that a network gets wrong in its own training cases, to learn from them again.

What is marked without being calcium, and calcium that is not marked, is written beside the case as
``hard_voxels.npy``; crops are then also drawn around such voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.model_input.tiling import PredictPatch, segment_volume
from calcium_scoring.volume.label_map import BACKGROUND
from model_training.cases import TrainingCase
from model_training.dataset import HARD_VOXELS_FILE, widened

VOXELS_PER_PIECE: Final = 12
"""Kept of one connected piece (our choice): a long rib shall not outnumber a small lesion."""

REGION_MARGIN_MM: Final = 15.0
"""Mistakes farther from a known heart do not matter: serving does not look there. Our choice."""


@dataclass(frozen=True)
class Mistakes:
    """What a network got wrong in a case, in voxels and in connected pieces."""

    case_id: str
    false_positives: int
    false_negatives: int
    pieces: int


def mine_cases(
    cases: Iterable[TrainingCase], spec: ModelSpec, predict_patch: PredictPatch
) -> Iterator[Mistakes]:
    """Write the hard voxels of each case and say how many there were."""
    for case in cases:
        volume = case.load_volume()
        region = _region(case)
        found = segment_volume(volume, spec, predict_patch, region=region).calcium_mask
        calcium = np.asarray(case.labels) != BACKGROUND
        if region is not None:
            calcium &= region
        rng = np.random.default_rng(0)
        wrong = [found & ~calcium, calcium & ~found]
        chosen = [_some_of_each_piece(mask, rng) for mask in wrong]
        np.save(case.folder / HARD_VOXELS_FILE, np.concatenate([voxels for voxels, _ in chosen]))
        yield Mistakes(
            case.case_id,
            int(np.count_nonzero(wrong[0])),
            int(np.count_nonzero(wrong[1])),
            sum(count for _, count in chosen),
        )


def _region(case: TrainingCase) -> NDArray[np.bool_] | None:
    if case.heart is None or not case.heart.any():
        return None
    return widened(case.heart > 0, case.geometry, REGION_MARGIN_MM)


def _some_of_each_piece(
    wrong: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.int32], int]:
    voxels = np.argwhere(wrong).astype(np.int32)
    if not len(voxels):
        return voxels.reshape(0, 3), 0
    numbers, count = ndimage.label(wrong, structure=np.ones((3, 3, 3), dtype=np.bool_))
    of_voxel = numbers[tuple(voxels.T)]
    # In random order, the first few of each piece.
    order = rng.permutation(len(voxels))
    ranked = order[np.argsort(of_voxel[order], kind="stable")]
    _, first = np.unique(of_voxel[ranked], return_index=True)
    rank = np.arange(len(ranked)) - np.repeat(first, np.diff([*first, len(ranked)]))
    return voxels[ranked[rank < VOXELS_PER_PIECE]], int(count)
