"""Scans with masks of any format, named in a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.write_segmentation import write_segmentation
from calcium_scoring.dicom.write_series import zip_files
from calcium_scoring.nifti import write_nifti
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from model_training.importers.imported_case import ImportedCase, RefusedCase
from model_training.importers.pairs import label_meanings, read_pairs, read_table
from tests.series_builders import noise_volume, write_series
from tests.unit.model_training.importers.itk_files import write_itk

VOLUME = noise_volume()
LABELS = np.zeros(VOLUME.hu.shape, dtype=np.uint8)
LABELS[3:5, 10:14, 20:24] = Artery.LAD
LABELS[6, 30:33, 40:44] = Artery.RCA


@dataclass(frozen=True)
class Reader:
    """Whoever drew the mask."""

    name: str = "reader"
    version: str = "1"
    sha256: str = "0" * 64


def write_table(folder: Path, *lines: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text("\n".join(("case_id,patient,series,mask,labels", *lines)), encoding="utf-8")
    return path


def imported_labels(table: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    (case,) = read_pairs(table)
    assert isinstance(case, ImportedCase), case
    assert isinstance(case.reference, LabelMap)
    assert np.array_equal(case.volume.hu, VOLUME.hu)
    return case.reference.labels


def refusal(table: Path) -> str:
    (case,) = read_pairs(table)
    assert isinstance(case, RefusedCase), case
    return f"{case.problems[0].code}: {case.problems[0].message}"


def test_dicom_folder_with_a_nifti_of_ours_keeps_its_arteries(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_nifti(LabelMap(VOLUME.geometry, LABELS), tmp_path / "mask.nii.gz")

    labels = imported_labels(write_table(tmp_path, "a,p,ct,mask.nii.gz,"))

    assert np.array_equal(labels, LABELS)


def test_zipped_dicom_with_a_segmentation_keeps_its_arteries(tmp_path: Path) -> None:
    archive = zip_files(write_series(tmp_path / "ct"), tmp_path / "ct.zip")
    series = read_ct_series(archive, tmp_path / "unpacked")
    write_segmentation(
        LabelMap(VOLUME.geometry, LABELS),
        series,
        Reader(),
        tmp_path / "mask.dcm",
    )

    labels = imported_labels(write_table(tmp_path, "a,p,ct.zip,mask.dcm,"))

    assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("scan", ["ct", "ct.nii.gz", "ct.mha"])
def test_values_of_a_label_map_mean_what_the_table_says(
    tmp_path: Path, suffix: str, scan: str
) -> None:
    if scan == "ct":
        write_series(tmp_path / "ct")
    else:
        write_itk(tmp_path / scan, VOLUME.hu.astype(np.int16), VOLUME.geometry)
    values = np.where(LABELS == Artery.LAD, 3, 0) + np.where(LABELS == Artery.RCA, 1, 0)
    write_itk(tmp_path / f"mask{suffix}", values.astype(np.int16), VOLUME.geometry)

    labels = imported_labels(write_table(tmp_path, f"a,p,{scan},mask{suffix},3=CORONARY"))

    assert np.array_equal(labels, np.where(LABELS == Artery.LAD, CORONARY, 0))


def test_numpy_mask_is_calcium_of_unknown_artery(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    np.save(tmp_path / "mask.npy", LABELS)

    labels = imported_labels(write_table(tmp_path, "a,p,ct,mask.npy,"))

    assert np.array_equal(labels, np.where(LABELS > 0, CORONARY, 0))


def test_mask_that_marks_nothing_is_zero_calcium_and_said(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    np.save(tmp_path / "mask.npy", np.zeros_like(LABELS))

    (case,) = read_pairs(write_table(tmp_path, "a,p,ct,mask.npy,"))

    assert isinstance(case, ImportedCase)
    assert [problem.code for problem in case.problems] == ["empty_mask"]


def test_what_cannot_be_read_is_refused_and_stops_nobody(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_itk(tmp_path / "ct.mha", VOLUME.hu.astype(np.int16), VOLUME.geometry)
    np.save(tmp_path / "mask.npy", LABELS)
    np.save(tmp_path / "small.npy", LABELS[:3])
    (tmp_path / "empty").mkdir()
    table = write_table(
        tmp_path,
        "a,,none,mask.npy,",
        "b,,ct,none.npy,",
        "c,,ct,small.npy,",
        "d,,empty,mask.npy,",
        "e,,ct.mha,ct/000001.dcm,",
        "f,,ct,mask.npy,",
    )

    cases = list(read_pairs(table))

    assert [case.problems[0].code for case in cases[:5]] == [
        "no_dicom_found",
        "mask_rejected",
        "mask_rejected",
        "no_dicom_found",
        "mask_rejected",
    ]
    assert isinstance(cases[5], ImportedCase)


def test_labels_that_are_not_stated_are_refused_where_they_are_open(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_itk(tmp_path / "mask.nrrd", LABELS, VOLUME.geometry)

    assert "state which" in refusal(write_table(tmp_path, "a,p,ct,mask.nrrd,"))


def test_patient_is_the_case_where_the_table_names_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffmask,series,case_id\nm.npy,ct,a\n", encoding="utf-8")

    (pair,) = read_table(tmp_path / "t.csv")

    assert (pair.case_id, pair.patient, pair.meanings) == ("a", "a", None)
    assert pair.series == tmp_path / "ct"


def test_label_meanings_are_values_and_names() -> None:
    assert label_meanings("1=LM; 2=lad;3=LCX ;4=RCA;9=coronary") == {
        1: Artery.LM,
        2: Artery.LAD,
        3: Artery.LCX,
        4: Artery.RCA,
        9: CORONARY,
    }
    assert label_meanings(" ") is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,p,ct,,"], "line 2: mask missing"),
        (["a,p,ct,m.npy,", "a,q,ct,m.npy,"], "line 3: case_id 'a' is there already"),
        (["../a,p,ct,m.npy,"], "cannot name a folder"),
        (["a,p,ct,m.npy,1=HEART"], "line 2: '1=HEART' says no label"),
        (["a,p,ct,m.npy,LAD"], "says no label"),
        ([], "names no case"),
    ],
)
def test_table_with_a_mistake_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_pairs(write_table(tmp_path, *lines)))


def test_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read as a CSV table"):
        list(read_pairs(tmp_path / "none.csv"))
