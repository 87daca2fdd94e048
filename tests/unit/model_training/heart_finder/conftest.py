"""A heart for tests: a bright ball in noise, where nothing has to be simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from calcium_scoring.model_input.heart_region import HeartSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap
from model_training.cases import Split, TrainingCase, write_case

torch.set_num_threads(1)  # more threads than free cores make small networks slower, not faster

SPEC = HeartSpec(spacing_mm=6.0, smallest_shape=(16, 16, 16))
GEOMETRY = VolumeGeometry.axial((16, 32, 32), (6.0, 3.0, 3.0))
"""96 mm along each axis: 16 cubes of 6 mm."""

RADIUS_MM = 25.0


def ball_case(
    root: Path, case_id: str, split: Split, *, seed: int, is_heart_known: bool = True
) -> TrainingCase:
    """Fat with noise and a ball of muscle, 65 mL, somewhere in the middle."""
    rng = np.random.default_rng(seed)
    middle = 48.0 + rng.uniform(-10.0, 10.0, 3)
    offsets = [
        (np.arange(size) + 0.5) * spacing - centre
        for size, spacing, centre in zip(GEOMETRY.shape, GEOMETRY.spacing_mm, middle, strict=True)
    ]
    distance = np.sqrt(sum(np.square(part) for part in np.ix_(*offsets)))
    heart = distance <= RADIUS_MM
    hu = np.where(heart, 60.0, -150.0) + rng.normal(0.0, 20.0, GEOMETRY.shape)
    return write_case(
        root,
        case_id,
        split=split,
        volume=CtVolume(GEOMETRY, hu.astype(np.float32)),
        reference=LabelMap(GEOMETRY, np.zeros(GEOMETRY.shape, dtype=np.uint8)),
        confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
        heart=heart if is_heart_known else None,
    )
