"""Coarse volumes with their hearts: from simulated patients, and from any case with a heart mask.

A case is one file ``<case_id>.npz`` with ``hu`` (int16) and ``heart`` (uint8, 255 where all of a
coarse voxel is heart), both (slice, row, column) on the grid of :class:`HeartSpec`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.model_input.heart_region import HeartSpec, coarse_volume
from calcium_scoring.phantom.patient import PhantomPatient, simulate_patient
from calcium_scoring.volume.geometry import VolumeGeometry
from model_training.cases import SPLIT_SEEDS, Split, TrainingCase, split_seeds

logger = logging.getLogger(__name__)

COARSE_MATRIX: Final = 160
"""Pixels along a row of the scans that are simulated for this: three millimetres each."""

COARSE_SCAN: Final[dict[str, Any]] = {
    "matrix_size": COARSE_MATRIX,
    "spacing_between_slices_mm": 5.0,
    "slice_thickness_mm": 5.0,
}

_FULL: Final = 255


@dataclass(frozen=True)
class HeartCase:
    """One coarse volume."""

    case_id: str
    path: Path

    @cached_property
    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """HU and the part of each voxel that is heart, (slice, row, column)."""
        with np.load(self.path) as stored:
            return stored["hu"].astype(np.float32), stored["heart"].astype(np.float32) / _FULL


def simulate_heart_cases(
    root: Path, split: Split, *, first: int, count: int, spec: HeartSpec
) -> Iterable[HeartCase]:
    """Simulate patients of a split in quick coarse scans; one that is there already is kept."""
    for seed in split_seeds(split, first, count):
        path = _path(root, split, seed)
        if path.is_file():
            yield HeartCase(path.stem, path)
        else:
            yield write_heart_case(root, split, simulate_patient(seed, **COARSE_SCAN), spec)


def write_heart_case(
    root: Path, split: Split, patient: PhantomPatient, spec: HeartSpec
) -> HeartCase:
    """Write the scan of a simulated patient as a coarse volume."""
    path = _path(root, split, patient.seed)
    _write(path, patient.volume.hu.astype(np.float32), patient.heart, patient.volume.geometry, spec)
    return HeartCase(path.stem, path)


def heart_case_of(case: TrainingCase, root: Path, spec: HeartSpec) -> HeartCase:
    """Write a case whose heart is known as a coarse volume.

    Raises
    ------
    ValueError
        If its heart is not known.
    """
    if case.heart is None:
        raise ValueError(f"Case {case.case_id} has no heart mask.")
    path = root / f"{case.split}-{case.case_id}.npz"
    _write(path, case.hu.astype(np.float32), case.heart > 0, case.geometry, spec)
    return HeartCase(path.stem, path)


def find_heart_cases(root: Path, split: Split) -> list[HeartCase]:
    """Return the coarse volumes of a split below a folder.

    Raises
    ------
    ValueError
        If there is none.
    """
    cases = [HeartCase(path.stem, path) for path in sorted(root.glob(f"{split}-*.npz"))]
    if not cases:
        raise ValueError(
            f"No {split} volume in {root}. Make some: python -m model_training heart simulate "
            f"--hearts {root} --split {split} --n 100 (splits: {', '.join(SPLIT_SEEDS)})"
        )
    return cases


def _path(root: Path, split: Split, seed: int) -> Path:
    return root / f"{split}-{seed:06d}.npz"


def _write(
    path: Path,
    hu: NDArray[np.float32],
    heart: NDArray[np.bool_],
    geometry: VolumeGeometry,
    spec: HeartSpec,
) -> None:
    coarse_hu, _ = coarse_volume(hu, geometry, spec.spacing_mm)
    covered, _ = coarse_volume(heart.astype(np.float32), geometry, spec.spacing_mm)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, so that what a killed process leaves behind is never found as a case.
    unfinished = path.with_name(f".{path.name}")
    np.savez_compressed(
        unfinished,
        hu=np.rint(np.clip(coarse_hu, -1024.0, 3071.0)).astype(np.int16),
        heart=np.rint(covered * _FULL).astype(np.uint8),
    )
    unfinished.replace(path)
