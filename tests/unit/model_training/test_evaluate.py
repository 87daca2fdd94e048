"""Agreement of whole scans, from voxels to risk categories."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from model_training.cases import TrainingCase
from model_training.evaluate import Agreement, compare, evaluate
from model_training.metrics import VoxelCounts
from tests.builders import plaque_phantom


def test_missed_slice_halves_the_score_and_the_sensitivity() -> None:
    volume, reference = plaque_phantom(peak_hu=250.0, slice_count=2)
    found = reference.labels.copy()
    found[2] = 0

    result = compare("a", volume, LabelMap(volume.geometry, found), reference, protocol=LITERATURE)

    # 25 mm2 x weight 2 in each of two slices of 3 mm
    assert (result.reference_agatston_score, result.agatston_score) == (100.0, 50.0)
    assert result.voxels == VoxelCounts(100, 0, 100)
    assert result.voxels.f1 == pytest.approx(2 / 3)
    assert (result.reference_risk_category, result.risk_category) == ("11-100", "11-100")
    assert result.is_category_right


def test_reference_below_the_threshold_does_not_count() -> None:
    volume, reference = plaque_phantom(slice_count=1)
    rim = reference.labels.copy()
    rim[1, 9, 10:20] = CORONARY  # soft tissue beside the plaque

    result = compare("a", volume, reference, LabelMap(volume.geometry, rim), protocol=LITERATURE)

    assert result.voxels == VoxelCounts(100, 0, 0)


def test_agreement_adds_voxels_and_counts_right_categories() -> None:
    volume, reference = plaque_phantom(peak_hu=250.0)
    nothing = LabelMap(volume.geometry, np.zeros_like(reference.labels))

    agreement = Agreement(
        "1.0.0",
        tuple(
            compare(name, volume, found, reference, protocol=LITERATURE)
            for name, found in (("right", reference), ("missed", nothing))
        ),
    )

    assert agreement.voxels == VoxelCounts(200, 0, 200)
    assert agreement.category_accuracy == 0.5


def test_evaluation_runs_the_model_over_whole_scans(case: TrainingCase, tmp_path: Path) -> None:
    def everything_dense(ct_patch: ModelArray) -> ModelArray:
        return np.full((1, 1, *ct_patch.shape[2:]), 5.0, dtype=np.float32)

    agreement = evaluate(everything_dense, ModelSpec(model_version="all"), [case])
    agreement.write_json(tmp_path / "figures" / "agreement.json")

    # 3 slices x 4 x 4 pixels of plaque; the confuser and the bone are wrong.
    assert agreement.voxels.true_positives == 48
    assert agreement.voxels.false_negatives == 0
    assert agreement.voxels.false_positives == 2 * 16 + 11 * 6 * 45
    figures = json.loads((tmp_path / "figures" / "agreement.json").read_text())
    assert figures["model_version"] == "all"
    assert figures["case_count"] == 1
    assert figures["cases"][0]["case_id"] == "one"


def test_evaluation_of_no_case_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        evaluate(lambda patch: patch, ModelSpec(), [])
