"""COCA non-gated: scores of a table beside chest CT without UIDs."""

from __future__ import annotations

from pathlib import Path

import pytest

from calcium_scoring.volume.ct_volume import CtAcquisition
from calcium_scoring.volume.label_map import Artery
from model_training.importers.coca_nongated import read_coca_nongated
from model_training.importers.imported_case import ImportedCase, ReferenceScores, RefusedCase
from tests.series_builders import noise_volume, set_attributes, write_series
from tests.unit.model_training.importers.coca_files import write_scores

CHEST_CT = CtAcquisition(kvp=120.0, slice_thickness_mm=5.0, series_description="CHEST 5 MM")


def write_chest(root: Path, number: int) -> None:
    """Write 5 mm slices of one patient without Series and Study Instance UID."""
    volume = noise_volume(spacing_mm=(5.0, 0.7, 0.7), acquisition=CHEST_CT)
    files = write_series(root / str(number) / str(number), volume, seed=number)
    set_attributes(files, SeriesInstanceUID=None, StudyInstanceUID=None)
    for index, file in enumerate(files):
        file.rename(file.with_name(f"IM-0001-{index + 1:04d}.dcm"))


def codes(case: ImportedCase | RefusedCase) -> set[str]:
    return {problem.code for problem in case.problems}


def test_scores_of_the_table_become_the_reference(tmp_path: Path) -> None:
    write_chest(tmp_path, 3)
    write_scores(tmp_path / "scores.xlsx", [(3, 10, 200.5, 0, 40, 250.5)])

    (case,) = read_coca_nongated(tmp_path)

    assert isinstance(case, ImportedCase)
    assert case.reference == ReferenceScores(
        250.5, {Artery.LM: 10.0, Artery.LAD: 200.5, Artery.LCX: 0.0, Artery.RCA: 40.0}
    )
    assert case.patient == "coca-nongated-3"
    assert case.volume.geometry.spacing_between_slices_mm == pytest.approx(5.0)
    assert codes(case) == {"missing_uids", "thick_slices", "not_ecg_gated"}
    assert case.is_reference_complete


@pytest.mark.parametrize("name", [3, 3.0, "3", "3A", " 3 a"])
def test_row_finds_its_folder_however_excel_keeps_the_name(tmp_path: Path, name: object) -> None:
    write_chest(tmp_path, 3)
    write_scores(tmp_path / "scores.xlsx", [(name, 0, 0, 0, 0, 0)])

    (case,) = read_coca_nongated(tmp_path)

    assert isinstance(case, ImportedCase)
    assert case.case_id == "coca-nongated-3"


def test_total_that_is_not_the_sum_is_said_and_used(tmp_path: Path) -> None:
    write_chest(tmp_path, 3)
    write_scores(tmp_path / "scores.xlsx", [(3, 10, 20, 0, 0, 100)])

    (case,) = read_coca_nongated(tmp_path)

    assert "total_differs" in codes(case)
    assert isinstance(case, ImportedCase)
    assert isinstance(case.reference, ReferenceScores)
    assert case.reference.agatston_score == 100.0


@pytest.mark.parametrize("cell", [None, "n/a", -1, True, "nan"])
def test_score_of_an_artery_that_is_no_number_is_unknown_not_zero(
    tmp_path: Path, cell: object
) -> None:
    write_chest(tmp_path, 3)
    write_scores(tmp_path / "scores.xlsx", [(3, cell, 20, 0, 0, 20)])

    (case,) = read_coca_nongated(tmp_path)

    assert "unreadable_score" in codes(case)
    assert isinstance(case, ImportedCase)
    assert isinstance(case.reference, ReferenceScores)
    assert case.reference.arteries[Artery.LM] is None


def test_rows_and_folders_without_each_other_are_refused(tmp_path: Path) -> None:
    write_chest(tmp_path, 2)
    write_chest(tmp_path, 3)
    write_scores(
        tmp_path / "scores.xlsx", [(3, 0, 0, 0, 0, None), (10, 0, 0, 0, 0, 0), (None,) * 6]
    )

    cases = list(read_coca_nongated(tmp_path))

    assert [(case.case_id, codes(case)) for case in cases] == [
        ("coca-nongated-2", {"no_annotation"}),
        ("coca-nongated-3", {"unreadable_score"}),
        ("coca-nongated-10", {"no_images"}),
    ]
    assert all(isinstance(case, RefusedCase) for case in cases)


def test_rows_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    write_chest(tmp_path, 3)
    same, other = (3, 0, 5, 0, 0, 5), (3, 0, 7, 0, 0, 7)
    write_scores(tmp_path / "scores.xlsx", [same, same, other])

    (case,) = read_coca_nongated(tmp_path)

    assert isinstance(case, RefusedCase)
    assert codes(case) == {"contradicting_rows"}


def test_table_that_is_no_table_of_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read as an Excel table"):
        list(read_coca_nongated(tmp_path))
    (tmp_path / "scores.xlsx").write_bytes(b"filename,LCA")
    with pytest.raises(ValueError, match="cannot be read as an Excel table"):
        list(read_coca_nongated(tmp_path))


def test_table_without_a_column_is_refused(tmp_path: Path) -> None:
    from openpyxl import Workbook  # noqa: PLC0415 - only here without the builder's heading

    book = Workbook()
    book.worksheets[0].append(["filename", "LAD", "LCX", "RCA", "total"])
    book.save(tmp_path / "other.xlsx")

    with pytest.raises(ValueError, match=r"lacks the columns \['lca'\]"):
        list(read_coca_nongated(tmp_path, tmp_path / "other.xlsx"))
