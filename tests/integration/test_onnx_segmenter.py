"""Model files through the real ONNX Runtime, on the CPU."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from calcium_scoring.errors import ModelRejected
from calcium_scoring.model_input.spec import INPUT_NAME, METADATA_KEY
from service.adapters.onnx.segmenter import CUDA_PROVIDER, OnnxSegmenter
from service.application.errors import ModelUnavailable
from tests.fakes import THRESHOLD_HU, THRESHOLD_MODEL_SPEC, plaque_volume, write_threshold_model


def test_threshold_network_labels_what_is_above_its_threshold(threshold_model: Path) -> None:
    volume = plaque_volume()
    heard: list[tuple[int, int]] = []

    label_map = OnnxSegmenter(threshold_model, threads=1).segment(
        volume, lambda done, total: heard.append((done, total))
    )

    np.testing.assert_array_equal(label_map.calcium_mask, volume.hu >= THRESHOLD_HU)
    assert heard == [(done, 10) for done in range(1, 11)]


def test_model_is_known_by_its_file(threshold_model: Path) -> None:
    model = OnnxSegmenter(threshold_model, threads=1).model
    assert (model.name, model.version, model.is_provisional) == ("Threshold", "1.0.0", True)
    assert model.sha256 == hashlib.sha256(threshold_model.read_bytes()).hexdigest()


def test_missing_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no model file"):
        OnnxSegmenter(tmp_path / "missing.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x09" * 1000])
def test_damaged_file_is_unavailable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable):
        OnnxSegmenter(path)


def test_cpu_does_not_stand_in_for_a_gpu_that_is_not_there(threshold_model: Path) -> None:
    with pytest.raises(ModelUnavailable, match="CUDAExecutionProvider"):
        OnnxSegmenter(threshold_model, providers=[CUDA_PROVIDER, "CPUExecutionProvider"])


def test_file_without_specification_is_rejected(threshold_model: Path, tmp_path: Path) -> None:
    model = onnx.load(threshold_model)
    del model.metadata_props[:]
    path = tmp_path / "bare.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelRejected, match=METADATA_KEY):
        OnnxSegmenter(path)


def test_specification_of_another_version_is_rejected(tmp_path: Path) -> None:
    spec = replace(THRESHOLD_MODEL_SPEC, spec_version=99)
    with pytest.raises(ModelRejected, match="version 99"):
        OnnxSegmenter(write_threshold_model(tmp_path / "new.onnx", spec))


def test_graph_that_contradicts_its_specification_is_rejected(tmp_path: Path) -> None:
    path = write_threshold_model(tmp_path / "model.onnx")
    for changes, complaint in (
        ({"slice_count": 5}, "9 slices"),
        ({"labels": ("LM", "LAD", "LCX", "RCA")}, "1 labels"),
    ):
        model = onnx.load(path)
        spec = replace(THRESHOLD_MODEL_SPEC, **changes)
        onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
        changed = tmp_path / "changed.onnx"
        onnx.save(model, changed)
        with pytest.raises(ModelRejected, match=complaint):
            OnnxSegmenter(changed)


def test_tensors_must_have_their_names(tmp_path: Path) -> None:
    model = onnx.load(write_threshold_model(tmp_path / "model.onnx"))
    model.graph.input[0].name = "image"
    model.graph.node[0].input[0] = "image"
    path = tmp_path / "renamed.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelRejected, match=INPUT_NAME):
        OnnxSegmenter(path)
