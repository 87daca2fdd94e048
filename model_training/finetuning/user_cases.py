"""The cases that fine-tuning learns from and those that judge it: never of one patient."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from model_training.cases import TrainingCase, find_cases
from model_training.importers.data_sets import DataSet, DataSetKind, ImportOptions
from model_training.importers.imported_case import RefusedCase
from model_training.importers.keep import PATIENT_ATTRIBUTE, keep_cases

IMPORTED: Final = "imported"
"""File beside imported cases that says that all of them are there."""


@dataclass(frozen=True)
class LearningCases:
    """Cases to learn from, those of them that are simulated, and cases of other patients."""

    own: tuple[TrainingCase, ...]
    simulated: tuple[TrainingCase, ...]
    validation: tuple[TrainingCase, ...]

    @property
    def simulated_part(self) -> float:
        """Part of the crops that show a simulated patient: each case gives equally many."""
        return len(self.simulated) / (len(self.own) + len(self.simulated))


def own_cases(
    data: str,
    folder: Path,
    options: ImportOptions | None = None,
    left_out: Callable[[RefusedCase], None] | None = None,
) -> list[TrainingCase]:
    """Return the cases that ``data`` names.

    Parameters
    ----------
    data
        A folder of training cases, ``KIND=PATH`` of a data set, or a CSV table of scans and masks.
    folder
        Where a data set is imported to, once.
    options, left_out
        As for importing.

    Raises
    ------
    ValueError
        If there is no usable case.
    """
    path = Path(data)
    if path.is_dir():
        cases = find_cases(path)
    else:
        if path.suffix.lower() == ".csv" and path.is_file():
            data_set = DataSet(DataSetKind.PAIRS, path)
        else:
            data_set = DataSet.parse(data)
        cases = _imported(data_set, folder, options, left_out)
    if not cases:
        raise ValueError(f"There is no case with a usable mask in {data}.")
    return cases


def patient_of(case: TrainingCase) -> str:
    """Return whose scan a case is; without a name each case is another patient."""
    return str(case.attributes.get(PATIENT_ATTRIBUTE, case.case_id))


def split_cases(
    cases: Sequence[TrainingCase], *, validation_part: float
) -> tuple[list[TrainingCase], list[TrainingCase]]:
    """Return the cases to learn from and those to judge by, split by patient.

    Cases keep the split they were imported with, and those of the split ``test`` are left alone for
    the end. Only where none is for validation, some of the patients who are for training are taken
    instead: the part that is asked for, at least one, by a digest of their names.

    Raises
    ------
    ValueError
        If fewer than two patients are left.
    """
    training = [case for case in cases if case.split == "train"]
    validation = [case for case in cases if case.split == "validation"]
    if training and validation:
        return training, validation
    usable = training or validation
    patients = sorted({patient_of(case) for case in usable}, key=_digest)
    if len(patients) < 2:
        raise ValueError(
            f"{len(cases)} cases of {len({patient_of(case) for case in cases})} patients are too "
            "few: besides those of the split test at least two patients are needed, one to learn "
            "from and one to judge by."
        )
    count = min(len(patients) - 1, max(1, round(validation_part * len(patients))))
    judges = set(patients[:count])
    return (
        [case for case in usable if patient_of(case) not in judges],
        [case for case in usable if patient_of(case) in judges],
    )


def learning_cases(
    own: Sequence[TrainingCase],
    validation: Sequence[TrainingCase],
    *,
    simulated: Sequence[TrainingCase],
    keep_simulated: float,
) -> LearningCases:
    """Mix simulated patients in, so that they are about this part of what is learned from.

    Parameters
    ----------
    own, validation
        The user's cases.
    simulated
        What there is; some are drawn where there are more than needed.
    keep_simulated
        From 0 to below 1. Where there are too few simulated patients it is less.
    """
    if not 0.0 <= keep_simulated < 1.0:
        raise ValueError(
            f"The part of simulated patients is from 0 to below 1, not {keep_simulated}."
        )
    wanted = round(keep_simulated / (1.0 - keep_simulated) * len(own))
    if keep_simulated > 0.0:
        wanted = max(1, wanted)
    order = np.random.default_rng(0).permutation(len(simulated))[:wanted]
    return LearningCases(
        tuple(own), tuple(simulated[int(place)] for place in sorted(order)), tuple(validation)
    )


def _imported(
    data_set: DataSet,
    folder: Path,
    options: ImportOptions | None,
    left_out: Callable[[RefusedCase], None] | None,
) -> list[TrainingCase]:
    if (folder / IMPORTED).is_file():
        return find_cases(folder)
    cases = list(keep_cases(data_set.read(options), folder, left_out=left_out))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / IMPORTED).touch()
    return cases


def _digest(patient: str) -> str:
    return hashlib.sha256(patient.encode()).hexdigest()
