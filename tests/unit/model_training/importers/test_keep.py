"""Imported cases become training cases, split by patient."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from calcium_scoring.volume.label_map import Artery
from model_training.cases import find_cases
from model_training.importers.imported_case import (
    ImportedCase,
    ImportProblem,
    Reference,
    ReferenceScores,
    RefusedCase,
)
from model_training.importers.keep import keep_cases, split_of_patient
from tests.builders import plaque_phantom

LOST = ImportProblem("image_index_out_of_range", "lost", is_reference_incomplete=True)


def case(
    name: str,
    patient: str = "p",
    *,
    reference: Reference | None = None,
    problems: tuple[ImportProblem, ...] = (),
) -> ImportedCase:
    volume, labels = plaque_phantom(label=Artery.LAD)
    return ImportedCase(name, patient, Path("there"), volume, reference or labels, problems)


def test_imported_case_is_kept_as_a_training_case(tmp_path: Path) -> None:
    (kept,) = keep_cases([case("a")], tmp_path)

    volume, labels = plaque_phantom(label=Artery.LAD)
    assert kept.case_id == "a"
    assert kept.split == split_of_patient("p")
    assert np.array_equal(kept.load_volume().hu, volume.hu)
    assert np.array_equal(kept.load_reference_label_map().labels, labels.labels)
    assert not kept.confusers.any()
    assert [one.case_id for one in find_cases(tmp_path)] == ["a"]


def test_scores_and_incomplete_references_are_left_out_with_a_word(tmp_path: Path) -> None:
    refused = RefusedCase("c", "p", Path("there"), (ImportProblem("no_images", "none"),))
    cases: list[ImportedCase | RefusedCase] = [
        case("a", reference=ReferenceScores(10.0, {})),
        case("b", problems=(LOST,)),
        refused,
        case("d"),
    ]
    left_out: list[RefusedCase] = []

    kept = list(keep_cases(cases, tmp_path, left_out=left_out.append))

    assert [one.case_id for one in kept] == ["d"]
    assert [(one.case_id, one.problems[-1].code) for one in left_out] == [
        ("a", "scores_only"),
        ("b", "incomplete_reference"),
        ("c", "no_images"),
    ]
    assert left_out[1].problems[0] == LOST


def test_incomplete_reference_is_kept_where_it_is_asked_for(tmp_path: Path) -> None:
    kept = list(keep_cases([case("b", problems=(LOST,))], tmp_path, keep_incomplete=True))

    assert [one.case_id for one in kept] == ["b"]


def test_all_scans_of_a_patient_are_in_one_split(tmp_path: Path) -> None:
    cases = [case(f"{patient}-{scan}", patient) for patient in "abcdef" for scan in (1, 2)]

    kept = list(keep_cases(cases, tmp_path))

    for patient in "abcdef":
        assert len({one.split for one in kept if one.case_id.startswith(patient)}) == 1


def test_split_takes_about_the_stated_parts_of_the_patients() -> None:
    counts = Counter(split_of_patient(f"coca-gated-{number}") for number in range(2000))

    # 15 % of 2,000 is 300, with a standard deviation of 16.
    assert abs(counts["validation"] - 300) < 64
    assert abs(counts["test"] - 300) < 64
    assert split_of_patient("a", validation_part=0.0, test_part=1.0) == "test"
    assert split_of_patient("a", validation_part=1.0, test_part=0.0) == "validation"
