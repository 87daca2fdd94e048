"""Checkpoint to ONNX: weights stored as float16, computed as float32, with the ModelSpec inside.

Large weights are rounded to float16 and followed by a cast back to float32, which ONNX Runtime
folds away when it loads the file: half the bytes at full speed on a CPU. Small tensors (biases,
batch normalisation) stay float32, since their values span more than float16 holds well.
"""

from __future__ import annotations

import base64
import copy
import math
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
)
from scipy.special import expit
from torch import nn

from calcium_scoring.errors import ModelRejected
from calcium_scoring.model_input.heart_region import (
    HEART_FILE_KEY,
    HEART_INPUT_NAME,
    HEART_METADATA_KEY,
    HEART_OUTPUT_NAME,
    HeartSpec,
)
from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.segmentation import CalciumModel, HeartModel
from calcium_scoring.model_input.spec import INPUT_NAME, METADATA_KEY, OUTPUT_NAME, ModelSpec
from calcium_scoring.model_input.tiling import PredictPatch

OPSET: Final = 18
"""Known to every ONNX Runtime since 1.14."""

MAX_PROBABILITY_DIFFERENCE: Final = 1e-4
"""Export is refused where PyTorch and ONNX Runtime differ by more anywhere in the checks."""

SMALLEST_FLOAT16_SIZE: Final = 1024
"""Weights with fewer elements stay float32 (our choice; they are half a per cent of the bytes)."""

_ORT_ERROR: Final = 3
"""ONNX Runtime logs from 0 (verbose) to 4 (fatal)."""

_CHECKED_SHAPES: Final = ((1, 64, 64), (2, 96, 160), (1, 256, 208))
"""Batch, rows and columns; different ones, since a fixed size would pass with only one."""


@dataclass(frozen=True)
class ExportedModel:
    """What was written."""

    path: Path
    spec: ModelSpec
    byte_count: int
    max_probability_difference: float


def export_onnx(
    network: nn.Module, spec: ModelSpec, path: Path, *, heart_finder: bytes | None = None
) -> ExportedModel:
    """Write a network as an ONNX file, if the file gives the same probabilities as the network.

    ``heart_finder`` is the ONNX file of the network that finds the heart; it travels inside.

    Input ``ct_patch`` and output ``calcium_logits`` have free batch, row and column sizes. The
    comparison is with the network whose weights are rounded in the same way.

    Raises
    ------
    ModelRejected
        If any probability differs by more than 1e-4, or ``heart_finder`` cannot be opened; nothing
        is written.
    """
    if heart_finder is not None:
        heart_model_of(heart_finder)
    rounded = with_float16_weights(network).eval()
    with tempfile.TemporaryDirectory() as scratch:
        graph_file = Path(scratch) / "graph.onnx"
        _export_graph(rounded, spec, graph_file)
        model = onnx.load(graph_file)
    _store_weights_as_float16(model)
    forget_origin(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.to_json()
    if heart_finder is not None:
        entry = model.metadata_props.add()
        entry.key = HEART_FILE_KEY
        entry.value = base64.b64encode(heart_finder).decode("ascii")
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)

    difference = max_probability_difference(rounded, content, spec)
    require_agreement(difference)
    write_model_file(content, path)
    return ExportedModel(path, spec, len(content), difference)


def require_agreement(difference: float) -> None:
    """Refuse an export whose file and network differ by more than the tolerance in probability."""
    if difference > MAX_PROBABILITY_DIFFERENCE:
        raise ModelRejected(
            f"PyTorch and ONNX Runtime differ by up to {difference:.2e} in probability; at most "
            f"{MAX_PROBABILITY_DIFFERENCE:.0e} is accepted. Nothing was written.",
            max_probability_difference=difference,
        )


def write_model_file(content: bytes, path: Path) -> None:
    """Write a model file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def load_onnx(path: Path, *, thread_count: int = 1) -> CalciumModel:
    """Open an ONNX file as serving does."""
    session = open_session(path.read_bytes(), thread_count)
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map
    spec = ModelSpec.from_json(metadata.get(METADATA_KEY, ""))
    heart_file = heart_finder_of(path)
    heart = None if heart_file is None else heart_model_of(heart_file, thread_count=thread_count)
    return CalciumModel(spec, _predictor(session), heart)


def heart_finder_of(path: Path) -> bytes | None:
    """Return the file of the network that finds the heart from within a model file."""
    model = onnx.load(path)
    encoded = {entry.key: entry.value for entry in model.metadata_props}.get(HEART_FILE_KEY)
    return None if encoded is None else base64.b64decode(encoded, validate=True)


def heart_model_of(content: bytes, *, thread_count: int = 1) -> HeartModel:
    """Open the file of the network that finds the heart.

    Raises
    ------
    ModelRejected
        If it is no model file, or that of another network.
    """
    try:
        session = open_session(content, thread_count)
    except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
        raise ModelRejected("The network that finds the heart cannot be loaded.") from error
    metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map

    def predict(ct_coarse: ModelArray) -> ModelArray:
        heart_logits: ModelArray = session.run([HEART_OUTPUT_NAME], {HEART_INPUT_NAME: ct_coarse})[
            0
        ]
        return heart_logits

    return HeartModel(HeartSpec.from_json(metadata.get(HEART_METADATA_KEY, "")), predict)


def torch_predictor(network: nn.Module, device: str = "cpu") -> PredictPatch:
    """Return a PyTorch network as a function of arrays."""
    network.eval()

    @torch.inference_mode()
    def predict_patch(ct_patch: ModelArray) -> ModelArray:
        # A copy: torch cannot express that the prepared slices are read-only.
        tensor = torch.from_numpy(np.array(ct_patch)).to(device)
        calcium_logits: ModelArray = network(tensor).cpu().numpy()
        return calcium_logits

    return predict_patch


def with_float16_weights(network: nn.Module) -> nn.Module:
    """Return a copy whose large weights hold only values that float16 can."""
    rounded = copy.deepcopy(network).cpu().float()
    with torch.no_grad():
        for parameter in rounded.parameters():
            if _is_stored_as_float16(parameter.shape):
                parameter.copy_(parameter.half().float())
    return rounded


def max_probability_difference(network: nn.Module, content: bytes, spec: ModelSpec) -> float:
    """Return the largest difference in probability between a network and its ONNX file.

    A trained network sees no calcium in made-up tissue, and probabilities near 0 would agree
    whatever the logits; so they are compared a second time with the median logit moved to 0.
    """
    by_onnx, by_torch = _predictor(open_session(content, 1)), torch_predictor(network)
    rng = np.random.default_rng(0)
    largest = 0.0
    for batch, rows, columns in _CHECKED_SHAPES:
        # Flat tissue with noise and dense blocks, over the whole range of model units.
        tissue = rng.uniform(0.0, 1.0, (batch, spec.slice_count, rows // 8, columns // 8))
        noisy = np.kron(tissue, np.ones((8, 8))) + rng.normal(
            0.0, 0.02, (batch, spec.slice_count, rows, columns)
        )
        ct_patch = np.clip(noisy, 0.0, 1.0).astype(np.float32)
        logits = [predict(ct_patch).astype(np.float64) for predict in (by_onnx, by_torch)]
        for shift in (0.0, float(np.median(logits[1]))):
            by_file, by_network = (expit(values - shift) for values in logits)
            largest = max(largest, float(np.abs(by_file - by_network).max()))
    return largest


def _export_graph(network: nn.Module, spec: ModelSpec, path: Path) -> None:
    """Write the float32 graph of a network in evaluation mode.

    By tracing: the network has no data-dependent flow, and the exporter that PyTorch now prefers
    needs minutes instead of seconds for the free sizes of so many layers.
    """
    example = torch.zeros(2, spec.slice_count, 4 * spec.size_multiple, 5 * spec.size_multiple)
    free_axes = {0: "batch", 2: "row", 3: "column"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: free_axes, OUTPUT_NAME: free_axes},
            opset_version=OPSET,
            dynamo=False,
            # Evaluation mode as the network is, but no folding here: weights must keep the values
            # that float16 can hold. ONNX Runtime folds batch normalisation when it loads the file.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )


def _store_weights_as_float16(model: onnx.ModelProto) -> None:
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if not _is_stored_as_float16(values.shape):
            continue
        name, stored_name = tensor.name, f"{tensor.name}_float16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored_name))
        casts.append(
            onnx.helper.make_node("Cast", [stored_name], [name], to=onnx.TensorProto.FLOAT)
        )
    # What the exporter noted of the float32 weights no longer fits their names.
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


def _is_stored_as_float16(shape: Sequence[int]) -> bool:
    # Statistics of batch normalisation are vectors, however long.
    return len(shape) > 1 and math.prod(shape) >= SMALLEST_FLOAT16_SIZE


def forget_origin(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces with paths of the machine that trained."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    nodes = [*graph.node, *(node for function in model.functions for node in function.node)]
    for part in (graph, *nodes, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def open_session(content: bytes, thread_count: int) -> onnxruntime.InferenceSession:
    """Open the content of an ONNX file on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count
    options.log_severity_level = _ORT_ERROR
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _predictor(session: onnxruntime.InferenceSession) -> PredictPatch:
    def predict_patch(ct_patch: ModelArray) -> ModelArray:
        calcium_logits: ModelArray = session.run([OUTPUT_NAME], {INPUT_NAME: ct_patch})[0]
        return calcium_logits

    return predict_patch
