"""The paper's tables on our scans: its rows, its two ways to score, done once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from model_training.ablation import ablation as module
from model_training.ablation.ablation import AblationBudget, row_result, run_ablation
from model_training.ablation.rows import ABLATION_ROWS
from model_training.ablation.scan_result import ScanResult, scan_result
from model_training.ablation.tables import table_1, table_2, write_ablation
from model_training.agreement import Bootstrap
from model_training.cases import TrainingCase, write_case
from model_training.dataset import SamplingConfig
from model_training.metrics import VoxelCounts
from model_training.settings import OptimizerConfig, TrainingConfig, read_training_config
from tests.small_network import SMALL_NETWORK
from tests.unit.model_training.conftest import make_case

QUICK = Bootstrap(resamples=100)
CONFIG = TrainingConfig(
    name="small",
    batch_size=2,
    validation_crops=2,
    network=SMALL_NETWORK,
    sampling=SamplingConfig(crop_size=32),
    optimizer=OptimizerConfig(kind="adamw"),
)


def test_each_row_adds_one_trick_of_the_paper() -> None:
    configs = [row.configured(read_training_config("paper"), steps=10) for row in ABLATION_ROWS]

    tricks = [(one.network.rau, one.network.edb, one.network.scse, one.loss.iou) for one in configs]
    assert tricks == [tuple(index < count for index in range(4)) for count in range(5)]
    assert {one.labels for one in configs} == {("CORONARY",)}
    assert {one.steps_per_epoch for one in configs} == {10}


def test_figures_of_the_paper_are_those_of_its_second_table() -> None:
    assert [row.paper_right for row in ABLATION_ROWS] == [101, 104, 109, 109, 113]
    assert [row.paper_right_filtered for row in ABLATION_ROWS] == [99, 111, 115, 117, 120]
    assert [row.paper_f1 for row in ABLATION_ROWS] == [0.65, None, None, None, 0.75]


def plaque_in_fat(tmp_path: Path) -> TrainingCase:
    """A slice of 3 mm with 4 x 4 mm of 250 HU, labelled, beside 4 x 4 mm of 120 HU."""
    geometry = VolumeGeometry.axial((1, 32, 32), (3.0, 1.0, 1.0))
    hu = np.full(geometry.shape, -100.0, dtype=np.float32)
    hu[0, 8:12, 8:12], hu[0, 8:12, 12:16] = 250.0, 120.0
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    labels[0, 8:12, 8:12] = CORONARY
    return write_case(
        tmp_path,
        "a",
        split="test",
        volume=CtVolume(geometry, hu),
        reference=LabelMap(geometry, labels),
        confusers=np.zeros(geometry.shape, dtype=np.uint8),
    )


def marks_all_but_fat(ct_patch: ModelArray) -> ModelArray:
    logits: ModelArray = np.where(ct_patch[:, 4:5] > 0.2, 5.0, -5.0).astype(np.float32)
    return logits


def test_post_processing_removes_what_is_below_130_hu(tmp_path: Path) -> None:
    spec = ModelSpec(pixel_spacing_mm=1.0)

    result = scan_result(plaque_in_fat(tmp_path), spec, marks_all_but_fat, None)

    # 16 mm2 x weight 2; without post-processing the neighbour belongs to the same lesion.
    assert result.reference_agatston_score == 32.0
    assert result.agatston_score == 32.0
    assert result.unfiltered_agatston_score == 64.0
    assert result.voxels == VoxelCounts(16, 0, 0)


def result_of(case_id: str, unfiltered: float, filtered: float) -> ScanResult:
    return ScanResult(case_id, VoxelCounts(8, 2, 2), 50.0, unfiltered, filtered)


def test_row_counts_patients_in_the_right_category_both_ways() -> None:
    scans = [result_of("a", 150.0, 60.0), result_of("b", 60.0, 40.0), result_of("c", 0.0, 5.0)]

    row = row_result(ABLATION_ROWS[0], scans, QUICK)

    assert (row.right_count, row.right_filtered_count) == (1, 2)
    assert row.right_filtered.value == pytest.approx(2 / 3)
    assert row.f1.value == pytest.approx(0.8)


def test_tables_have_the_form_of_the_paper_beside_its_figures(tmp_path: Path) -> None:
    scans = [result_of(name, 60.0, 60.0) for name in "abc"]
    results = [row_result(row, scans, QUICK) for row in ABLATION_ROWS]

    _, first = table_1(results)
    _, second = table_2(results)

    assert [row[1:6].count("yes") for row in first] == [1, 2, 3, 4, 5]
    assert [row[-1] for row in first] == ["0.65", "-", "-", "-", "0.75"]
    assert second[-1][:4] == ("Our proposed method", "3", "3", "3")
    assert second[-1][-2:] == ("113 of 144 (0.78)", "120 of 144 (0.83)")
    write_ablation(results, AblationBudget(CONFIG, 5), tmp_path, data="three", command="-")
    page = (tmp_path / "README.md").read_text()
    assert "| Dense U-net+RAU | 3 | 3 | 3 |" in page
    assert len(json.loads((tmp_path / "figures.json").read_text())["rows"]) == 5


@pytest.mark.slow
def test_ablation_is_trained_tested_and_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = [make_case(tmp_path / "cases", "t", "train")]
    validation = [make_case(tmp_path / "cases", "v", "validation")]
    test = [make_case(tmp_path / "cases", name, "test") for name in ("x", "y")]
    told: list[str] = []

    def run(test_cases: list[TrainingCase], steps: int = 2) -> list[float | None]:
        results = run_ablation(
            AblationBudget(CONFIG, steps, worker_count=0),
            cases=training,
            validation_cases=validation,
            test_cases=test_cases,
            heart=None,
            folder=tmp_path / "run",
            rows=(ABLATION_ROWS[0], ABLATION_ROWS[-1]),
            bootstrap=QUICK,
            progress=lambda row, what: told.append(f"{row.row_id} {what}"),
        )
        return [result.f1.value for result in results]

    one = run(test[:1])
    assert told == [
        "baseline training, 2 steps", "baseline x scored", "iou training, 2 steps", "iou x scored",
    ]  # fmt: skip
    told.clear()
    run(test)
    assert [line for line in told if "scored" in line] == ["baseline y scored", "iou y scored"]

    # All is known: nothing is trained or asked again.
    monkeypatch.setattr(module, "train", None)
    assert run(test[:1]) == one
    with pytest.raises(ValueError, match="other settings"):
        run(test, steps=3)


def test_ablation_without_test_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one test scan"):
        run_ablation(
            AblationBudget(replace(CONFIG), 1),
            cases=[],
            validation_cases=[],
            test_cases=[],
            heart=None,
            folder=tmp_path,
            bootstrap=QUICK,
        )
