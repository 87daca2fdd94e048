"""What a network got wrong is noted: beside its case, piece by piece, near the heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from model_training.cases import TrainingCase, write_case
from model_training.dataset import HARD_VOXELS_FILE
from model_training.mining import VOXELS_PER_PIECE, Mistakes, mine_cases

SPEC = ModelSpec(pixel_spacing_mm=1.0)
GEOMETRY = VolumeGeometry.axial((8, 64, 64), (5.0, 1.0, 1.0))

FAINT_LESION, RIB, FAR_RIB = np.s_[2, 20, 20:22], np.s_[3, 24:40, 30], np.s_[3, 60, 40:60]


def bright_is_calcium(ct_patch: ModelArray) -> ModelArray:
    """A network that takes all above 300 HU for calcium and misses what is fainter."""
    low, high = SPEC.hu_range
    return (1000.0 * (ct_patch[:, 4:5] - (300.0 - low) / (high - low))).astype(np.float32)


def case_with(root: Path, *, is_heart_known: bool) -> TrainingCase:
    """A faint lesion, one that is found, a rib near the heart and one far away."""
    hu = np.full(GEOMETRY.shape, 40.0, dtype=np.float32)
    labels = np.zeros(GEOMETRY.shape, dtype=np.uint8)
    hu[FAINT_LESION], labels[FAINT_LESION] = 200.0, CORONARY
    hu[2, 10:14, 10:14], labels[2, 10:14, 10:14] = 500.0, CORONARY
    hu[RIB] = hu[FAR_RIB] = 600.0
    heart = np.zeros(GEOMETRY.shape, dtype=np.bool_)
    heart[2:5, 12:30, 12:30] = True
    return write_case(
        root,
        "case",
        split="train",
        volume=CtVolume(GEOMETRY, hu),
        reference=LabelMap(GEOMETRY, labels),
        confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
        heart=heart if is_heart_known else None,
    )


def voxels_of(case: TrainingCase) -> set[tuple[int, ...]]:
    return {tuple(voxel) for voxel in np.load(case.folder / HARD_VOXELS_FILE).tolist()}


def indices(part: tuple[int | slice, ...]) -> set[tuple[int, ...]]:
    mask = np.zeros(GEOMETRY.shape, dtype=np.bool_)
    mask[part] = True
    return {tuple(voxel) for voxel in np.argwhere(mask).tolist()}


def test_mistakes_near_the_heart_are_noted_and_those_far_away_are_not(tmp_path: Path) -> None:
    case = case_with(tmp_path, is_heart_known=True)

    (mistakes,) = mine_cases([case], SPEC, bright_is_calcium)

    # All 16 voxels of the rib lie within 15 mm of the heart; the far rib begins 31 mm from it.
    assert mistakes == Mistakes("case", false_positives=16, false_negatives=2, pieces=2)
    noted = voxels_of(case)
    assert indices(FAINT_LESION) <= noted
    assert noted <= indices(FAINT_LESION) | indices(RIB)


def test_a_long_piece_does_not_outnumber_a_small_one(tmp_path: Path) -> None:
    case = case_with(tmp_path, is_heart_known=True)

    list(mine_cases([case], SPEC, bright_is_calcium))

    assert len(voxels_of(case) & indices(RIB)) == VOXELS_PER_PIECE == 12
    assert len(voxels_of(case)) == 12 + 2


def test_where_no_heart_is_known_the_whole_scan_is_looked_at(tmp_path: Path) -> None:
    case = case_with(tmp_path, is_heart_known=False)

    (mistakes,) = mine_cases([case], SPEC, bright_is_calcium)

    assert mistakes == Mistakes("case", false_positives=36, false_negatives=2, pieces=3)


def test_a_network_without_mistakes_leaves_an_empty_list(tmp_path: Path) -> None:
    case = case_with(tmp_path, is_heart_known=False)
    labels = np.array(case.labels)
    answers = iter([index for index in range(8) if (case.hu[index] >= 130).any()])

    def oracle(_: ModelArray) -> ModelArray:
        return np.where(labels[next(answers)] > 0, 20.0, -20.0).astype(np.float32)[None, None]

    (mistakes,) = mine_cases([case], SPEC, oracle)

    assert mistakes == Mistakes("case", 0, 0, 0)
    assert np.load(case.folder / HARD_VOXELS_FILE).shape == (0, 3)
