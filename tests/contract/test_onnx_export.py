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
from calcium_scoring.model_input.spec import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelSpec
from model_training import export_onnx
from model_training.export_onnx import (
    ExportedModel,
    load_onnx,
    torch_predictor,
    with_float16_weights,
)
from model_training.network import LIGHT_NETWORK, DenseRAUnet

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
    _, from_file = load_onnx(exported.path)
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
    _, predict_patch = load_onnx(exported.path)

    logits = predict_patch(np.zeros(shape, dtype=np.float32))

    assert logits.shape == (shape[0], 1, *shape[2:])
    assert logits.dtype == np.float32


def test_file_carries_its_specification(exported: ExportedModel) -> None:
    spec, _ = load_onnx(exported.path)
    metadata = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}

    assert spec == SPEC
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
