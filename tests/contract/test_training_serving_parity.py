"""What the network is trained on and what it is fed when serving are the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.model_input.tiling import segment_volume
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from model_training.cases import TrainingCase, write_case
from model_training.dataset import WindowDataset

GRIDS = {
    "chest": VolumeGeometry.axial((12, 70, 66), (1.25, 0.78, 0.78), (-30.0, -20.0, 5.0)),
    "gated, finer than the network's grid": VolumeGeometry.axial((11, 90, 84), (3.0, 0.39, 0.39)),
    "fewer slices than a window": VolumeGeometry.axial((4, 48, 48), (5.0, 0.7, 0.7)),
    "columns to the patient's right": VolumeGeometry(
        (10, 40, 50),
        np.array(
            [[0.0, 0.0, -0.6, 20.0], [0.0, 0.8, 0.0, 3.0], [2.0, 0.0, 0.0, 0.0], [0, 0, 0, 1.0]]
        ),
    ),
}


def case_on(geometry: VolumeGeometry, root: Path) -> TrainingCase:
    """Random tissue with dense voxels in every slice, in whole HU as CT stores them."""
    rng = np.random.default_rng(7)
    hu = np.rint(rng.normal(40.0, 150.0, geometry.shape)).astype(np.float32)
    labels = np.where(hu > 400.0, CORONARY, 0).astype(np.uint8)
    return write_case(
        root,
        "case",
        split="train",
        volume=CtVolume(geometry, hu),
        reference=LabelMap(geometry, labels),
        confusers=np.zeros(geometry.shape, dtype=np.uint8),
    )


@pytest.mark.parametrize("geometry", GRIDS.values(), ids=GRIDS.keys())
def test_training_sees_the_same_bits_as_serving(geometry: VolumeGeometry, tmp_path: Path) -> None:
    spec = ModelSpec()
    case = case_on(geometry, tmp_path)
    served: list[ModelArray] = []

    def predict_patch(ct_patch: ModelArray) -> ModelArray:
        served.append(ct_patch.copy())
        return np.zeros((1, len(spec.labels), *ct_patch.shape[2:]), dtype=np.float32)

    segment_volume(case.load_volume(), spec, predict_patch)

    trained = WindowDataset(case, spec)
    assert len(served) == len(trained) == geometry.shape[0]
    for index, ct_patch in enumerate(served):
        from_training = trained[index]["ct_patch"].numpy()
        assert from_training.dtype == ct_patch.dtype == np.float32
        assert from_training.tobytes() == ct_patch[0].tobytes()


def test_reference_of_training_lies_on_the_pixels_of_serving(tmp_path: Path) -> None:
    """A network that answered with its reference would find the calcium it was given."""
    spec = ModelSpec()
    geometry = VolumeGeometry.axial((9, 60, 64), (2.5, 0.8, 0.8), (-25.0, -25.0, 0.0))
    hu = np.full(geometry.shape, 40.0, dtype=np.float32)
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    hu[3:6, 20:25, 31:35], labels[3:6, 20:25, 31:35] = 300.0, CORONARY
    hu[2:8, 40:50, 10:20] = 600.0
    case = write_case(
        tmp_path,
        "case",
        split="train",
        volume=CtVolume(geometry, hu),
        reference=LabelMap(geometry, labels),
        confusers=np.zeros(geometry.shape, dtype=np.uint8),
    )
    windows = WindowDataset(case, spec)
    answers = iter(range(len(windows)))

    def oracle(_: ModelArray) -> ModelArray:
        reference = windows[next(answers)]["reference"].numpy()
        return (20.0 * reference - 10.0).astype(np.float32)[np.newaxis]

    # Slices without a dense voxel are not asked for: give the oracle those that are.
    dense_slices = [index for index in range(len(windows)) if (hu[index] >= 130.0).any()]
    answers = iter(dense_slices)
    label_map = segment_volume(case.load_volume(), spec, oracle)

    assert np.array_equal(label_map.labels, labels)
