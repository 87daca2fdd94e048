"""Who is learned from and who judges: never the same patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_training.cases import Split, TrainingCase, write_case
from model_training.finetuning.user_cases import (
    learning_cases,
    own_cases,
    patient_of,
    split_cases,
)
from model_training.importers.keep import PATIENT_ATTRIBUTE
from tests.unit.model_training.conftest import make_case
from tests.unit.model_training.importers.coca_files import LAD, roi, square, write_patient


def case_of(root: Path, case_id: str, patient: str, split: Split = "train") -> TrainingCase:
    plain = make_case(root, case_id, split)
    return write_case(
        root,
        case_id,
        split=split,
        volume=plain.load_volume(),
        reference=plain.load_reference_label_map(),
        confusers=np.array(plain.confusers),
        attributes={PATIENT_ATTRIBUTE: patient},
    )


def names(cases: list[TrainingCase]) -> list[str]:
    return [case.case_id for case in cases]


def test_imported_splits_are_kept_and_test_patients_left_alone(tmp_path: Path) -> None:
    cases = [
        case_of(tmp_path, "a", "1", "train"),
        case_of(tmp_path, "b", "2", "validation"),
        case_of(tmp_path, "c", "3", "test"),
    ]

    training, validation = split_cases(cases, validation_part=0.5)

    assert (names(training), names(validation)) == (["a"], ["b"])


def test_without_validation_patients_some_are_taken_with_all_their_scans(tmp_path: Path) -> None:
    cases = [case_of(tmp_path, f"scan-{index}", f"patient-{index // 2}") for index in range(10)]

    training, validation = split_cases(cases, validation_part=0.2)
    again, _ = split_cases(list(reversed(cases)), validation_part=0.2)

    assert (len(training), len(validation)) == (8, 2)
    assert {patient_of(one) for one in training}.isdisjoint({patient_of(one) for one in validation})
    assert sorted(names(again)) == names(training)


def test_one_patient_is_too_few(tmp_path: Path) -> None:
    cases = [case_of(tmp_path, name, "same") for name in ("a", "b")]

    with pytest.raises(ValueError, match="2 cases of 1 patients are too few"):
        split_cases(cases, validation_part=0.2)


@pytest.mark.parametrize(("part", "count"), [(0.0, 0), (0.2, 1), (0.5, 4), (0.8, 5)])
def test_simulated_patients_are_the_part_that_was_asked_for_or_all(
    tmp_path: Path, part: float, count: int
) -> None:
    own = [make_case(tmp_path, f"own-{index}", "train") for index in range(4)]
    simulated = [make_case(tmp_path, f"simulated-{index}", "train") for index in range(5)]

    chosen = learning_cases(own, own[:1], simulated=simulated, keep_simulated=part)

    assert len(chosen.simulated) == count
    assert chosen.simulated_part == pytest.approx(count / (4 + count))


def test_only_simulated_patients_are_no_fine_tuning(tmp_path: Path) -> None:
    own = [make_case(tmp_path, "own", "train")]

    with pytest.raises(ValueError, match="from 0 to below 1"):
        learning_cases(own, own, simulated=own, keep_simulated=1.0)


def test_data_set_is_imported_once(tmp_path: Path) -> None:
    plaque = roi(LAD, square(30, 20, 8, 8), pixels=64, mean=400.0)
    write_patient(tmp_path / "coca", 1, {2: [plaque]})
    data = f"coca-gated={tmp_path / 'coca'}"

    first = own_cases(data, tmp_path / "cases")
    written = (tmp_path / "cases" / "coca-gated-1" / "hu.npy").stat().st_mtime_ns
    again = own_cases(data, tmp_path / "cases")

    assert names(first) == names(again) == ["coca-gated-1"]
    assert patient_of(first[0]) == "coca-gated-1"
    assert (tmp_path / "cases" / "coca-gated-1" / "hu.npy").stat().st_mtime_ns == written


def test_folder_of_cases_is_used_as_it_is(tmp_path: Path) -> None:
    make_case(tmp_path / "own", "a", "train")

    assert names(own_cases(str(tmp_path / "own"), tmp_path / "run")) == ["a"]
    assert not (tmp_path / "run").exists()


def test_data_without_a_usable_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no case with a usable mask"):
        own_cases(str(tmp_path), tmp_path / "run")
