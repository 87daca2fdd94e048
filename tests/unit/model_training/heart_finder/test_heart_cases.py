"""Coarse volumes on disk: from cases whose heart is known, by split, never half written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_training.heart_finder.cases import (
    HeartCase,
    find_heart_cases,
    heart_case_of,
    simulate_heart_cases,
)
from tests.unit.model_training.heart_finder.conftest import RADIUS_MM, SPEC, ball_case


def test_a_case_becomes_a_coarse_volume_that_keeps_the_volume_of_its_heart(tmp_path: Path) -> None:
    case = ball_case(tmp_path / "cases", "one", "train", seed=0)

    coarse = heart_case_of(case, tmp_path / "hearts", SPEC)

    hu, heart = coarse.arrays
    assert coarse.case_id == "train-one"
    assert hu.shape == heart.shape == (16, 16, 16)
    # Cubes of 6 mm are 0.216 mL; parts of a cube are kept to 1/255.
    assert heart.sum() * 0.216 == pytest.approx(4.0 / 3.0 * np.pi * (RADIUS_MM / 10) ** 3, rel=0.02)
    assert 0.0 < np.unique(heart)[1] < 1.0
    assert hu[heart == 1.0].mean() == pytest.approx(60.0, abs=2.0)
    assert hu[heart == 0.0].mean() == pytest.approx(-150.0, abs=2.0)


def test_a_case_without_a_known_heart_is_refused(tmp_path: Path) -> None:
    case = ball_case(tmp_path, "one", "train", seed=0, is_heart_known=False)

    with pytest.raises(ValueError, match="one has no heart mask"):
        heart_case_of(case, tmp_path / "hearts", SPEC)


def test_coarse_volumes_are_found_by_split_and_none_is_an_error(tmp_path: Path) -> None:
    cases, hearts = tmp_path / "cases", tmp_path / "hearts"
    heart_case_of(ball_case(cases, "b", "train", seed=0), hearts, SPEC)
    heart_case_of(ball_case(cases, "a", "train", seed=1), hearts, SPEC)
    heart_case_of(ball_case(cases, "v", "validation", seed=2), hearts, SPEC)

    assert [case.case_id for case in find_heart_cases(hearts, "train")] == ["train-a", "train-b"]
    assert [case.case_id for case in find_heart_cases(hearts, "validation")] == ["validation-v"]
    with pytest.raises(ValueError, match="python -m model_training heart simulate"):
        find_heart_cases(hearts, "test")


def test_what_a_killed_process_leaves_behind_is_no_case(tmp_path: Path) -> None:
    hearts = tmp_path / "hearts"
    written = heart_case_of(ball_case(tmp_path / "cases", "a", "train", seed=0), hearts, SPEC)
    # Written under a hidden name, renamed when complete.
    (hearts / ".train-b.npz").write_bytes(written.path.read_bytes()[:100])

    assert [case.case_id for case in find_heart_cases(hearts, "train")] == ["train-a"]


def test_a_patient_who_is_there_already_is_not_simulated_again(tmp_path: Path) -> None:
    path = tmp_path / "validation-100003.npz"
    path.write_bytes(b"kept")

    (case,) = simulate_heart_cases(tmp_path, "validation", first=3, count=1, spec=SPEC)

    assert case == HeartCase("validation-100003", path)
    assert path.read_bytes() == b"kept"


@pytest.mark.slow
def test_a_simulated_patient_has_a_heart_of_a_hearts_size(tmp_path: Path) -> None:
    (case,) = simulate_heart_cases(tmp_path, "test", first=0, count=1, spec=SPEC)

    hu, heart = case.arrays
    assert hu.shape == heart.shape
    # With its fat, as HeartSpec says; the field of view may cut it.
    assert 150.0 <= heart.sum() * 0.216 <= 1500.0
    assert -150.0 <= hu[heart == 1.0].mean() <= 150.0
