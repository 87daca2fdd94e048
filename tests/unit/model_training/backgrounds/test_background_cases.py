"""Cases from marked scans: kept once, for training only, with their heart and licence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_training.backgrounds import cases as background_cases_module
from model_training.backgrounds.cases import background_cases, inserted_scan, settings_of
from model_training.backgrounds.marks import SHIPPED_MARKS, ScanMarks, find_marks
from model_training.backgrounds.pictures import draw_marks
from model_training.backgrounds.scan import Background, load_background


def test_case_carries_heart_confusers_and_the_attribution_of_its_scan(
    background: Background, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_cases_module, "load_background", lambda *_: background)

    (case,) = background_cases(tmp_path, [background.marks], tmp_path, first=4, count=1)

    scan = inserted_scan(background, 4)
    assert case.case_id == "real-straight-000004"
    assert case.split == "train"
    assert case.attributes["background.licence"] == "CC0"
    assert np.array_equal(case.labels, scan.truth.labels)
    assert case.heart is not None
    assert np.array_equal(case.heart, scan.heart)
    assert case.geometry.is_same_grid(scan.volume.geometry)


def test_case_that_is_there_is_kept_and_its_scan_not_read_again(
    background: Background, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def load(marks: ScanMarks, _: Path) -> Background:
        read.append(marks.name)
        return background

    monkeypatch.setattr(background_cases_module, "load_background", load)
    for _ in range(2):
        list(background_cases(tmp_path, [background.marks], tmp_path, first=0, count=1))

    assert read == ["straight"]


def test_numbers_differ_in_calcium_and_scan(background: Background) -> None:
    drawn = [settings_of(background, number) for number in range(12)]

    assert len({settings.burden_category for settings in drawn}) > 2
    assert len({settings.merge for settings in drawn}) > 2


def test_marks_are_drawn_over_the_slices_of_the_heart(
    background: Background, tmp_path: Path
) -> None:
    draw_marks(background, tmp_path / "pictures" / "straight.png")

    assert (tmp_path / "pictures" / "straight.png").stat().st_size > 1000


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["lidc0002", "lungdx-a0001", "tcga-de-a4ma"])
def test_marked_arteries_run_inside_the_marked_heart_of_the_real_scan(
    real_data: Path, name: str
) -> None:
    (marks,) = (one for one in find_marks(SHIPPED_MARKS) if one.name == name)

    background = load_background(marks, real_data)

    geometry = background.volume.geometry
    # The sac of an adult with the roots of the great vessels; the lowest part of one is cut off.
    assert 400.0 < background.heart.sum() * geometry.voxel_volume_mm3 / 1000.0 < 1000.0
    for branch in marks.coronary_tree().branches:
        indices = np.array(
            [geometry.index_at((float(x), float(y), float(z))) for x, y, z in branch.lumen.points]
        )
        inside = background.heart[tuple(np.rint(indices).astype(int).T)]
        assert inside.all(), branch.name
    background.scanner()  # has the grid of the scan
