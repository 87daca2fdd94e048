"""Sessions of ONNX Runtime: which provider they run on, and how they are tuned.

What is set here was measured (docs/performance.md); what is not set showed no gain. Batch
normalisation is folded and features are laid out for the processor's vectors at the default level
of optimisation already.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
)
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as OperatorMissing

from calcium_scoring.model_input.preprocessing import ModelArray
from service.application.errors import ModelUnavailable

CPU_PROVIDER: Final = "CPUExecutionProvider"
CUDA_PROVIDER: Final = "CUDAExecutionProvider"
TENSORRT_PROVIDER: Final = "TensorrtExecutionProvider"

ON_CUDA: Final = frozenset({CUDA_PROVIDER, TENSORRT_PROVIDER})
"""Providers whose tensors live in the memory of the GPU."""

LOAD_ERRORS: Final = (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    OperatorMissing,
)

_CUDA_OPTIONS: Final = {
    # The arena grows by what is asked for, not by powers of two; the exhaustive search for the
    # fastest convolution takes minutes and much memory at every new input size.
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
}


def preferred_providers(wanted: Sequence[str], offered: Sequence[str]) -> tuple[str, ...]:
    """Return those of the wanted providers that are offered, in the order of preference.

    Parameters
    ----------
    wanted
        The preferred one first. A later one stands in for an earlier one only because it is named:
        a GPU alone means that there is no service without it.
    offered
        What this build of ONNX Runtime has.

    Raises
    ------
    ModelUnavailable
        A name that no ONNX Runtime knows, or none of them is offered.
    """
    known = onnxruntime.get_all_providers()
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ModelUnavailable(
            f"ONNX Runtime knows no provider {', '.join(unknown)}; CACSCORE_ONNX_PROVIDERS takes "
            f"{TENSORRT_PROVIDER}, {CUDA_PROVIDER} or {CPU_PROVIDER}, or several, the preferred "
            "first."
        )
    chosen = tuple(name for name in wanted if name in offered)
    if not chosen:
        raise ModelUnavailable(
            f"This ONNX Runtime does not offer {', '.join(wanted) or 'no provider at all'}; it has "
            f"{', '.join(offered)}. Name {CPU_PROVIDER} last where the CPU may stand in."
        )
    return chosen


def provider_options(name: str, engine_cache: Path | None = None) -> dict[str, str]:
    """Return what a provider is told beyond its defaults; not measured on a GPU."""
    if name == CUDA_PROVIDER:
        return dict(_CUDA_OPTIONS)
    if name == TENSORRT_PROVIDER and engine_cache is not None:
        # Building an engine takes minutes; kept, it is built once for each file and GPU.
        engine_cache.mkdir(parents=True, exist_ok=True)
        return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(engine_cache)}
    return {}


def open_session(
    model: Path | bytes,
    *,
    threads: int,
    providers: Sequence[str] = (CPU_PROVIDER,),
    engine_cache: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Open a model file, or the content of one, on the first of these providers that works.

    A provider that is offered may still not start: the runtime then falls back to the CPU with no
    more than a line in its log. Here the next one in the order is tried, as if the first were not
    offered.

    Raises
    ------
    ModelUnavailable
        None of the providers starts.
    """
    source = str(model) if isinstance(model, Path) else model
    chosen = preferred_providers(providers, onnxruntime.get_available_providers())
    got: Sequence[str] = ()
    for first in range(len(chosen)):
        session = onnxruntime.InferenceSession(
            source,
            _options(threads),
            providers=[(name, provider_options(name, engine_cache)) for name in chosen[first:]],
        )
        got = session.get_providers()
        if got[0] == chosen[first]:
            _return_freed_memory()
            return session
    raise ModelUnavailable(
        f"{', '.join(chosen)} cannot be started on this machine; the session would run on "
        f"{', '.join(got)}."
    )


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A plan of the memory of a whole run takes a fifth more of it, and saves no time.
    options.enable_mem_pattern = False
    return options


def _return_freed_memory() -> None:
    """Give back what loading a model took and no longer needs: more than the network's weights."""
    if not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library only
    if trim is not None:
        trim(0)


class BoundRun:
    """One input to one output on a GPU, through tensors that stay there between runs.

    Each size of input gets its tensor once; a later window of that size is copied into it.
    Windows of a scan have one size.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, input_name: str, output_name: str, device: str
    ) -> None:
        self._session = session
        self._input_name, self._output_name = input_name, output_name
        self._device = device
        self._binding: Any = session.io_binding()
        self._tensor: Any = None
        self._shape: tuple[int, ...] = ()

    def __call__(self, values: ModelArray) -> ModelArray:
        """Return the output for an input; both in the memory of the host."""
        contiguous = np.ascontiguousarray(values)
        if contiguous.shape != self._shape:
            self._shape = contiguous.shape
            # Not one made from the values: on a CPU it would be the caller's memory.
            self._tensor = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                self._shape, np.float32, self._device, 0
            )
            self._binding.clear_binding_inputs()
            self._binding.bind_ortvalue_input(self._input_name, self._tensor)
            self._binding.clear_binding_outputs()
            self._binding.bind_output(self._output_name, self._device)
        self._tensor.update_inplace(contiguous)
        self._session.run_with_iobinding(self._binding)
        (result,) = self._binding.copy_outputs_to_cpu()
        # A copy: the next run may answer into the same memory.
        answer: ModelArray = np.array(result, dtype=np.float32)
        return answer
