"""DenseRAUnet: shapes, switches and what is known of DenseNet-121."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from model_training.network import (
    DenseRAUnet,
    NetworkConfig,
    PointwiseConv2d,
    ResidualAtrousUnit,
    ScSe,
    load_weights,
)
from tests.small_network import SMALL_NETWORK


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_encoder_is_densenet_121_with_nine_input_slices() -> None:
    network = DenseRAUnet(NetworkConfig())

    encoder = [network.stem, network.blocks, network.transitions, network.final_norm]

    # DenseNet-121 has 7,978,856 parameters, 1,025,000 of them in its classifier; six more input
    # slices add 6 x 64 x 7 x 7 weights.
    assert sum(map(parameter_count, encoder)) == 7_978_856 - 1_025_000 + 6 * 64 * 49


@pytest.mark.parametrize("rows_columns", [(16, 16), (48, 80)])
def test_logits_lie_on_the_grid_of_the_input(rows_columns: tuple[int, int]) -> None:
    network = DenseRAUnet(replace(SMALL_NETWORK, label_count=4)).eval()

    logits = network(torch.zeros(2, 9, *rows_columns))

    assert logits.shape == (2, 4, *rows_columns)


@pytest.mark.parametrize(
    "without",
    [
        replace(SMALL_NETWORK, rau=False),
        replace(SMALL_NETWORK, edb=False),
        replace(SMALL_NETWORK, scse=False),
    ],
    ids=["rau", "edb", "scse"],
)
def test_each_trick_of_the_paper_is_a_switch(without: NetworkConfig) -> None:
    network = DenseRAUnet(without).eval()

    assert network(torch.zeros(1, 9, 32, 32)).shape == (1, 1, 32, 32)
    assert parameter_count(network) < parameter_count(DenseRAUnet(SMALL_NETWORK))


def test_atrous_unit_sees_eight_pixels_far_and_not_nine() -> None:
    unit = ResidualAtrousUnit(4, (2, 4, 8), 2).eval()
    impulse = torch.zeros(1, 4, 33, 33)
    impulse[0, :, 16, 16] = 100.0

    changed = (unit(impulse) - unit(torch.zeros_like(impulse))).abs().sum(dim=1)[0] > 1e-6

    rows, columns = torch.nonzero(changed, as_tuple=True)
    distances = torch.maximum((rows - 16).abs(), (columns - 16).abs())
    assert distances.max() == 8
    assert set(distances.tolist()) == {0, 2, 4, 8}


def test_atrous_unit_is_residual() -> None:
    unit = ResidualAtrousUnit(4, (2, 4, 8), 2).eval()
    for fused in unit.fuse.parameters():
        nn.init.zeros_(fused)
    features = torch.rand(1, 4, 8, 8)

    assert torch.equal(unit(features), features)


def test_squeeze_and_excitation_gates_lie_between_zero_and_two() -> None:
    block = ScSe(4, 2)
    features = torch.rand(1, 4, 8, 8) + 0.1

    gate = block(features) / features

    assert gate.min() > 0.0
    assert gate.max() < 2.0


def test_pointwise_convolution_is_the_same_in_training_and_serving() -> None:
    convolution = PointwiseConv2d(5, 7, bias=True)
    features = torch.randn(2, 5, 6, 4)

    training, serving = convolution.train()(features), convolution.eval()(features)

    assert torch.allclose(training, serving, atol=1e-6)


def test_untrained_network_expects_calcium_to_be_rare() -> None:
    torch.manual_seed(0)
    network = DenseRAUnet(replace(SMALL_NETWORK, initial_probability=0.02))

    probabilities = torch.sigmoid(network(torch.rand(2, 9, 32, 32)))

    assert probabilities.mean().item() == pytest.approx(0.02, abs=0.01)


def test_same_seed_gives_the_same_network() -> None:
    def weights() -> list[float]:
        torch.manual_seed(3)
        return [float(value.detach().sum()) for value in DenseRAUnet(SMALL_NETWORK).parameters()]

    assert weights() == weights()


def test_even_number_of_slices_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        NetworkConfig(slice_count=8)


def test_a_network_of_eight_channels_begins_with_what_a_binary_one_has_learned() -> None:
    torch.manual_seed(1)
    binary = DenseRAUnet(SMALL_NETWORK).eval()
    torch.manual_seed(2)
    naming = DenseRAUnet(replace(SMALL_NETWORK, label_count=8)).eval()
    head = {name: value.clone() for name, value in naming.head[3].state_dict().items()}
    ct_patch = torch.rand(1, 9, 32, 32)

    load_weights(naming, binary.state_dict())

    logits = naming(ct_patch)
    assert torch.allclose(logits[:, :1], binary(ct_patch), atol=1e-5)
    for name, value in naming.head[3].state_dict().items():
        assert torch.equal(value[1:], head[name][1:])
        assert torch.equal(value[:1], binary.head[3].state_dict()[name])


def test_weights_of_the_same_shape_are_taken_as_they_are() -> None:
    torch.manual_seed(1)
    first = DenseRAUnet(replace(SMALL_NETWORK, label_count=8))
    second = DenseRAUnet(replace(SMALL_NETWORK, label_count=8))

    load_weights(second, first.state_dict())

    for name, value in second.state_dict().items():
        assert torch.equal(value, first.state_dict()[name]), name


@pytest.mark.parametrize(
    "other", [replace(SMALL_NETWORK, growth_rate=12), replace(SMALL_NETWORK, label_count=8)]
)
def test_weights_of_another_network_are_refused(other: NetworkConfig) -> None:
    network = DenseRAUnet(SMALL_NETWORK)

    with pytest.raises(ValueError, match="of another network"):
        load_weights(network, DenseRAUnet(other).state_dict())
