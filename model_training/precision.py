"""The same network in another precision: float16 for GPUs, int8 for CPUs with dot products.

Both start from the file that ships, so that a conversion needs no checkpoint. Whether the result
may replace the file it came from is decided by ``evaluate`` on the same patients, not here.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
)
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from calcium_scoring.errors import ModelRejected
from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.spec import INPUT_NAME, METADATA_KEY, ModelSpec
from model_training.augmentation import NO_AUGMENTATION
from model_training.cases import TrainingCase
from model_training.dataset import CropDataset, SamplingConfig
from model_training.export_onnx import forget_origin, open_session, write_model_file

_ORT_ERROR: Final = 3
"""ONNX Runtime logs from 0 (verbose) to 4 (fatal)."""

QUANTIZED_OPERATORS: Final = ("Conv",)
"""All but a hundredth of the work; what stays float keeps the range of the gates and the sums."""


class Precision(StrEnum):
    """What a network computes with."""

    FLOAT16 = "float16"
    """Half the memory and traffic; for GPUs. On a CPU it is slower than float32."""
    INT8 = "int8"
    """Convolutions of 8-bit weights and activations; for CPUs with VNNI."""


class _Windows(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Hands calibration windows to ONNX Runtime one by one."""

    def __init__(self, windows: Iterable[ModelArray]) -> None:
        self._windows: Iterator[ModelArray] = iter(windows)

    def get_next(self) -> dict[str, ModelArray] | None:
        window = next(self._windows, None)
        return None if window is None else {INPUT_NAME: window[np.newaxis]}


def convert_precision(
    source: Path, path: Path, precision: Precision, *, windows: Iterable[ModelArray] = ()
) -> None:
    """Write a model file that computes in another precision; its input and output stay float32.

    Specification and heart finder travel with it. Batch normalisation becomes part of the
    convolution before it, or one product and one sum: its statistics span more than float16 holds.

    Parameters
    ----------
    source
        A model file that computes in float32.
    windows
        (slice, row, column) in model units, of real or simulated scans: from them int8 learns the
        range of every activation. Not read for float16.

    Raises
    ------
    ModelRejected
        If ``source`` is no model file of this project, or int8 is asked for without windows.
    """
    try:
        metadata = open_session(source.read_bytes(), 1).get_modelmeta().custom_metadata_map
    except (OSError, Fail, InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
        raise ModelRejected(f"{source} is no ONNX file.") from error
    if METADATA_KEY not in metadata:
        raise ModelRejected(f"{source} carries no specification of a calcium segmenter.")
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain.onnx"
        onnx.save(_plain_float32(source, Path(scratch)), plain)
        if precision is Precision.FLOAT16:
            model = convert_float_to_float16(onnx.load(plain), keep_io_types=True)
        else:
            model = _quantized(plain, windows, Path(scratch))
    # The conversions append their casts at the end.
    OnnxModel(model).topological_sort()
    forget_origin(model)
    _keep_metadata(model, metadata)
    onnx.checker.check_model(model)
    write_model_file(model.SerializeToString(deterministic=True), path)


def calibration_windows(
    cases: Sequence[TrainingCase], spec: ModelSpec, *, count: int
) -> Iterator[ModelArray]:
    """Draw windows (slice, row, column) as training sees them, without augmentation.

    The same cases and count give the same windows.
    """
    crops = CropDataset(cases, spec, SamplingConfig(), NO_AUGMENTATION, seed=0, length=count)
    return (crops[index]["ct_patch"].numpy() for index in range(count))


def _plain_float32(source: Path, scratch: Path) -> onnx.ModelProto:
    """Return the graph with float32 weights and without batch normalisation."""
    folded = scratch / "folded.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ORT_ERROR
    # The basic level folds constants and normalisation behind convolutions, in standard operators.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    model = onnx.load(folded)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            nodes.extend(_as_product_and_sum(node, constants, graph))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    return model


def _as_product_and_sum(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], graph: onnx.GraphProto
) -> list[onnx.NodeProto]:
    features, *names = node.input
    scale, shift, mean, variance = (
        numpy_helper.to_array(constants[name]).astype(np.float64) for name in names
    )
    # The default of the operator where the exporter wrote none.
    epsilon = next((item.f for item in node.attribute if item.name == "epsilon"), 1e-5)
    factor = scale / np.sqrt(variance + epsilon)
    values = {"factor": factor, "term": shift - mean * factor}
    for name, of_channel in values.items():
        graph.initializer.append(
            numpy_helper.from_array(
                of_channel.astype(np.float32).reshape(1, -1, 1, 1), f"{node.name}_{name}"
            )
        )
    product = f"{node.name}_product"
    return [
        onnx.helper.make_node("Mul", [features, f"{node.name}_factor"], [product], product),
        onnx.helper.make_node(
            "Add", [product, f"{node.name}_term"], list(node.output), f"{node.name}_sum"
        ),
    ]


def _quantized(plain: Path, windows: Iterable[ModelArray], scratch: Path) -> onnx.ModelProto:
    chosen = list(windows)
    if not chosen:
        raise ModelRejected("int8 needs windows of scans to learn the range of activations from.")
    quantized = scratch / "int8.onnx"
    # It advises the preparation that this graph already had.
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            plain,
            quantized,
            _Windows(chosen),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED_OPERATORS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    finally:
        logging.disable(logging.NOTSET)
    return onnx.load(quantized)


def _keep_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
