"""Which provider a session runs on, and tensors that stay on a device between runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.model_input.spec import INPUT_NAME, OUTPUT_NAME
from service.adapters.onnx.session import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    TENSORRT_PROVIDER,
    BoundRun,
    open_session,
    preferred_providers,
    provider_options,
)
from service.application.errors import ModelUnavailable

GPU_BUILD = (TENSORRT_PROVIDER, CUDA_PROVIDER, CPU_PROVIDER)
CPU_BUILD = ("AzureExecutionProvider", CPU_PROVIDER)


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ([CUDA_PROVIDER, CPU_PROVIDER], GPU_BUILD, (CUDA_PROVIDER, CPU_PROVIDER)),
        ([CUDA_PROVIDER, CPU_PROVIDER], CPU_BUILD, (CPU_PROVIDER,)),
        ([TENSORRT_PROVIDER, CUDA_PROVIDER], GPU_BUILD, (TENSORRT_PROVIDER, CUDA_PROVIDER)),
        ([CPU_PROVIDER, CUDA_PROVIDER], GPU_BUILD, (CPU_PROVIDER, CUDA_PROVIDER)),
    ],
)
def test_the_order_of_preference_is_kept_and_what_is_not_offered_is_passed_over(
    wanted: Sequence[str], offered: Sequence[str], chosen: tuple[str, ...]
) -> None:
    assert preferred_providers(wanted, offered) == chosen


def test_where_nothing_wanted_is_offered_the_refusal_names_both() -> None:
    with pytest.raises(ModelUnavailable) as refusal:
        preferred_providers([CUDA_PROVIDER], CPU_BUILD)
    assert CUDA_PROVIDER in refusal.value.message
    assert "Azure" in refusal.value.message


def test_a_misspelt_provider_is_refused_rather_than_passed_over() -> None:
    with pytest.raises(ModelUnavailable, match="no provider CUDA;"):
        preferred_providers(["CUDA", CPU_PROVIDER], CPU_BUILD)


def test_no_provider_at_all_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match="no provider at all"):
        preferred_providers([], CPU_BUILD)


def test_engines_are_kept_where_there_is_a_folder_for_them(tmp_path: Path) -> None:
    cache = tmp_path / "engines"

    kept = provider_options(TENSORRT_PROVIDER, cache)

    assert kept == {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
    assert cache.is_dir()
    assert provider_options(TENSORRT_PROVIDER) == {}
    assert provider_options(CPU_PROVIDER, cache) == {}


def test_bound_tensors_answer_as_a_plain_run_does_also_when_the_size_changes(
    threshold_model: Path,
) -> None:
    session = open_session(threshold_model, threads=1)
    bound = BoundRun(session, INPUT_NAME, OUTPUT_NAME, "cpu")
    rng = np.random.default_rng(0)
    sizes = [(1, 9, 32, 48), (1, 9, 32, 48), (1, 9, 64, 16), (2, 9, 32, 48), (1, 9, 32, 48)]
    patches = [rng.random(size, dtype=np.float32) for size in sizes]

    answers = [bound(patch) for patch in patches]

    for patch, answer in zip(patches, answers, strict=True):
        (expected,) = session.run([OUTPUT_NAME], {INPUT_NAME: patch})
        np.testing.assert_array_equal(answer, expected)


def test_what_is_fed_may_be_a_part_of_a_larger_array(threshold_model: Path) -> None:
    session = open_session(threshold_model, threads=1)
    bound = BoundRun(session, INPUT_NAME, OUTPUT_NAME, "cpu")
    whole = np.random.default_rng(1).random((1, 9, 64, 64), dtype=np.float32)
    part = whole[:, :, 16:48, 32:64]

    (expected,) = session.run([OUTPUT_NAME], {INPUT_NAME: np.ascontiguousarray(part)})
    np.testing.assert_array_equal(bound(part), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("providers", [(CUDA_PROVIDER,), (TENSORRT_PROVIDER, CUDA_PROVIDER)])
def test_a_gpu_answers_as_the_cpu_does(threshold_model: Path, providers: tuple[str, ...]) -> None:
    session = open_session(threshold_model, threads=1, providers=providers)
    bound = BoundRun(session, INPUT_NAME, OUTPUT_NAME, "cuda")
    patch = np.random.default_rng(2).random((1, 9, 64, 64), dtype=np.float32)

    (expected,) = open_session(threshold_model, threads=1).run([OUTPUT_NAME], {INPUT_NAME: patch})

    assert session.get_providers()[0] == providers[0]
    np.testing.assert_allclose(bound(patch), expected, atol=1e-3)
