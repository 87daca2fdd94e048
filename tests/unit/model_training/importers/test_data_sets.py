"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_training.importers import DataSet, DataSetKind, ImportedCase, ImportOptions, RefusedCase
from tests.series_builders import noise_volume, write_series
from tests.unit.model_training.importers.coca_files import write_patient, write_scores
from tests.unit.model_training.importers.itk_files import write_itk


def write_data_set(kind: DataSetKind, root: Path) -> Path:
    """Write one case; return what names the data set."""
    volume = noise_volume()
    match kind:
        case DataSetKind.COCA_GATED:
            write_patient(root, 1, {})
        case DataSetKind.COCA_NONGATED:
            write_series(root / "1" / "1")
            write_scores(root / "scores.xlsx", [(1, 0, 0, 0, 0, 0)])
        case DataSetKind.ORCASCORE:
            write_itk(root / "TRV1P1CTI.mha", volume.hu, volume.geometry)
            zero = np.zeros(volume.hu.shape, dtype=np.uint8)
            write_itk(root / "TRV1P1R.mha", zero, volume.geometry)
        case DataSetKind.PAIRS:
            write_series(root / "ct")
            np.save(root / "m.npy", np.zeros(volume.hu.shape, dtype=np.uint8))
            (root / "pairs.csv").write_text("case_id,series,mask\na,ct,m.npy\n")
            return root / "pairs.csv"
    return root


@pytest.mark.parametrize("kind", list(DataSetKind))
def test_every_kind_is_read_by_its_name(tmp_path: Path, kind: DataSetKind) -> None:
    data_set = DataSet.parse(f"{kind.value}={write_data_set(kind, tmp_path)}")

    (case,) = data_set.read()

    assert isinstance(case, ImportedCase)


def test_options_reach_the_data_set(tmp_path: Path) -> None:
    write_patient(tmp_path, 1, None)
    data_set = DataSet(DataSetKind.COCA_GATED, tmp_path)

    (refused,) = data_set.read()
    (zero,) = data_set.read(ImportOptions(no_annotation_means_zero=True))

    assert isinstance(refused, RefusedCase)
    assert isinstance(zero, ImportedCase)


@pytest.mark.parametrize("text", ["coca", "coca-gated", "coca-gated=", "unknown=/tmp", "=x"])
def test_text_that_names_no_data_set_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write KIND=PATH with a kind of coca-gated"):
        DataSet.parse(text)


def test_path_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is nothing at"):
        DataSet.parse(f"pairs={tmp_path / 'none.csv'}")
