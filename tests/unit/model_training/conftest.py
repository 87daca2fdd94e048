"""Cases that are small enough to learn from in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import Artery, LabelMap
from model_training.cases import Split, TrainingCase, write_case

torch.set_num_threads(1)  # more threads than free cores make small networks slower, not faster

VALVE = 7
"""A kind of confuser; the number only has to differ from 0."""


def make_case(root: Path, case_id: str, split: Split, *, seed: int = 0) -> TrainingCase:
    """Noise of soft tissue with a plaque, a dense confuser and, elsewhere, a piece of bone."""
    rng = np.random.default_rng(seed)
    geometry = VolumeGeometry.axial((11, 64, 60), (2.5, 0.8, 0.8), (-20.0, -25.0, 10.0))
    hu = rng.normal(40.0, 8.0, geometry.shape).astype(np.float32)
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    confusers = np.zeros(geometry.shape, dtype=np.uint8)
    hu[4:7, 30:34, 20:24], labels[4:7, 30:34, 20:24] = 400.0, Artery.LAD
    hu[5:7, 10:14, 40:44], confusers[5:7, 10:14, 40:44] = 500.0, VALVE
    hu[:, 52:58, 5:50] = 700.0
    return write_case(
        root,
        case_id,
        split=split,
        volume=CtVolume(geometry, hu),
        reference=LabelMap(geometry, labels),
        confusers=confusers,
    )


@pytest.fixture
def case(tmp_path: Path) -> TrainingCase:
    return make_case(tmp_path / "cases", "one", "train")
