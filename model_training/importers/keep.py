"""Imported cases as training cases on disk, split by patient."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from calcium_scoring.volume.label_map import LabelMap
from model_training.cases import Split, TrainingCase, write_case
from model_training.importers.imported_case import ImportedCase, ImportProblem, RefusedCase

VALIDATION_PART: Final = 0.15
TEST_PART: Final = 0.15
"""Parts of the patients; the rest is for training. Our choice."""

PATIENT_ATTRIBUTE: Final = "patient"
"""Attribute of a kept case: whose scan it is, so that results are resampled by patient."""

SCORES_ONLY: Final = ImportProblem(
    "scores_only", "The reference is a score; training needs a mask."
)
INCOMPLETE: Final = ImportProblem(
    "incomplete_reference",
    "Calcium that somebody marked is missing from the reference: training on it would teach to "
    "overlook calcium.",
)


def split_of_patient(
    patient: str, *, validation_part: float = VALIDATION_PART, test_part: float = TEST_PART
) -> Split:
    """Return the split of a patient, by a digest of the name.

    It depends on nothing else: adding patients, or importing again, moves nobody.
    """
    digest = hashlib.sha256(patient.encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < test_part:
        return "test"
    return "validation" if place < test_part + validation_part else "train"


def keep_cases(
    imported: Iterable[ImportedCase | RefusedCase],
    root: Path,
    *,
    split_of: Callable[[str], Split] = split_of_patient,
    keep_incomplete: bool = False,
    left_out: Callable[[RefusedCase], None] | None = None,
) -> Iterator[TrainingCase]:
    """Write each imported case below ``root`` and return it.

    Cases without a mask, and (unless ``keep_incomplete``) those whose reference is known to miss
    calcium, are not written; ``left_out`` is told of them and of those that were refused before.
    No confuser is marked in them: what is dense and not calcium is found while training.
    """
    for case in imported:
        if isinstance(case, RefusedCase):
            refused = case
        elif not isinstance(case.reference, LabelMap):
            refused = _refused(case, SCORES_ONLY)
        elif not (case.is_reference_complete or keep_incomplete):
            refused = _refused(case, INCOMPLETE)
        else:
            yield write_case(
                root,
                case.case_id,
                split=split_of(case.patient),
                volume=case.volume,
                reference=case.reference,
                confusers=np.zeros(case.volume.geometry.shape, dtype=np.uint8),
                attributes={PATIENT_ATTRIBUTE: case.patient},
            )
            continue
        if left_out is not None:
            left_out(refused)


def _refused(case: ImportedCase, problem: ImportProblem) -> RefusedCase:
    return RefusedCase(case.case_id, case.patient, case.source, (*case.problems, problem))
