"""The exported file: same answer as the network, its specification inside, free sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from calcium_scoring.errors import ModelRejected
from calcium_scoring.model_input.heart_region import HEART_FILE_KEY, HeartSpec
from calcium_scoring.model_input.segmentation import segment_scan
from calcium_scoring.model_input.spec import (
    ALL_LABELS,
    INPUT_NAME,
    METADATA_KEY,
    OUTPUT_NAME,
    ModelSpec,
)
from calcium_scoring.volume.ct_volume import CtVolume
from model_training import export_onnx
from model_training.export_onnx import (
    ExportedModel,
    heart_finder_of,
    heart_model_of,
    load_onnx,
    torch_predictor,
    with_float16_weights,
)
from model_training.heart_finder.export import export_heart_finder
from model_training.heart_finder.network import HeartFinder
from model_training.network import LIGHT_NETWORK, DenseRAUnet
from service.adapters.onnx.segmenter import OnnxSegmenter
from tests.fakes import THRESHOLD_HEART_SPEC, chest_volume, threshold_heart_finder
from tests.small_network import SMALL_NETWORK

SMALL = replace(LIGHT_NETWORK, block_layers=(1, 1, 1, 1))
SPEC = ModelSpec(model_version="7.8.9")


@pytest.fixture(scope="module")
def network() -> DenseRAUnet:
    """Every kind of layer of the network, with statistics and spread-out logits as if trained."""
    torch.set_num_threads(1)  # more threads than free cores make a small network slower
    torch.manual_seed(0)
    network = DenseRAUnet(SMALL)
    torch.nn.init.normal_(list(network.head.parameters())[-2], std=0.2)
    with torch.no_grad():
        for _ in range(20):
            network.train()(torch.rand(2, 9, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def exported(network: DenseRAUnet, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    path = tmp_path_factory.mktemp("model") / "calcium_segmenter.onnx"
    return export_onnx.export_onnx(network, SPEC, path)


def test_file_gives_the_probabilities_of_the_checkpoint(
    network: DenseRAUnet, exported: ExportedModel
) -> None:
    from_file = load_onnx(exported.path).predict_patch
    from_checkpoint = torch_predictor(with_float16_weights(network))
    ct_patch = np.random.default_rng(5).uniform(0.0, 1.0, (1, 9, 112, 80)).astype(np.float32)

    difference = np.abs(
        1.0 / (1.0 + np.exp(-from_file(ct_patch)))
        - 1.0 / (1.0 + np.exp(-from_checkpoint(ct_patch)))
    ).max()

    assert difference <= 1e-4
    assert exported.max_probability_difference <= 1e-4


@pytest.mark.parametrize("shape", [(1, 9, 16, 16), (3, 9, 48, 96)])
def test_batch_rows_and_columns_are_free(
    exported: ExportedModel, shape: tuple[int, int, int, int]
) -> None:
    predict_patch = load_onnx(exported.path).predict_patch

    logits = predict_patch(np.zeros(shape, dtype=np.float32))

    assert logits.shape == (shape[0], 1, *shape[2:])
    assert logits.dtype == np.float32


def test_file_carries_its_specification(exported: ExportedModel) -> None:
    model = load_onnx(exported.path)
    metadata = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}

    assert model.spec == SPEC
    assert model.heart is None
    assert metadata == {METADATA_KEY: SPEC.to_json()}


def test_tensors_have_the_names_of_the_glossary(exported: ExportedModel) -> None:
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])

    assert [tensor.name for tensor in session.get_inputs()] == [INPUT_NAME]
    assert [tensor.name for tensor in session.get_outputs()] == [OUTPUT_NAME]


def test_weights_are_stored_in_two_bytes_each(
    network: DenseRAUnet, exported: ExportedModel
) -> None:
    weights = sum(parameter.numel() for parameter in network.parameters())

    assert exported.byte_count == exported.path.stat().st_size
    assert exported.byte_count < 2 * weights + 200_000


def test_file_names_nothing_of_the_machine_that_wrote_it(exported: ExportedModel) -> None:
    content = exported.path.read_bytes()

    assert str(Path(export_onnx.__file__).parent).encode() not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_file_that_disagrees_with_the_checkpoint_is_not_written(
    network: DenseRAUnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_onnx, "MAX_PROBABILITY_DIFFERENCE", -1.0)

    with pytest.raises(ModelRejected, match="Nothing was written"):
        export_onnx.export_onnx(network, SPEC, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


NAMING_SPEC = ModelSpec(model_version="7.8.9", labels=ALL_LABELS, pixel_spacing_mm=3.0)
HEART_SPEC = HeartSpec(model_version="2.3.4")


@pytest.fixture(scope="module")
def heart_network() -> HeartFinder:
    torch.manual_seed(0)
    return HeartFinder().eval()


@pytest.fixture(scope="module")
def heart_file(heart_network: HeartFinder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heart") / "new" / "heart_finder.onnx"
    assert export_heart_finder(heart_network, HEART_SPEC, path) <= 1e-4
    return path


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight channels that all have an opinion, and a heart finder, in one file."""
    torch.manual_seed(0)
    network = DenseRAUnet(replace(SMALL_NETWORK, label_count=8, initial_probability=0.5))
    torch.nn.init.normal_(list(network.head.parameters())[-2], std=0.3)
    path = tmp_path_factory.mktemp("model") / "complete.onnx"
    export_onnx.export_onnx(network, NAMING_SPEC, path, heart_finder=threshold_heart_finder())
    return path


@pytest.mark.parametrize("shape", [(8, 16, 24), (24, 8, 8)])
def test_heart_file_gives_the_logits_of_the_network_at_every_size(
    heart_network: HeartFinder, heart_file: Path, shape: tuple[int, int, int]
) -> None:
    model = heart_model_of(heart_file.read_bytes())
    ct_coarse = np.random.default_rng(2).uniform(0.0, 1.0, (1, 1, *shape)).astype(np.float32)

    with torch.no_grad():
        expected = heart_network(torch.from_numpy(ct_coarse)).numpy()

    assert model.predict(ct_coarse) == pytest.approx(expected, abs=1e-3)
    assert model.spec == HEART_SPEC


def test_heart_file_names_nothing_of_the_machine_that_wrote_it(heart_file: Path) -> None:
    content = heart_file.read_bytes()

    assert str(Path(export_onnx.__file__).parent).encode() not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_heart_finder_travels_whole_inside_the_file(complete: Path) -> None:
    metadata = {entry.key for entry in onnx.load(complete).metadata_props}
    model = load_onnx(complete)

    assert metadata == {METADATA_KEY, HEART_FILE_KEY}
    assert heart_finder_of(complete) == threshold_heart_finder()
    assert model.spec == NAMING_SPEC
    assert model.heart is not None
    assert model.heart.spec == THRESHOLD_HEART_SPEC


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_file_that_is_no_heart_finder_is_not_taken_along(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelRejected, match="finds the heart cannot be loaded"):
        export_onnx.export_onnx(
            DenseRAUnet(SMALL_NETWORK), SPEC, tmp_path / "model.onnx", heart_finder=content
        )
    assert not list(tmp_path.iterdir())


def test_calcium_network_is_not_taken_along_as_a_heart_finder(
    complete: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelRejected, match="no readable HeartSpec"):
        export_onnx.export_onnx(
            DenseRAUnet(SMALL_NETWORK),
            SPEC,
            tmp_path / "model.onnx",
            heart_finder=complete.read_bytes(),
        )
    assert not list(tmp_path.iterdir())


def test_training_and_serving_find_the_same_in_the_same_file(complete: Path) -> None:
    """Evaluation opens the file one way, the service another; both are the same model."""
    chest = chest_volume()
    hu = chest.hu.copy()
    # Dense dots all over the heart, in all sorts of surroundings.
    hu[8:16, 18:34:3, 22:38:3] = np.random.default_rng(4).uniform(140.0, 900.0, (8, 6, 6))
    volume = CtVolume(chest.geometry, hu, chest.acquisition)

    evaluated = segment_scan(volume, load_onnx(complete))
    served = OnnxSegmenter(complete, threads=1).segment(volume)

    assert np.array_equal(served.label_map.labels, evaluated.label_map.labels)
    assert served.warnings == evaluated.warnings
    assert served.region is not None
    assert evaluated.region is not None
    assert np.array_equal(served.region.mask, evaluated.region.mask)
    # The comparison is worth something: some dots are calcium, of more than one artery.
    assert len(np.unique(served.label_map.labels)) > 2
    assert not served.label_map.calcium_mask[hu < 130.0].any()
