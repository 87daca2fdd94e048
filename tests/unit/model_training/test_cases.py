"""Cases on disk: complete, split by patient, refused when unreadable."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from model_training.cases import (
    SPLIT_SEEDS,
    Attribute,
    find_cases,
    read_case,
    require_cases,
    split_seeds,
    write_case,
)

GEOMETRY = VolumeGeometry.axial((2, 3, 4), (3.0, 0.5, 0.25), (1.0, 2.0, 3.0))


def volume_of(value_hu: float) -> CtVolume:
    return CtVolume(
        GEOMETRY,
        np.full(GEOMETRY.shape, value_hu, dtype=np.float32),
        CtAcquisition(kvp=120.0, convolution_kernel=("B", "30f"), is_ecg_gated=True),
    )


def labels_of(value: int) -> LabelMap:
    return LabelMap(GEOMETRY, np.full(GEOMETRY.shape, value, dtype=np.uint8))


def test_case_comes_back_as_it_was_written(tmp_path: Path) -> None:
    confusers = np.full(GEOMETRY.shape, 3, dtype=np.uint8)
    volume = volume_of(131.0)

    write_case(
        tmp_path,
        "a",
        split="test",
        volume=volume,
        reference=labels_of(CORONARY),
        confusers=confusers,
    )

    case = read_case(tmp_path / "a")
    assert (case.case_id, case.split) == ("a", "test")
    assert np.array_equal(case.load_volume().hu, volume.hu)
    assert case.load_volume().acquisition == volume.acquisition
    assert case.geometry.is_same_grid(GEOMETRY, tolerance_mm=0.0)
    assert np.array_equal(case.load_reference_label_map().labels, labels_of(CORONARY).labels)
    assert np.array_equal(case.confusers, confusers)


@pytest.mark.parametrize(("value_hu", "stored"), [(129.6, 130), (-70_000.0, -32_768)])
def test_hounsfield_values_are_stored_as_ct_stores_them(
    tmp_path: Path, value_hu: float, stored: int
) -> None:
    case = write_case(
        tmp_path,
        "a",
        split="train",
        volume=volume_of(value_hu),
        reference=labels_of(0),
        confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
    )

    assert case.hu.dtype == np.int16
    assert np.unique(case.hu).tolist() == [stored]


def test_labels_of_another_grid_are_refused(tmp_path: Path) -> None:
    other = VolumeGeometry.axial((2, 3, 4), (3.0, 0.5, 0.5))
    labels = LabelMap(other, np.zeros(other.shape, dtype=np.uint8))

    with pytest.raises(ValueError, match="grid of the volume"):
        write_case(
            tmp_path,
            "a",
            split="train",
            volume=volume_of(40.0),
            reference=labels,
            confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
        )
    assert not list(tmp_path.iterdir())


def test_no_patient_is_in_two_splits() -> None:
    for first, second in combinations(SPLIT_SEEDS.values(), 2):
        assert set(first).isdisjoint(second)


def test_seeds_of_a_split_are_counted_from_its_first() -> None:
    assert list(split_seeds("validation", 2, 3)) == [100_002, 100_003, 100_004]
    with pytest.raises(ValueError, match="no 2 seeds"):
        split_seeds("test", 99_999, 2)


def test_cases_are_found_by_split(tmp_path: Path) -> None:
    for case_id, split in (("b", "train"), ("a", "train"), ("c", "validation")):
        write_case(
            tmp_path,
            case_id,
            split=split,  # type: ignore[arg-type]
            volume=volume_of(40.0),
            reference=labels_of(0),
            confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
        )

    assert [case.case_id for case in find_cases(tmp_path, "train")] == ["a", "b"]
    assert len(find_cases(tmp_path)) == 3
    with pytest.raises(ValueError, match="simulate --cases"):
        require_cases(tmp_path, "test")


def test_case_with_an_unknown_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "case.json").write_text(
        '{"case_id": "a", "split": "holdout", "affine": [], "acquisition":'
        ' {"convolution_kernel": []}}'
    )

    with pytest.raises(ValueError, match="'holdout' is none of train, validation, test"):
        read_case(tmp_path / "a")


def test_heart_and_attributes_come_back_as_they_were_written(tmp_path: Path) -> None:
    heart = np.zeros(GEOMETRY.shape, dtype=np.bool_)
    heart[1, 1:, 2] = True
    attributes: dict[str, Attribute] = {
        "scan.kernel": "soft",
        "scan.noise_hu": 17.5,
        "patient.is_female": True,
    }

    write_case(
        tmp_path,
        "a",
        split="train",
        volume=volume_of(40.0),
        reference=labels_of(0),
        confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
        are_confusers_complete=True,
        heart=heart,
        attributes=attributes,
    )

    case = read_case(tmp_path / "a")
    assert case.heart is not None
    assert case.heart.dtype == np.uint8
    assert np.array_equal(case.heart, heart)
    assert case.attributes == attributes
    assert case.are_confusers_complete


def test_what_is_not_known_of_a_case_is_not_made_up(tmp_path: Path) -> None:
    case = write_case(
        tmp_path,
        "a",
        split="train",
        volume=volume_of(40.0),
        reference=labels_of(0),
        confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
    )

    assert case.heart is None
    assert case.attributes == {}
    assert not case.are_confusers_complete


def test_case_that_was_written_before_hearts_were_known_is_still_read(tmp_path: Path) -> None:
    written = write_case(
        tmp_path,
        "a",
        split="train",
        volume=volume_of(40.0),
        reference=labels_of(0),
        confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
    )
    path = written.folder / "case.json"
    description = json.loads(path.read_text())
    del description["attributes"], description["are_confusers_complete"]
    path.write_text(json.dumps(description))

    assert read_case(written.folder) == written


def test_heart_of_another_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must lie on the grid of the volume"):
        write_case(
            tmp_path,
            "a",
            split="train",
            volume=volume_of(40.0),
            reference=labels_of(0),
            confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
            heart=np.zeros((2, 3, 5), dtype=np.bool_),
        )
    assert not list(tmp_path.iterdir())


def test_case_that_is_written_again_forgets_the_heart_it_had(tmp_path: Path) -> None:
    for heart in (np.ones(GEOMETRY.shape, dtype=np.bool_), None):
        case = write_case(
            tmp_path,
            "a",
            split="train",
            volume=volume_of(40.0),
            reference=labels_of(0),
            confusers=np.zeros(GEOMETRY.shape, dtype=np.uint8),
            heart=heart,
        )
        assert (case.heart is None) == (heart is None)
