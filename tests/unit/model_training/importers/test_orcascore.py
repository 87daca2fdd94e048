"""orCaScore: MetaImage scans with their references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.volume.label_map import Artery, LabelMap
from model_training.importers.imported_case import ImportedCase, RefusedCase
from model_training.importers.orcascore import read_orcascore
from tests.series_builders import noise_volume
from tests.unit.model_training.importers.itk_files import write_itk


def write_scan(root: Path, name: str, *, reference: str | None = "R", suffix: str = ".mhd") -> None:
    volume = noise_volume()
    hu = volume.hu.astype(np.int16)
    write_itk(root / "Images" / f"{name}CTI{suffix}", hu, volume.geometry)
    write_itk(root / "Images" / f"{name}CTAI{suffix}", hu, volume.geometry)
    if reference is not None:
        values = np.zeros(volume.hu.shape, dtype=np.int16)
        values[4, 10, 10:13] = (1, 2, 3)
        folder = root / "Reference standard"
        write_itk(folder / f"{name}{reference}{suffix}", values, volume.geometry)


@pytest.mark.parametrize("suffix", [".mhd", ".mha"])
def test_labels_are_lad_lcx_and_rca(tmp_path: Path, suffix: str) -> None:
    write_scan(tmp_path, "TRV1P1", suffix=suffix)

    (case,) = read_orcascore(tmp_path)

    assert isinstance(case, ImportedCase)
    assert isinstance(case.reference, LabelMap)
    assert case.case_id == case.patient == "orcascore-TRV1P1"
    assert case.reference.labels[4, 10, 10:13].tolist() == [Artery.LAD, Artery.LCX, Artery.RCA]
    assert np.count_nonzero(case.reference.labels) == 3
    assert np.array_equal(case.volume.hu, noise_volume().hu)
    assert case.volume.acquisition.is_ecg_gated
    assert [problem.code for problem in case.problems] == ["left_main_counts_as_lad"]


def test_scans_without_reference_are_refused_and_angiography_is_not_read(tmp_path: Path) -> None:
    write_scan(tmp_path, "TRV2P10", reference=None)
    write_scan(tmp_path, "TRV2P9")

    cases = list(read_orcascore(tmp_path))

    assert [(case.case_id, type(case)) for case in cases] == [
        ("orcascore-TRV2P9", ImportedCase),
        ("orcascore-TRV2P10", RefusedCase),
    ]
    assert cases[1].problems[0].code == "no_annotation"


def test_reference_may_be_named_otherwise(tmp_path: Path) -> None:
    write_scan(tmp_path, "TRV1P1", reference="_reference")

    (case,) = read_orcascore(tmp_path, reference_suffix="_reference")

    assert isinstance(case, ImportedCase)


def test_reference_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write_scan(tmp_path, "TRV1P1")
    other = noise_volume(11)
    write_itk(
        tmp_path / "Reference standard" / "TRV1P1R.mhd",
        np.zeros(other.hu.shape, dtype=np.int16),
        other.geometry,
    )

    (case,) = read_orcascore(tmp_path)

    assert isinstance(case, RefusedCase)
    assert case.problems[0].code == "mask_rejected"


def test_folder_without_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folder of orCaScore"):
        list(read_orcascore(tmp_path))
