"""Ways to run the network: PyTorch as it stands, ONNX Runtime on whole slices, and the product."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch

from calcium_scoring.model_input.preprocessing import ModelArray, prepare_slices, slice_window
from calcium_scoring.model_input.spec import INPUT_NAME, ModelSpec
from calcium_scoring.model_input.tiling import PredictPatch
from calcium_scoring.volume.ct_volume import CtVolume
from model_training.export_onnx import torch_predictor
from model_training.finetuning.starting_point import starting_point
from tests.benchmarks.bench_clock import best_of, timed

MATRIX_SIDE: Final = 1024
MATRIX_REPEATS: Final = 6


def torch_eager(model_path: Path, threads: int) -> PredictPatch:
    """Return the network of a model file in PyTorch, as training leaves it."""
    torch.set_num_threads(threads)
    return torch_predictor(starting_point(model_path).network)


def exhaustive_windows(volume: CtVolume, spec: ModelSpec, count: int) -> list[ModelArray]:
    """Return whole-slice windows (1, slice, row, column), ``count`` of them over the scan."""
    slices = prepare_slices(volume, spec).slices
    total = len(slices)
    chosen = np.unique(((np.arange(count) + 0.5) * total / count).astype(int))
    return [slice_window(slices, int(index), spec)[np.newaxis] for index in chosen]


def floating_point_operations(model_path: Path, rows: int, columns: int) -> float:
    """Return the operations of one window: two for each product of the convolutions.

    Convolutions are all but a hundredth of the work; what else there is counts as none, so that a
    rate made of this is never too high.
    """
    model = onnx.load(model_path)
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    if model.graph.input[0].name != INPUT_NAME:
        raise ValueError(f"The first input is {model.graph.input[0].name}, not {INPUT_NAME}.")
    for axis, size in ((0, 1), (2, rows), (3, columns)):
        sizes[axis].ClearField("dim_param")
        sizes[axis].dim_value = size
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    operations = 0.0
    for node in inferred.node:
        if node.op_type in {"Conv", "ConvTranspose"}:
            # A transposed convolution uses its whole kernel at each pixel that it is given.
            at = node.output[0] if node.op_type == "Conv" else node.input[0]
            operations += 2.0 * float(np.prod(shapes[node.input[1]]) * np.prod(shapes[at][2:]))
    return operations


def matrix_rate(threads: int) -> tuple[str, float]:
    """Return the faster of two libraries at products of float32 matrices, operations a second."""
    rng = np.random.default_rng(0)
    first, second = rng.random((2, MATRIX_SIDE, MATRIX_SIDE), dtype=np.float32)
    torch.set_num_threads(threads)
    ours, theirs = torch.from_numpy(first), torch.from_numpy(second)
    rates = {}
    for name, work in (
        ("NumPy", lambda: first @ second),
        ("PyTorch", lambda: ours @ theirs),
    ):
        cpu_s = best_of([timed(work) for _ in range(MATRIX_REPEATS)])
        # One thread's time of the processor is its clock without the other work of the machine.
        seconds = cpu_s.cpu_s if threads == 1 else cpu_s.wall_s
        rates[name] = 2.0 * MATRIX_SIDE**3 / seconds
    name = max(rates, key=lambda one: rates[one])
    return name, rates[name]


def processor_name() -> str:
    """Return what the processor calls itself; empty where the system does not say."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return ""
    lines = info.read_text(encoding="ascii", errors="replace").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {os.cpu_count()} cores" if names else ""
