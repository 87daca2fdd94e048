"""One scan compared with its reference, counted by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from model_training.agreement import LesionCounts
from model_training.evaluation.case_figures import (
    AnnotatedScan,
    CaseFigures,
    FoundInScan,
    measure_case,
)
from model_training.evaluation.false_positives import CALCIUM, ELSEWHERE
from model_training.importers.imported_case import ReferenceScores
from model_training.metrics import VoxelCounts
from tests.unit.model_training.evaluation.scans import plaque_scan, without_upper_slice


def measured(scan: AnnotatedScan, found: FoundInScan | LabelMap) -> CaseFigures:
    if isinstance(found, LabelMap):
        found = FoundInScan(found)
    has_arteries = not (found.label_map.labels == CORONARY).any()
    return measure_case(scan, found, model_has_arteries=has_arteries, protocol=LITERATURE)


def labels_like(scan: AnnotatedScan) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    assert isinstance(scan.reference, LabelMap)
    return scan.reference.labels.copy()


def test_missed_slice_halves_the_score_and_the_sensitivity() -> None:
    scan = plaque_scan(peak_hu=250.0)

    result = measured(scan, without_upper_slice(scan))

    # 25 mm2 x weight 2 in each of two slices of 3 mm
    assert (result.reference_agatston_score, result.agatston_score) == (100.0, 50.0)
    assert result.voxels == VoxelCounts(100, 0, 100)
    assert result.lesions == LesionCounts(1, 1, 1, 1)
    assert (result.reference_risk_category, result.risk_category) == ("11-100", "11-100")
    assert result.is_category_right


def test_reference_below_the_threshold_does_not_count() -> None:
    scan = plaque_scan()
    rim = labels_like(scan)
    rim[1, 9, 10:20] = CORONARY  # soft tissue beside the plaque

    result = measured(
        replace(scan, reference=LabelMap(scan.volume.geometry, rim)),
        LabelMap(scan.volume.geometry, labels_like(scan)),
    )

    assert result.voxels == VoxelCounts(200, 0, 0)


def test_lesion_too_small_for_the_score_is_no_found_lesion() -> None:
    scan = plaque_scan()
    hu = scan.volume.hu.copy()
    hu[4, 2, 2:5] = 400.0  # 3 pixels of 0.25 mm2
    labels = labels_like(scan)
    labels[4, 2, 2:5] = CORONARY
    noisy = replace(scan, volume=replace(scan.volume, hu=hu))

    result = measured(noisy, LabelMap(scan.volume.geometry, labels))

    assert result.lesions == LesionCounts(1, 1, 1, 1)
    assert result.voxels == VoxelCounts(200, 3, 0)
    assert result.agatston_score == result.reference_agatston_score


def test_calcium_under_the_name_of_another_artery_is_found_but_misnamed() -> None:
    scan = plaque_scan(label=Artery.LAD)
    labels = labels_like(scan)
    labels[2][labels[2] > 0] = Artery.LM

    result = measured(scan, LabelMap(scan.volume.geometry, labels))

    assert result.voxels == VoxelCounts(200, 0, 0)
    assert result.artery_confusion is not None
    assert result.artery_confusion["LAD"] == {"LM": 100, "LAD": 100, "LCX": 0, "RCA": 0}
    assert result.arteries is not None
    lad, lm = result.arteries["LAD"], result.arteries["LM"]
    assert (lad.reference_agatston_score, lad.agatston_score) == (100.0, 50.0)
    assert lad.voxels == VoxelCounts(100, 0, 100)
    assert (lm.reference_agatston_score, lm.agatston_score) == (0.0, 50.0)


@pytest.mark.parametrize(("reference", "found"), [(CORONARY, Artery.LAD), (Artery.LAD, CORONARY)])
def test_arteries_are_compared_only_where_both_name_them(reference: int, found: int) -> None:
    scan = plaque_scan(label=reference)
    labels = np.where(labels_like(scan) > 0, found, 0).astype(np.uint8)

    result = measured(scan, LabelMap(scan.volume.geometry, labels))

    assert result.arteries is None
    assert result.artery_confusion is None


def test_scan_without_calcium_has_none_in_every_artery() -> None:
    scan = plaque_scan()
    empty = LabelMap(scan.volume.geometry, np.zeros_like(labels_like(scan)))

    result = measured(replace(scan, reference=empty), empty)

    assert result.arteries is not None
    assert {one.reference_agatston_score for one in result.arteries.values()} == {0.0}


def test_reference_that_is_a_score_gives_scores_only() -> None:
    scan = plaque_scan(label=Artery.LAD)
    scores = ReferenceScores(90.0, {Artery.LM: None, Artery.LAD: 90.0, Artery.RCA: 0.0})

    result = measured(
        replace(scan, reference=scores), LabelMap(scan.volume.geometry, labels_like(scan))
    )

    assert (result.reference_agatston_score, result.agatston_score) == (90.0, 100.0)
    assert result.arteries is not None
    assert sorted(result.arteries) == ["LAD", "RCA"]
    assert result.arteries["LAD"].agatston_score == 100.0
    assert (result.voxels, result.lesions, result.sources) == (None, None, None)


def test_calcium_where_the_model_did_not_look_is_counted() -> None:
    scan = plaque_scan()
    region = np.zeros(scan.volume.hu.shape, dtype=np.bool_)
    region[1] = True

    result = measured(scan, FoundInScan(without_upper_slice(scan), region, ("heart_cut",)))

    assert result.calcium_outside_region == 100
    assert result.warnings == ("heart_cut",)


def test_figures_come_back_from_json_as_they_were(tmp_path: Path) -> None:
    scan = plaque_scan(label=Artery.LAD, attributes={"patient.sex": "female", "scan.motion_mm": 2})
    result = measured(scan, without_upper_slice(scan))
    (tmp_path / "figures.json").write_text(json.dumps(result.as_dict()))

    stored = json.loads((tmp_path / "figures.json").read_text())

    assert stored["risk_category"] == "11-100"
    assert CaseFigures.from_dict(stored) == result
    assert result.sources is not None
    assert set(result.sources) == {CALCIUM}
    assert ELSEWHERE not in result.sources
