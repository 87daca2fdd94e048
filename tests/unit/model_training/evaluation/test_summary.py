"""Figures of many scans together."""

from __future__ import annotations

import json

import pytest

from model_training.agreement import Bootstrap, LesionCounts
from model_training.evaluation.case_figures import ArteryFigures, CaseFigures
from model_training.evaluation.false_positives import KIND_NAMES, SourceCounts
from model_training.evaluation.summary import (
    READERS_LAD,
    EvaluatedModel,
    EvaluationSummary,
    summarise,
)
from model_training.metrics import VoxelCounts
from tests.unit.model_training.evaluation.scans import figures

QUICK = Bootstrap(resamples=200)
MODEL = EvaluatedModel("DenseRAUnet", "1.2.3", "ab" * 32, is_provisional=True)
AORTIC_WALL, METAL = KIND_NAMES[6], KIND_NAMES[9]


def summary_of(*cases: CaseFigures) -> EvaluationSummary:
    return summarise(MODEL, "made-up scans", cases, QUICK)


def test_voxels_and_lesions_are_pooled_over_scans() -> None:
    summary = summary_of(figures(5.0, 5.0), figures(50.0, 50.0), figures(500.0, 500.0))

    assert summary.voxels is not None
    assert summary.voxels.f1.value == pytest.approx(0.8)
    assert summary.voxels.lesion_sensitivity.value == pytest.approx(0.5)
    assert summary.voxels.lesion_precision.value == pytest.approx(1 / 3)
    assert summary.main_figures["voxel_f1"] is summary.voxels.f1


def test_scans_without_calcium_stand_for_themselves() -> None:
    summary = summary_of(figures(0.0, 0.0), figures(0.0, 3.0), figures(9.0, 0.0), figures(9.0, 8.0))

    assert (summary.zero_found.value, summary.zero_found.n) == (0.5, 2)
    assert (summary.calcium_found.value, summary.calcium_found.n) == (0.5, 2)


def test_part_of_a_kind_is_weighed_by_volume_and_needs_scans_that_hold_it() -> None:
    small = {AORTIC_WALL: SourceCounts(100, 10, 1.0)}
    large = {AORTIC_WALL: SourceCounts(100, 0, 0.0), METAL: SourceCounts(50, 50, 7.0)}

    summary = summary_of(
        figures(0.0, 1.0, sources=small, voxel_volume_mm3=1.0),
        figures(1.0, 8.0, sources=large, voxel_volume_mm3=3.0),
        figures(2.0, 2.0, sources={}),
    )

    # 10 of 400 mm3
    assert summary.aortic_and_mitral is not None
    assert (summary.aortic_and_mitral.value, summary.aortic_and_mitral.n) == (0.025, 2)
    assert summary.sources is not None
    metal, wall = summary.sources
    assert (metal.source, metal.scans, metal.marked_volume_mm3) == (METAL, 1, 150.0)
    assert metal.agatston_part == pytest.approx(7.0 / 11.0)
    assert metal.counted_part is not None
    assert (metal.counted_part.value, metal.counted_part.n) == (1.0, 1)
    assert wall.counted_part == summary.aortic_and_mitral


def test_left_main_and_lad_are_also_given_together() -> None:
    arteries = {
        "LM": ArteryFigures(10.0, 0.0, VoxelCounts(0, 0, 10), LesionCounts(1, 0, 0, 0)),
        "LAD": ArteryFigures(30.0, 40.0, VoxelCounts(30, 10, 0), LesionCounts(1, 1, 1, 1)),
        "LCX": ArteryFigures(0.0, 0.0, VoxelCounts(0, 0, 0), LesionCounts(0, 0, 0, 0)),
        "RCA": ArteryFigures(0.0, 0.0, VoxelCounts(0, 0, 0), LesionCounts(0, 0, 0, 0)),
    }
    cases = [figures(40.0 + index, 40.0, arteries=arteries) for index in range(3)]

    summary = summary_of(*cases)

    assert summary.arteries is not None
    by_name = {one.artery: one for one in summary.arteries}
    assert list(by_name) == ["LM", "LAD", "LCX", "RCA", READERS_LAD]
    assert by_name["LM"].bias.value == -10.0
    assert by_name[READERS_LAD].bias.value == 0.0
    assert by_name[READERS_LAD].voxel_f1 is None
    assert by_name["LAD"].calcified == 3
    assert by_name["LCX"].calcified == 0
    assert by_name["LCX"].icc.value is None


def test_naming_counts_the_volume_that_both_see() -> None:
    table = {
        row: dict.fromkeys(("LM", "LAD", "LCX", "RCA"), 0) for row in ("LM", "LAD", "LCX", "RCA")
    }
    table["LM"]["LAD"], table["LAD"]["LAD"] = 10, 30

    summary = summary_of(figures(1.0, 1.0, artery_confusion=table, voxel_volume_mm3=2.0))

    assert summary.naming is not None
    assert summary.naming.right.value == pytest.approx(0.75)
    assert summary.naming.by_artery["LM"].value == 0.0
    assert summary.naming.volume_mm3[0] == (0.0, 20.0, 0.0, 0.0)


def test_calcium_outside_of_the_region_is_a_part_of_all_calcium() -> None:
    summary = summary_of(
        figures(1.0, 1.0, calcium_outside_region=5), figures(2.0, 1.0, calcium_outside_region=0)
    )

    # 5 of 10 + 10 voxels of calcium
    assert summary.calcium_outside_region is not None
    assert summary.calcium_outside_region.value == 0.25


def test_strata_that_do_not_divide_the_scans_are_left_out() -> None:
    summary = summary_of(figures(0.0, 0.0), figures(5.0, 50.0, is_ecg_gated=False))

    assert [(one.stratum, one.group, one.scans) for one in summary.strata] == [
        ("gating", "gated", 1),
        ("gating", "not gated", 1),
        ("burden", "0", 1),
        ("burden", "1-10", 1),
    ]
    assert [one.category_accuracy.value for one in summary.strata] == [1.0, 0.0, 1.0, 0.0]


def test_scores_alone_give_no_voxels_and_no_sources() -> None:
    only = {"voxels": None, "lesions": None}

    summary = summary_of(*(figures(score, score, **only) for score in (0.0, 20.0, 200.0, 2000.0)))

    assert (summary.voxels, summary.sources, summary.aortic_and_mitral) == (None, None, None)
    assert summary.scores.icc.value == pytest.approx(1.0)
    assert summary.main_figures["voxel_f1"] is None


def test_summary_is_plain_json() -> None:
    summary = summary_of(figures(0.0, 0.0, warnings=("heart_cut",)), figures(5.0, 50.0))

    stored = json.loads(json.dumps(summary.as_dict()))

    assert stored["warnings"] == {"heart_cut": 1}
    assert stored["cases"][1]["risk_category"] == "11-100"
    assert stored["scores"]["icc"]["reason"] == "there are 2 patients; at least 3 are needed"


def test_evaluation_of_no_case_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        summary_of()
