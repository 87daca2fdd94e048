"""A model over whole scans: as serving runs it, and not twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.segmentation import CalciumModel
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.label_map import LabelMap
from model_training import evaluate
from model_training.cases import TrainingCase, read_case, write_case
from model_training.evaluate import (
    CaseScans,
    DataSetScans,
    FoundCalcium,
    ModelFile,
    ModelToEvaluate,
    evaluate_scan_set,
    evaluate_scans,
    scan_of_case,
    volume_digest,
)
from model_training.evaluation.case_figures import FoundInScan
from model_training.evaluation.false_positives import KIND_NAMES
from model_training.evaluation.summary import EvaluatedModel
from model_training.export_onnx import export_onnx
from model_training.importers.data_sets import DataSet
from model_training.importers.imported_case import RefusedCase
from model_training.importers.keep import PATIENT_ATTRIBUTE
from model_training.network import DenseRAUnet
from tests.small_network import SMALL_NETWORK
from tests.unit.model_training.conftest import make_case
from tests.unit.model_training.importers.coca_files import LAD, roi, square, write_patient


class EverythingDense:
    """A network that calls every dense voxel calcium, and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, ct_patch: ModelArray) -> ModelArray:
        self.calls += 1
        return np.full((1, 1, *ct_patch.shape[2:]), 5.0, dtype=np.float32)

    def as_model(self, sha256: str = "a" * 64) -> ModelToEvaluate:
        identity = EvaluatedModel("all", "1", sha256, is_provisional=True)
        return ModelToEvaluate(identity, CalciumModel(ModelSpec(), self))


def test_model_runs_over_whole_scans(case: TrainingCase, tmp_path: Path) -> None:
    (figures,) = evaluate_scans(
        EverythingDense().as_model(), [scan_of_case(case)], kept=FoundCalcium(tmp_path / "kept")
    )

    # 3 slices x 4 x 4 pixels of plaque; the confuser and the bone are wrong.
    assert figures.voxels is not None
    assert figures.voxels.true_positives == 48
    assert figures.voxels.false_negatives == 0
    assert figures.voxels.false_positives == 2 * 16 + 11 * 6 * 45
    assert figures.sources is not None
    assert figures.sources[KIND_NAMES[7]].marked_voxels == 32


def test_network_is_asked_once_for_each_scan_and_model(case: TrainingCase, tmp_path: Path) -> None:
    network, kept = EverythingDense(), FoundCalcium(tmp_path / "kept")

    first = evaluate_scans(network.as_model(), [scan_of_case(case)], kept=kept)
    calls = network.calls
    again = evaluate_scans(network.as_model(), [scan_of_case(case)], kept=kept)
    assert (network.calls, again) == (calls, first)

    evaluate_scans(network.as_model("b" * 64), [scan_of_case(case)], kept=kept)
    assert network.calls == 2 * calls


def test_other_counting_does_not_ask_the_network_again(
    case: TrainingCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, kept = EverythingDense(), FoundCalcium(tmp_path / "kept")
    scan = scan_of_case(case)
    evaluate_scans(network.as_model(), [scan], kept=kept)
    calls = network.calls
    nothing = LabelMap(scan.volume.geometry, np.zeros_like(case.labels))
    monkeypatch.setattr(evaluate, "COUNTING_VERSION", -1)

    (recounted,) = evaluate_scans(network.as_model(), [replace(scan, reference=nothing)], kept=kept)

    assert network.calls == calls
    assert recounted.reference_agatston_score == 0.0


def test_damaged_file_is_made_again(case: TrainingCase, tmp_path: Path) -> None:
    network, kept = EverythingDense(), FoundCalcium(tmp_path / "kept")
    scan = scan_of_case(case)
    first = evaluate_scans(network.as_model(), [scan], kept=kept)
    for path in (tmp_path / "kept").glob("*/*"):
        path.write_bytes(path.read_bytes()[:20])

    assert evaluate_scans(network.as_model(), [scan], kept=kept) == first


def test_region_and_warnings_are_kept_with_the_labels(case: TrainingCase, tmp_path: Path) -> None:
    volume = case.load_volume()
    region = np.zeros(volume.hu.shape, dtype=np.bool_)
    region[3:6, 10:40, 7:33] = True
    labels = LabelMap(volume.geometry, np.where(region, case.labels, 0).astype(np.uint8))
    found = FoundInScan(labels, region, ("heart_cut",))

    evaluate._write_found(tmp_path / "found.npz", found)
    stored = evaluate._read_found(tmp_path / "found.npz", volume.geometry)

    assert stored is not None
    assert np.array_equal(stored.label_map.labels, labels.labels)
    assert stored.region is not None
    assert np.array_equal(stored.region, region)
    assert stored.warnings == ("heart_cut",)


def test_one_changed_voxel_is_another_scan(case: TrainingCase) -> None:
    volume = case.load_volume()
    hu = volume.hu.copy()
    hu[0, 0, 0] += 1.0

    assert volume_digest(volume) == volume_digest(case.load_volume())
    assert volume_digest(replace(volume, hu=hu)) != volume_digest(volume)


def test_scans_of_one_patient_know_their_patient(tmp_path: Path) -> None:
    plain = make_case(tmp_path, "one", "test")
    named = write_case(
        tmp_path,
        "two",
        split="test",
        volume=plain.load_volume(),
        reference=plain.load_reference_label_map(),
        confusers=np.array(plain.confusers),
        attributes={PATIENT_ATTRIBUTE: "p7"},
    )

    assert [scan_of_case(one).patient for one in (plain, read_case(named.folder))] == ["one", "p7"]


def test_only_named_cases_are_loaded(tmp_path: Path) -> None:
    cases = [make_case(tmp_path, name, "test") for name in ("a", "b", "c")]

    chosen = CaseScans("three", cases).scans(only={"b"})

    assert [scan.case_id for scan in chosen] == ["b"]


def test_data_set_gives_its_scans_and_tells_what_it_leaves_out(tmp_path: Path) -> None:
    plaque = roi(LAD, square(30, 20, 8, 8), pixels=64, mean=400.0)
    write_patient(tmp_path, 1, {2: [plaque]})
    write_patient(tmp_path, 2, {2: [roi("ROI 1", square(30, 20, 8, 8), pixels=64, mean=400.0)]})
    left_out: list[RefusedCase] = []
    data_set = DataSetScans(DataSet.parse(f"coca-gated={tmp_path}"), left_out=left_out.append)

    scans = list(data_set.scans())

    assert [scan.case_id for scan in scans] == ["coca-gated-1"]
    assert [case.case_id for case in left_out] == ["coca-gated-2"]
    assert str(tmp_path) not in data_set.description


def test_model_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no model file"):
        ModelFile(tmp_path / "none.onnx").open()


@pytest.mark.slow
def test_several_processes_count_what_one_counts(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    export_onnx(DenseRAUnet(SMALL_NETWORK).eval(), ModelSpec(model_version="1"), model)
    cases = CaseScans("two", [make_case(tmp_path, name, "test") for name in ("a", "b")])

    one, two = (
        evaluate_scan_set(
            ModelFile(model),
            cases,
            kept=FoundCalcium(tmp_path / f"kept-{worker_count}"),
            worker_count=worker_count,
        )
        for worker_count in (1, 2)
    )

    assert [figures.case_id for figures in two] == ["a", "b"]
    assert one == two
