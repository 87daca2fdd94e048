"""The bundled network in float16 and int8: same specification, nearly the same answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from calcium_scoring.errors import ModelRejected
from calcium_scoring.model_input.preprocessing import ModelArray
from model_training.__main__ import BUNDLED_MODEL
from model_training.export_onnx import heart_finder_of, load_onnx
from model_training.precision import Precision, convert_precision

LARGEST_CHANGE = {Precision.FLOAT16: 0.02, Precision.INT8: 0.25}
"""Of a probability in made-up tissue. What it does to scores is measured on patients."""


@pytest.fixture(scope="module")
def windows() -> list[ModelArray]:
    """Tissue of every density in blocks with noise; some of it looks like calcium."""
    rng = np.random.default_rng(3)
    tissue = np.kron(rng.uniform(0.0, 1.0, (4, 9, 8, 8)), np.ones((8, 8)))
    noisy = tissue + rng.normal(0.0, 0.02, tissue.shape)
    return list(np.clip(noisy, 0.0, 1.0).astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(Precision))
def test_converted_file_is_the_same_network_in_another_precision(
    tmp_path: Path, windows: list[ModelArray], precision: Precision
) -> None:
    path = tmp_path / "converted.onnx"

    convert_precision(BUNDLED_MODEL, path, precision, windows=windows)

    original, converted = load_onnx(BUNDLED_MODEL), load_onnx(path)
    assert converted.spec == original.spec
    assert heart_finder_of(path) == heart_finder_of(BUNDLED_MODEL)
    ct_patch = np.stack(windows)
    logits = [model.predict_patch(ct_patch)[:, 0] for model in (original, converted)]
    middle = np.median(logits[0])
    probabilities = [1.0 / (1.0 + np.exp(middle - values)) for values in logits]
    change = np.abs(probabilities[0] - probabilities[1])
    assert 0.0 < np.quantile(change, 0.99) < LARGEST_CHANGE[precision]
    assert np.ptp(probabilities[1]) > 0.5


def test_float16_leaves_no_batch_normalisation_and_no_float32_weight(tmp_path: Path) -> None:
    path = tmp_path / "converted.onnx"

    convert_precision(BUNDLED_MODEL, path, Precision.FLOAT16)

    graph = onnx.load(path).graph
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    types = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}
    assert types == {onnx.TensorProto.FLOAT16}


def test_int8_without_windows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="needs windows"):
        convert_precision(BUNDLED_MODEL, tmp_path / "converted.onnx", Precision.INT8)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no model")

    with pytest.raises(ModelRejected, match="no ONNX file"):
        convert_precision(other, tmp_path / "converted.onnx", Precision.FLOAT16)
