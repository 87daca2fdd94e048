"""Weights out of a model file: every one, under its own name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from calcium_scoring.model_input.spec import ModelSpec
from model_training.export_onnx import export_onnx, with_float16_weights
from model_training.finetuning import starting_point as module
from model_training.finetuning.starting_point import starting_point, weights_of_model_file
from model_training.network import DenseRAUnet, NetworkConfig
from model_training.settings import TrainingConfig
from tests.small_network import SMALL_NETWORK

SMALL = TrainingConfig(name="small", network=SMALL_NETWORK)


def trained_network(config: NetworkConfig = SMALL_NETWORK) -> DenseRAUnet:
    """Weights as training leaves them: no two tensors alike, statistics not 0 and 1."""
    torch.manual_seed(0)
    network = DenseRAUnet(config)
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if values.is_floating_point():
                noise = torch.rand_like(values)
                # Around zero: noise of one sign adds up to logits that float32 cannot tell apart.
                values.copy_(noise + 0.5 if name.endswith("var") else values + 0.02 * (noise - 0.5))
    return network.eval()


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    export_onnx(trained_network(), ModelSpec(model_version="3.2.1"), path)
    return path


def test_every_weight_comes_back_from_the_file(model_file: Path) -> None:
    expected = with_float16_weights(trained_network()).state_dict()

    weights = weights_of_model_file(model_file)

    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    assert set(weights) == set(expected) - counters
    for name, values in weights.items():
        assert torch.equal(values, expected[name]), name


def test_network_of_the_file_answers_as_the_exported_one(model_file: Path) -> None:
    point = starting_point(model_file, config=SMALL)

    ct_patch = torch.rand(1, 9, 32, 48)
    with torch.no_grad():
        expected = with_float16_weights(trained_network())(ct_patch)
        assert torch.allclose(point.network(ct_patch), expected, atol=1e-6)
    assert (point.spec.model_version, point.file) == ("3.2.1", model_file)
    assert point.heart_finder is None


def test_settings_are_found_among_the_shipped_ones(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other.toml").write_text('name = "other"\n')
    (tmp_path / "small.toml").write_text(
        'name = "small"\n[network]\nblock_layers = [1, 1, 1, 1]\ngrowth_rate = 8\n'
        "stem_channels = 16\nskip_channels = [8, 8, 8]\ndecoder_channels = [8, 8, 8]\n"
        "head_channels = 8\nedb_layers = 3\nedb_growth_rate = 16\nedb_bottleneck_factor = 2\n"
    )
    monkeypatch.setattr(module, "CONFIGS", tmp_path)
    monkeypatch.setattr("model_training.settings.CONFIGS", tmp_path)

    assert starting_point(model_file).config == SMALL


def test_file_that_fits_no_shipped_settings_asks_for_its_own(model_file: Path) -> None:
    with pytest.raises(ValueError, match="fit none of the shipped settings"):
        starting_point(model_file)


def test_settings_of_another_network_are_refused(model_file: Path) -> None:
    wider = replace(SMALL, network=replace(SMALL_NETWORK, head_channels=16))

    with pytest.raises(ValueError, match="another network"):
        starting_point(model_file, config=wider)


def test_settings_of_the_same_shapes_but_another_function_are_refused(model_file: Path) -> None:
    # Dilations do not show in the shapes of the weights.
    other = replace(SMALL, network=replace(SMALL_NETWORK, rau_dilations=(1, 2, 3)))

    with pytest.raises(ValueError, match="are not its own"):
        starting_point(model_file, config=other)


def test_missing_file_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="to start from"):
        starting_point(tmp_path / "none.onnx")


@pytest.mark.slow
def test_bundled_model_can_be_gone_on_from(repository: Path) -> None:
    point = starting_point(repository / "service/adapters/onnx/calcium_segmenter.onnx")

    assert point.config.network.block_layers == (6, 12, 24, 16)
