"""Training cases from simulated patients: whatever the seed draws, written once, then kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from calcium_scoring.model_input.heart_region import HeartSpec
from calcium_scoring.phantom.patient import PhantomPatient, simulate_patient
from calcium_scoring.phantom.settings import sample_scan
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import LabelMap
from model_training.cases import (
    CASE_FILE,
    Attribute,
    Split,
    TrainingCase,
    read_case,
    split_seeds,
    write_case,
)
from model_training.dataset import box_near
from model_training.heart_finder.cases import write_heart_case

logger = logging.getLogger(__name__)

RICH_RATES = (2.0, 4.0, 6.0)
"""Factors on how much calcium lies outside the coronary arteries of a rich patient; our choice."""

RICH_BURDENS = {"0": 0.08, "1-10": 0.15, "11-100": 0.25, "101-400": 0.26, ">400": 0.26}
"""Odds of the risk category of a rich patient; our choice."""

RICH_METAL_ODDS = 0.4

RICH_EXTENT_MM = 170.0
"""A rich patient is scanned around the heart only, which is what is learned from."""

NICENESS = 5
"""Simulating leaves the processor to a training that runs beside it."""

_EVERYWHERE = (Structure.NONE, Structure.BONE, Structure.TABLE)
"""Not confusers of their own: crops around any dense voxel find them."""


def simulate_cases(
    root: Path,
    split: Split,
    *,
    first: int,
    count: int,
    worker_count: int = 1,
    near_heart_mm: float | None = None,
    hearts: Path | None = None,
    is_rich: bool = False,
    overrides: Mapping[str, Any] | None = None,
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
    near_heart_mm
        Keep only the box around the heart that is wider by this on every side; None keeps all.
    hearts
        Folder that also receives the whole scan as a coarse volume for the heart finder.
    is_rich
        Draw patients with many things that are mistaken for coronary calcium
        (:func:`rich_settings`).
    overrides
        Settings of :func:`simulate_patient` that shall not be drawn.
    """
    make = partial(
        _simulate_case,
        root,
        split,
        near_heart_mm=near_heart_mm,
        hearts=hearts,
        is_rich=is_rich,
        overrides=overrides or {},
    )
    seeds = split_seeds(split, first, count)
    if worker_count <= 1:
        for seed in seeds:
            yield make(seed)
        return
    with ProcessPoolExecutor(worker_count, initializer=_lower_priority) as pool:
        futures = [pool.submit(make, seed) for seed in seeds]
        for future in as_completed(futures):
            yield future.result()


def case_id_of_seed(seed: int) -> str:
    """Return the name of the case of a simulated patient."""
    return f"phantom-{seed:06d}"


def case_of_patient(
    root: Path, split: Split, patient: PhantomPatient, *, near_heart_mm: float | None = None
) -> TrainingCase:
    """Write a simulated patient as a case, whole or the box around the heart."""
    confusers = np.where(np.isin(patient.structures, _EVERYWHERE), 0, patient.structures)
    whole = (slice(None), slice(None), slice(None))
    box = whole
    if near_heart_mm is not None and patient.heart.any():
        box = box_near(patient.heart, patient.volume.geometry, near_heart_mm)
    geometry = patient.volume.geometry.cropped(box)
    return write_case(
        root,
        case_id_of_seed(patient.seed),
        split=split,
        volume=CtVolume(geometry, patient.volume.hu[box].copy(), patient.volume.acquisition),
        reference=LabelMap(geometry, patient.truth.labels[box].copy()),
        confusers=confusers[box].astype(np.uint8),
        heart=patient.heart[box],
        are_confusers_complete=True,
        attributes=attributes_of_patient(patient),
    )


def rich_settings(seed: int) -> dict[str, Any]:
    """Return what is drawn otherwise for a patient rich in what is mistaken for calcium.

    Calcified pericardium, annuli, valves and aortas, stents and leads are rare in patients as they
    come; a network learns to tell them from calcium where it meets them as often.
    """
    rng = np.random.default_rng([seed, 5])
    drawn: dict[str, Any] = {
        "confuser_rate": float(rng.choice(RICH_RATES)),
        "burden_category": str(rng.choice(list(RICH_BURDENS), p=list(RICH_BURDENS.values()))),
        "has_metal": bool(rng.random() < RICH_METAL_ODDS),
    }
    scan = sample_scan(seed)
    if scan.z_extent_mm > RICH_EXTENT_MM:
        drawn |= {"z_extent_mm": RICH_EXTENT_MM, "z_centre_mm": float(rng.uniform(-20.0, 5.0))}
    return drawn


def is_simulated(case: TrainingCase) -> bool:
    """Tell whether a case is a simulated patient: only that one knows how it was scanned."""
    return any(name.startswith("scan.") for name in case.attributes)


def attributes_of_patient(patient: PhantomPatient) -> dict[str, Attribute]:
    """Return the settings of patient and scan that are single values, as ``scan.motion_mm``."""
    return {
        f"{name}.{item.name}": value
        for name, settings in (
            ("patient", patient.patient_settings),
            ("scan", patient.scan_settings),
        )
        for item in fields(settings)
        if isinstance(value := getattr(settings, item.name), str | float | int)
    }


def _simulate_case(
    root: Path,
    split: Split,
    seed: int,
    *,
    near_heart_mm: float | None,
    hearts: Path | None,
    is_rich: bool,
    overrides: Mapping[str, Any],
) -> TrainingCase:
    folder = root / case_id_of_seed(seed)
    if (folder / CASE_FILE).is_file():
        return read_case(folder)
    patient = simulate_patient(seed, **{**(rich_settings(seed) if is_rich else {}), **overrides})
    if hearts is not None:
        write_heart_case(hearts, split, patient, HeartSpec())
    return case_of_patient(root, split, patient, near_heart_mm=near_heart_mm)


def _lower_priority() -> None:
    os.nice(NICENESS)
