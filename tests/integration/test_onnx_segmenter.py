"""Model files through the real ONNX Runtime, on the CPU."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from calcium_scoring.errors import ModelRejected
from calcium_scoring.model_input.heart_region import (
    HEART_FILE_KEY,
    HEART_METADATA_KEY,
    HeartSpec,
)
from calcium_scoring.model_input.spec import ALL_LABELS, INPUT_NAME, METADATA_KEY
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.adapters.onnx.session import CPU_PROVIDER, CUDA_PROVIDER
from service.application.engine import EngineIdentity
from service.application.errors import ModelUnavailable
from tests.fakes import (
    CHEST_PLAQUE,
    CHEST_RIB,
    THRESHOLD_HU,
    THRESHOLD_MODEL_SPEC,
    chest_volume,
    plaque_volume,
    threshold_heart_finder,
    write_threshold_model,
)

CHEST_SPEC = replace(THRESHOLD_MODEL_SPEC, pixel_spacing_mm=3.0)


def test_threshold_network_labels_what_is_above_its_threshold(threshold_model: Path) -> None:
    volume = plaque_volume()
    heard: list[tuple[int, int]] = []

    segmentation = OnnxSegmenter(threshold_model, threads=1).segment(
        volume, lambda done, total: heard.append((done, total))
    )

    np.testing.assert_array_equal(segmentation.label_map.calcium_mask, volume.hu >= THRESHOLD_HU)
    assert segmentation.region is None
    assert segmentation.warnings == ()
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


def test_cpu_does_not_stand_in_for_a_gpu_unless_it_is_named(threshold_model: Path) -> None:
    with pytest.raises(ModelUnavailable, match="CUDAExecutionProvider"):
        OnnxSegmenter(threshold_model, providers=[CUDA_PROVIDER])

    segmenter = OnnxSegmenter(threshold_model, providers=[CUDA_PROVIDER, CPU_PROVIDER])

    assert segmenter.providers == (CPU_PROVIDER,)
    assert segmenter.engine == EngineIdentity(
        "onnxruntime", onnxruntime.__version__, (CPU_PROVIDER,)
    )


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
        ({"labels": ALL_LABELS}, "1 labels"),
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


def test_network_inside_the_file_keeps_the_search_near_the_heart(tmp_path: Path) -> None:
    volume = chest_volume()
    alone = write_threshold_model(tmp_path / "alone.onnx", CHEST_SPEC)
    with_heart = write_threshold_model(
        tmp_path / "with_heart.onnx", CHEST_SPEC, heart_finder=threshold_heart_finder()
    )

    everywhere = OnnxSegmenter(alone, threads=1).segment(volume)
    near_the_heart = OnnxSegmenter(with_heart, threads=1).segment(volume)

    assert everywhere.label_map.calcium_mask[CHEST_RIB].all()
    plaque = np.zeros(volume.geometry.shape, dtype=np.bool_)
    plaque[CHEST_PLAQUE] = True
    np.testing.assert_array_equal(near_the_heart.label_map.calcium_mask, plaque)
    assert near_the_heart.region is not None
    assert near_the_heart.region.heart_volume_ml == pytest.approx(216.0)
    assert near_the_heart.warnings == ()


def test_scan_without_a_heart_is_searched_as_a_whole_with_a_warning(tmp_path: Path) -> None:
    path = write_threshold_model(
        tmp_path / "model.onnx",
        heart_finder=threshold_heart_finder(HeartSpec(smallest_heart_ml=1000.0)),
    )
    volume = plaque_volume()

    segmentation = OnnxSegmenter(path, threads=1).segment(volume)

    np.testing.assert_array_equal(segmentation.label_map.calcium_mask, volume.hu >= THRESHOLD_HU)
    assert [warning.code for warning in segmentation.warnings] == ["heart_not_found"]


def test_digest_covers_the_network_that_finds_the_heart(tmp_path: Path) -> None:
    digests = {
        OnnxSegmenter(
            write_threshold_model(tmp_path / f"{number}.onnx", heart_finder=finder), threads=1
        ).model.sha256
        for number, finder in enumerate(
            (None, threshold_heart_finder(), threshold_heart_finder(HeartSpec(margin_mm=11.0)))
        )
    }

    assert len(digests) == 3


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_damaged_network_inside_the_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = write_threshold_model(tmp_path / "model.onnx", heart_finder=content)

    with pytest.raises(ModelRejected, match="finds the heart"):
        OnnxSegmenter(path)


def test_text_inside_the_file_that_is_no_network_is_rejected(tmp_path: Path) -> None:
    model = onnx.load(write_threshold_model(tmp_path / "model.onnx"))
    onnx.helper.set_model_props(
        model, {METADATA_KEY: THRESHOLD_MODEL_SPEC.to_json(), HEART_FILE_KEY: "not base64!"}
    )
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)

    with pytest.raises(ModelRejected, match="finds the heart"):
        OnnxSegmenter(path)


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({}, "no readable HeartSpec"),
        ({HEART_METADATA_KEY: replace(HeartSpec(), spec_version=99).to_json()}, "version 99"),
    ],
)
def test_network_inside_the_file_must_say_how_it_is_used(
    tmp_path: Path, metadata: dict[str, str], complaint: str
) -> None:
    finder = onnx.load_model_from_string(threshold_heart_finder())
    onnx.helper.set_model_props(finder, metadata)
    path = write_threshold_model(tmp_path / "model.onnx", heart_finder=finder.SerializeToString())

    with pytest.raises(ModelRejected, match=complaint):
        OnnxSegmenter(path)
