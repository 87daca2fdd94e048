"""COCA gated: regions become labels, and what is odd about a patient is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.label_map import Artery, LabelMap
from model_training.importers.coca_gated import read_coca_gated
from model_training.importers.imported_case import ImportedCase, RefusedCase
from tests.series_builders import remove
from tests.unit.model_training.importers.coca_files import (
    LAD,
    RCA,
    calcium_volume,
    roi,
    square,
    write_patient,
    write_rois,
)

PLAQUE = roi(LAD, square(30, 20, 8, 8), pixels=64, mean=400.0)
"""The 8 x 8 pixels of 400 HU of the builder's volume."""


def imported(root: Path, **options: object) -> ImportedCase:
    (case,) = read_coca_gated(root, **options)  # type: ignore[arg-type]
    assert isinstance(case, ImportedCase), case
    return case


def refused(root: Path, **options: object) -> RefusedCase:
    (case,) = read_coca_gated(root, **options)  # type: ignore[arg-type]
    assert isinstance(case, RefusedCase), case
    return case


def codes(case: ImportedCase | RefusedCase) -> list[str]:
    return [problem.code for problem in case.problems]


def labels_of(case: ImportedCase) -> np.ndarray[Any, np.dtype[np.uint8]]:
    assert isinstance(case.reference, LabelMap)
    return case.reference.labels


def test_image_index_counts_from_zero_in_ascending_z(tmp_path: Path) -> None:
    write_patient(tmp_path, 7, {2: [PLAQUE], 3: [PLAQUE]})

    case = imported(tmp_path)

    expected = np.zeros((9, 64, 64), dtype=np.uint8)
    expected[2:4, 20:28, 30:38] = Artery.LAD
    assert np.array_equal(labels_of(case), expected)
    assert (case.case_id, case.patient) == ("coca-gated-7", "coca-gated-7")
    assert codes(case) == []
    assert case.is_reference_complete


def test_imported_patient_can_be_scored_on_paper(tmp_path: Path) -> None:
    write_patient(tmp_path, 7, {2: [PLAQUE], 3: [PLAQUE]})
    case = imported(tmp_path)
    assert isinstance(case.reference, LabelMap)

    report = measure_calcium(
        case.volume, case.reference, protocol=LITERATURE, has_artery_labels=True
    )

    # 64 pixels of 0.25 mm2 x weight 4 in two slices of 3 mm
    assert report.total.agatston_score == pytest.approx(128.0)
    assert report.arteries is not None
    assert report.arteries[Artery.LAD].agatston_score == pytest.approx(128.0)


def test_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    files = write_patient(tmp_path, 7, {2: [PLAQUE]})
    for number, file in enumerate(reversed(files)):
        file.rename(file.with_name(f"IM-0001-{number:04d}.dcm"))

    assert np.flatnonzero(labels_of(imported(tmp_path)).any(axis=(1, 2))).tolist() == [2]


def test_region_counts_only_where_it_is_dense(tmp_path: Path) -> None:
    hu = calcium_volume().hu
    around = square(28, 18, 12, 12)
    mean = float(hu[2, 18:30, 28:40].astype(np.float64).mean())
    write_patient(tmp_path, 7, {2: [roi(RCA, around, pixels=144, mean=mean)]})

    case = imported(tmp_path)

    assert np.count_nonzero(labels_of(case) == Artery.RCA) == 64
    assert codes(case) == []


@pytest.mark.parametrize(
    ("name", "artery"),
    [
        ("Left Coronary Artery", Artery.LM),
        (LAD, Artery.LAD),
        ("Left Circumflex Artery", Artery.LCX),
        (" right coronary ARTERY", Artery.RCA),
    ],
)
def test_vocabulary_names_the_four_arteries(tmp_path: Path, name: str, artery: Artery) -> None:
    write_patient(tmp_path, 7, {2: [roi(name, square(30, 20, 8, 8), pixels=64, mean=400.0)]})

    assert np.unique(labels_of(imported(tmp_path))).tolist() == [0, artery]


def test_name_outside_the_vocabulary_makes_the_reference_incomplete(tmp_path: Path) -> None:
    odd = roi("ROI 12", square(30, 20, 8, 8), pixels=64, mean=400.0)
    write_patient(tmp_path, 7, {2: [odd], 3: [PLAQUE]})

    case = imported(tmp_path)

    assert codes(case) == ["unknown_roi_name"]
    assert "'ROI 12'" in case.problems[0].message
    assert not case.is_reference_complete
    assert not labels_of(case)[2].any()


def test_caller_may_say_what_an_odd_name_means(tmp_path: Path) -> None:
    odd = roi("ROI 12", square(30, 20, 8, 8), pixels=64, mean=400.0)
    aorta = roi("Aorta", square(30, 20, 8, 8), pixels=64, mean=400.0)
    write_patient(tmp_path, 7, {2: [odd], 3: [aorta]})

    case = imported(tmp_path, roi_names={"roi 12": Artery.LCX, "Aorta": None})

    assert codes(case) == []
    assert case.is_reference_complete
    assert np.count_nonzero(labels_of(case)[2] == Artery.LCX) == 64
    assert not labels_of(case)[3].any()


def test_region_without_points_is_said_and_encloses_nothing(tmp_path: Path) -> None:
    write_patient(tmp_path, 7, {2: [roi(LAD, []), PLAQUE]})

    case = imported(tmp_path)

    assert codes(case) == ["empty_roi"]
    assert case.is_reference_complete
    assert np.count_nonzero(labels_of(case)) == 64


def test_region_without_points_but_with_a_total_has_lost_its_calcium(tmp_path: Path) -> None:
    write_patient(tmp_path, 7, {2: [roi(LAD, [], pixels=5, mean=300.0)], 3: [PLAQUE]})

    assert not imported(tmp_path).is_reference_complete


def test_region_of_a_slice_that_does_not_exist_is_left_out_and_said(tmp_path: Path) -> None:
    write_patient(tmp_path, 7, {2: [PLAQUE], 9: [PLAQUE], -1: [PLAQUE]})

    case = imported(tmp_path)

    assert codes(case) == ["image_index_out_of_range"] * 2
    assert case.problems[0].evidence == {"image_index": 9, "slice_count": 9}
    assert not case.is_reference_complete


def test_region_that_does_not_measure_what_it_says_is_reported(tmp_path: Path) -> None:
    off = roi(LAD, square(30, 20, 8, 8), pixels=70, mean=400.0)
    write_patient(tmp_path, 7, {2: [PLAQUE], 3: [off]})

    case = imported(tmp_path)

    assert codes(case) == ["roi_deviates"]
    evidence = case.problems[0].evidence
    assert (evidence["pixel_count"], evidence["stated_pixel_count"]) == (64, 70)
    assert np.count_nonzero(labels_of(case)[3]) == 64


def test_regions_of_another_scan_are_refused(tmp_path: Path) -> None:
    elsewhere = roi(LAD, square(5, 40, 6, 6), pixels=36, mean=500.0)
    write_patient(tmp_path, 7, {2: [elsewhere, PLAQUE], 3: [elsewhere], 4: [elsewhere]})

    case = refused(tmp_path)

    assert codes(case) == ["rois_do_not_fit"]
    assert "1 of 4" in case.problems[0].message


def test_region_without_total_and_mean_is_used_unchecked(tmp_path: Path) -> None:
    unmeasured = {key: value for key, value in PLAQUE.items() if key not in {"Mean", "Total"}}
    write_patient(tmp_path, 7, {2: [unmeasured]})

    case = imported(tmp_path)

    assert codes(case) == ["roi_without_measurements"]
    assert np.count_nonzero(labels_of(case)) == 64


def test_region_of_soft_tissue_marks_no_calcium(tmp_path: Path) -> None:
    mean = float(calcium_volume().hu[2, 40:43, 10:13].astype(np.float64).mean())
    write_patient(tmp_path, 7, {2: [roi(LAD, square(10, 40, 3, 3), pixels=9, mean=mean)]})

    case = imported(tmp_path)

    assert codes(case) == ["roi_below_threshold"]
    assert not labels_of(case).any()


def test_pixels_claimed_by_two_arteries_stay_with_the_first(tmp_path: Path) -> None:
    half = roi(RCA, square(34, 20, 4, 8), pixels=32, mean=400.0)
    write_patient(tmp_path, 7, {2: [PLAQUE, half]})

    case = imported(tmp_path)

    assert codes(case) == ["overlapping_rois"]
    assert case.problems[0].evidence["pixel_count"] == 32
    assert np.unique(labels_of(case)).tolist() == [0, Artery.LAD]


def test_of_several_series_the_one_on_which_the_regions_measure_right_is_taken(
    tmp_path: Path,
) -> None:
    hu = calcium_volume(seed=5).hu
    mean = float(hu[2, 18:30, 28:40].astype(np.float64).mean())
    drawn = roi(LAD, square(28, 18, 12, 12), pixels=144, mean=mean)
    write_patient(tmp_path, 7, {2: [drawn]}, volume=calcium_volume(seed=4), series="A")
    write_patient(tmp_path, 7, {2: [drawn]}, volume=calcium_volume(seed=5), series="longer name")

    case = imported(tmp_path)

    assert np.array_equal(case.volume.hu, hu)
    assert codes(case) == ["several_series"]
    assert np.count_nonzero(labels_of(case)) == 64


def test_several_series_in_one_folder_are_told_apart_by_their_uid(tmp_path: Path) -> None:
    hu = calcium_volume(seed=5).hu
    mean = float(hu[2, 18:30, 28:40].astype(np.float64).mean())
    drawn = roi(LAD, square(28, 18, 12, 12), pixels=144, mean=mean)
    files = write_patient(tmp_path, 7, {2: [drawn]}, volume=calcium_volume(seed=4), series="A")
    for file in files:
        file.rename(file.with_name(f"IM-0001-{file.name}"))
    write_patient(tmp_path, 7, {2: [drawn]}, volume=calcium_volume(seed=5), series="B" * 5)
    for file in (tmp_path / "patient" / "7" / "BBBBB").iterdir():
        file.rename(tmp_path / "patient" / "7" / "A" / f"IM-0002-{file.name}")

    assert np.array_equal(imported(tmp_path).volume.hu, hu)


def test_series_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    for series in ("A", "longer name"):
        write_patient(tmp_path, 7, {2: [PLAQUE]}, series=series)

    assert codes(refused(tmp_path)) == ["series_not_identified"]


def test_zero_calcium_needs_no_choice_between_series(tmp_path: Path) -> None:
    for series in ("A", "longer name"):
        write_patient(tmp_path, 7, {}, series=series)

    case = imported(tmp_path)

    assert codes(case) == ["several_series"]
    assert not labels_of(case).any()


def test_patient_without_xml_is_zero_only_if_the_caller_says_so(tmp_path: Path) -> None:
    write_patient(tmp_path, 7, None)

    assert codes(refused(tmp_path)) == ["no_annotation"]
    case = imported(tmp_path, no_annotation_means_zero=True)
    assert codes(case) == ["zero_without_annotation"]
    assert not labels_of(case).any()


@pytest.mark.parametrize(
    ("break_it", "code"),
    [("xml", "unreadable_annotation"), ("images", "no_images"), ("slices", "irregular_geometry")],
)
def test_patient_that_cannot_be_used_is_refused_with_its_reason(
    tmp_path: Path, break_it: str, code: str
) -> None:
    if break_it == "images":
        write_rois(tmp_path / "calcium_xml" / "7.xml", {2: [PLAQUE]})
        (tmp_path / "patient").mkdir()
    else:
        files = write_patient(tmp_path, 7, {2: [PLAQUE]}, volume=calcium_volume(slice_count=12))
        if break_it == "xml":
            (tmp_path / "calcium_xml" / "7.xml").write_text("<plist>")
        else:
            remove(files[5:6])

    assert codes(refused(tmp_path)) == [code]


def test_patients_come_by_number_and_one_bad_one_stops_nobody(tmp_path: Path) -> None:
    rois: Mapping[int, Sequence[Mapping[str, Any]]] = {2: [PLAQUE]}
    write_patient(tmp_path, 10, rois)
    write_patient(tmp_path, 9, None)

    cases = list(read_coca_gated(tmp_path))

    assert [case.case_id for case in cases] == ["coca-gated-9", "coca-gated-10"]
    assert [type(case) for case in cases] == [RefusedCase, ImportedCase]


def test_folder_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Gated_release_final"):
        list(read_coca_gated(tmp_path))
