"""Marks on a scan: what is read, and what is refused because it cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.volume.label_map import Artery
from model_training.backgrounds.marks import SHIPPED_MARKS, find_marks, read_marks
from tests.unit.model_training.backgrounds.straight_artery import circle, write_marks


def test_shipped_marks_name_all_arteries_and_the_licence_of_the_scan() -> None:
    found = find_marks(SHIPPED_MARKS)

    assert [marks.name for marks in found] == ["lidc0002", "lungdx-a0001", "tcga-de-a4ma"]
    for marks in found:
        assert set(marks.arteries) == set(Artery)
        assert marks.source.licence in {"CC BY 3.0", "CC BY 4.0"}
        assert marks.source.subject in marks.source.attribution
        assert marks.source.doi.startswith("10.7937/")


def test_left_anterior_descending_artery_begins_where_the_left_main_ends() -> None:
    for marks in find_marks(SHIPPED_MARKS):
        end = marks.arteries[Artery.LM][-1, :3]
        assert np.array_equal(marks.arteries[Artery.LAD][0, :3], end)
        assert np.array_equal(marks.arteries[Artery.LCX][0, :3], end)


def test_straight_artery_is_as_long_as_its_ends_are_apart(tmp_path: Path) -> None:
    tree = read_marks(write_marks(tmp_path)).coronary_tree()

    assert [branch.name for branch in tree.branches] == ["LAD"]
    assert tree.branches[0].length_mm == pytest.approx(42.5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"arteries": {"RIVA": [[0, 0, 10, 1], [0, 0, 20, 1]]}}, "'RIVA' is no artery"),
        ({"arteries": {"LAD": [[0, 0, 10, 1], [0, 0, 20, 0]]}}, "radii above 0 mm"),
        ({"arteries": {}}, "no artery is marked"),
        ({"name": "Straight Scan"}, "lower-case letters"),
        ({"heart": [{"z_mm": 5.0, "outline_mm": circle(25.0)}]}, "two or more heights"),
        (
            {"heart": [{"z_mm": z, "outline_mm": circle(25.0)} for z in (0.0, 80.0)]},
            "beyond the marked range",
        ),
        (
            {"heart": [{"z_mm": z, "outline_mm": circle(25.0, 4)} for z in (0.0, 50.0)]},
            "has 4 points",
        ),
        ({"scan": {"psf_sigma_mm": 0.0, "slice_thickness_mm": 2.5}}, "psf_sigma_mm is 0.0 mm"),
        (
            {"dense_spots": [{"structure": "PEARL", "centre_mm": [0, 0, 0], "radius_mm": 5}]},
            "'PEARL' is no structure",
        ),
    ],
)
def test_marks_that_cannot_be_are_refused_with_the_reason(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    path = write_marks(tmp_path, **change)

    with pytest.raises(ValueError, match=sentence):
        read_marks(path)


def test_file_outside_the_data_folder_is_refused(tmp_path: Path) -> None:
    source = {
        "file": "../secret.zip", "series_instance_uid": "1", "collection": "", "subject": "",
        "licence": "", "doi": "", "attribution": "",
    }  # fmt: skip

    with pytest.raises(ValueError, match="must lie below the data folder"):
        read_marks(write_marks(tmp_path, source=source))


def test_missing_field_is_named(tmp_path: Path) -> None:
    path = write_marks(tmp_path)
    path.write_text('{"name": "straight"}', encoding="utf-8")

    with pytest.raises(ValueError, match="does not say 'source'"):
        read_marks(path)


def test_scan_that_is_left_out_is_not_found_and_an_unknown_one_is_an_error(tmp_path: Path) -> None:
    write_marks(tmp_path)
    write_marks(tmp_path, name="second")

    assert [marks.name for marks in find_marks(tmp_path, ["second"])] == ["straight"]
    with pytest.raises(ValueError, match="named third; there are second, straight"):
        find_marks(tmp_path, ["third"])
