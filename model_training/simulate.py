"""Training cases from simulated patients: whatever the seed draws, written once, then kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from calcium_scoring.phantom.patient import PhantomPatient, simulate_patient
from calcium_scoring.phantom.structures import Structure
from model_training.cases import CASE_FILE, Split, TrainingCase, read_case, split_seeds, write_case

logger = logging.getLogger(__name__)

NICENESS = 5
"""Simulating leaves the processor to a training that runs beside it."""

_EVERYWHERE = (Structure.NONE, Structure.BONE, Structure.TABLE)
"""Not confusers of their own: crops around any dense voxel find them."""


def simulate_cases(
    root: Path, split: Split, *, first: int, count: int, worker_count: int = 1
) -> Iterator[TrainingCase]:
    """Simulate patients of a split and yield their cases as they are ready.

    Parameters
    ----------
    root
        Folder of the cases; one that is there already is kept as it is.
    split
        Its seeds are those of no other split.
    first, count
        Which of its seeds: the ``first``-th and those after it.
    worker_count
        Processes, each at a low priority.
    """
    seeds = split_seeds(split, first, count)
    if worker_count <= 1:
        for seed in seeds:
            yield _simulate_case(root, split, seed)
        return
    with ProcessPoolExecutor(worker_count, initializer=_lower_priority) as pool:
        futures = [pool.submit(_simulate_case, root, split, seed) for seed in seeds]
        for future in as_completed(futures):
            yield future.result()


def case_id_of_seed(seed: int) -> str:
    """Return the name of the case of a simulated patient."""
    return f"phantom-{seed:06d}"


def case_of_patient(root: Path, split: Split, patient: PhantomPatient) -> TrainingCase:
    """Write a simulated patient as a case."""
    confusers = np.where(np.isin(patient.structures, _EVERYWHERE), 0, patient.structures)
    return write_case(
        root,
        case_id_of_seed(patient.seed),
        split=split,
        volume=patient.volume,
        reference=patient.truth,
        confusers=confusers.astype(np.uint8),
    )


def _simulate_case(root: Path, split: Split, seed: int) -> TrainingCase:
    folder = root / case_id_of_seed(seed)
    if (folder / CASE_FILE).is_file():
        return read_case(folder)
    return case_of_patient(root, split, simulate_patient(seed))


def _lower_priority() -> None:
    os.nice(NICENESS)
