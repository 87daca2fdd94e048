"""HeartFinder to ONNX, with its HeartSpec inside."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from scipy.special import expit

from calcium_scoring.model_input.heart_region import (
    HEART_INPUT_NAME,
    HEART_METADATA_KEY,
    HEART_OUTPUT_NAME,
    HeartSpec,
)
from model_training.export_onnx import (
    OPSET,
    forget_origin,
    heart_model_of,
    require_agreement,
    write_model_file,
)
from model_training.heart_finder.network import HeartFinder

_CHECKED_SHAPES: Final = ((16, 24, 32), (40, 56, 48))


def export_heart_finder(network: HeartFinder, spec: HeartSpec, path: Path) -> float:
    """Write a network as an ONNX file and return the largest difference in probability.

    Raises
    ------
    ModelRejected
        If the file gives other probabilities than the network; nothing is written.
    """
    network = network.eval()
    content = _content(network, spec)
    predict = heart_model_of(content).predict
    rng = np.random.default_rng(0)
    largest = 0.0
    for shape in _CHECKED_SHAPES:
        blocks = rng.uniform(0.0, 1.0, [size // 8 for size in shape])
        ct_coarse = np.kron(blocks, np.ones((8, 8, 8))).astype(np.float32)[np.newaxis, np.newaxis]
        with torch.no_grad():
            by_torch = network(torch.from_numpy(ct_coarse)).numpy()
        largest = max(largest, float(np.abs(expit(predict(ct_coarse)) - expit(by_torch)).max()))
    require_agreement(largest)
    write_model_file(content, path)
    return largest


def _content(network: HeartFinder, spec: HeartSpec) -> bytes:
    multiple = spec.size_multiple
    example = torch.zeros(1, 1, 4 * multiple, 5 * multiple, 6 * multiple)
    free_axes = {0: "batch", 2: "slice", 3: "row", 4: "column"}
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        # Group normalisation asks for more than one value a group; that holds at every size.
        warnings.filterwarnings("ignore", "Converting a tensor to a Python boolean")
        graph_file = Path(scratch) / "graph.onnx"
        torch.onnx.export(
            network,
            (example,),
            str(graph_file),
            input_names=[HEART_INPUT_NAME],
            output_names=[HEART_OUTPUT_NAME],
            dynamic_axes={HEART_INPUT_NAME: free_axes, HEART_OUTPUT_NAME: free_axes},
            opset_version=OPSET,
            dynamo=False,
        )
        model = onnx.load(graph_file)
    forget_origin(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = HEART_METADATA_KEY, spec.to_json()
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
