"""Cases from simulated patients: kept, split by seed, confusers by kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calcium_scoring.phantom.patient import simulate_patient
from calcium_scoring.phantom.structures import Structure
from model_training import simulate
from model_training.cases import find_cases
from model_training.simulate import (
    RICH_EXTENT_MM,
    RICH_RATES,
    case_of_patient,
    rich_settings,
    simulate_cases,
)

SMALL_SCAN: dict[str, Any] = {
    "kind": "chest",
    "matrix_size": 96,
    "z_extent_mm": 30.0,
    "spacing_between_slices_mm": 5.0,
}


def test_patient_becomes_a_case_with_its_truth(tmp_path: Path) -> None:
    patient = simulate_patient(3, burden_category=">400", **SMALL_SCAN)

    case = case_of_patient(tmp_path, "train", patient)

    assert case.case_id == "phantom-000003"
    assert np.array_equal(case.labels, patient.truth.labels)
    assert np.array_equal(case.hu, np.rint(patient.volume.hu).astype(np.int16))
    assert not np.isin(case.confusers, [Structure.BONE, Structure.TABLE]).any()


def test_case_that_is_there_is_not_simulated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def small_patient(seed: int) -> object:
        seeds.append(seed)
        return simulate_patient(seed, **SMALL_SCAN)

    monkeypatch.setattr(simulate, "simulate_patient", small_patient)

    first = list(simulate_cases(tmp_path, "validation", first=1, count=1))
    again = list(simulate_cases(tmp_path, "validation", first=1, count=1))

    assert seeds == [100_001]
    assert first[0].case_id == again[0].case_id == "phantom-100001"
    assert [case.split for case in find_cases(tmp_path)] == ["validation"]


def test_rich_patient_holds_more_that_is_mistaken_for_calcium(tmp_path: Path) -> None:
    def confuser_voxels(folder: str, *, is_rich: bool) -> int:
        cases = simulate_cases(
            tmp_path / folder,
            "train",
            first=11,
            count=3,
            is_rich=is_rich,
            overrides={**SMALL_SCAN, "z_centre_mm": 0.0},
        )
        return sum(int(((case.confusers > 0) & (case.hu >= 130)).sum()) for case in cases)

    assert confuser_voxels("rich", is_rich=True) > 2 * confuser_voxels("drawn", is_rich=False)


def test_rich_scan_is_of_the_heart() -> None:
    drawn = [rich_settings(seed) for seed in range(40)]

    assert all(one == rich_settings(seed) for seed, one in enumerate(drawn))
    assert {one["confuser_rate"] for one in drawn} == set(RICH_RATES)
    assert max(one.get("z_extent_mm", 0.0) for one in drawn) == RICH_EXTENT_MM
