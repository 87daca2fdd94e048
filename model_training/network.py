"""DenseRAUnet (Ma and Zhang): a dense U-Net over nine neighbouring slices, in 2D convolutions.

```text
ct_patch (9)  stem /2 ── pool ─ block 1 /4 ── block 2 /8 ── block 3 /16 ── block 4 /16
                 │                  │              │                            │
              EDB, RAU             RAU            RAU                           │
                 │                  │              │                            │
logits ─ head ─ decoder /2 ◄──── decoder /4 ◄── decoder /8 ◄────────────────────┘
```

The encoder is DenseNet-121 (Huang et al., CVPR 2017: growth 32, blocks of 6, 12, 24 and 16 layers,
bottleneck 4, compression 0.5). The paper gives the parts and where they stand (Residual Atrous Unit
on the skip connections, Extra Dense Block on the first one, scSE after each of three up-sampling
blocks); widths and strides are lost in its text and are values of :class:`NetworkConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

OUTPUT_LAYER: Final = "head.3."
"""Names of the parameters of the last convolution begin so."""

SKIP_COUNT: Final = 3
"""Skip connections and decoder modules (paper, 2.3); their strides are 2, 4 and 8."""


@dataclass(frozen=True)
class NetworkConfig:
    """Size of the network and the switches of the ablation.

    Where a comment does not name the paper or DenseNet, the value is our choice. Tuples over skips
    or decoder modules run from the shallow (stride 2) to the deep one (stride 8).
    """

    slice_count: int = 9
    """Input slices (paper, 2.2)."""
    label_count: int = 1
    """Output channels, one sigmoid each."""
    growth_rate: int = 32
    """DenseNet-121."""
    block_layers: tuple[int, int, int, int] = (6, 12, 24, 16)
    """DenseNet-121."""
    bottleneck_factor: int = 4
    """DenseNet-121: width of a layer's 1x1 convolution in multiples of the growth rate."""
    compression: float = 0.5
    """DenseNet-121: part of the channels that a transition keeps."""
    stem_channels: int = 64
    """DenseNet-121. The third transition does not pool (our choice), so the deepest stride is 16,
    from which three decoder modules lead back to 2 and a light head to full resolution."""
    skip_channels: tuple[int, int, int] | None = None
    """Widths to which a 1x1 convolution brings the skips; None keeps what the encoder gives."""
    rau: bool = True
    """Residual Atrous Unit on every skip (paper, 2.3)."""
    rau_dilations: tuple[int, ...] = (2, 4, 8)
    """Paper, 2.3."""
    rau_branch_divisor: int = 2
    """A branch of the unit has the channels of its skip divided by this."""
    edb: bool = True
    """Extra Dense Block on the first skip (paper, 2.3)."""
    edb_layers: int = 4
    edb_growth_rate: int = 32
    edb_bottleneck_factor: int = 4
    scse: bool = True
    """Concurrent spatial and channel squeeze and excitation after each decoder module."""
    scse_reduction: int = 2
    """Roy et al., MICCAI 2018: the channel path squeezes to half of its channels."""
    decoder_channels: tuple[int, int, int] = (64, 128, 256)
    head_channels: int = 32
    initial_probability: float = 0.02
    """Output before training. Calcium is rare: from 0.5 the first steps would only unlearn it."""

    def __post_init__(self) -> None:
        if not 0.0 < self.initial_probability < 1.0:
            raise ValueError(
                f"initial_probability must lie within (0, 1), not {self.initial_probability}."
            )
        if self.slice_count % 2 == 0:
            raise ValueError(f"slice_count must be odd to have a middle, not {self.slice_count}.")

    @property
    def size_multiple(self) -> int:
        """Stride of the deepest feature map: rows and columns must be multiples of it."""
        return 16


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution that trains as a matrix product on a CPU.

    PyTorch sends 1x1 convolutions of small batches on one thread to its slow path; as a product of
    matrices over channels-last features a whole training step takes about a fifth less time.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``out_channels`` channels at the same resolution."""
        if self.training and features.device.type == "cpu":
            product = functional.linear(
                features.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias
            )
            return product.permute(0, 3, 1, 2)
        return super().forward(features)


class DenseLayer(nn.Module):
    """BN-ReLU-1x1, BN-ReLU-3x3: the new features of one layer of a dense block."""

    def __init__(self, channels: int, growth_rate: int, bottleneck_factor: int) -> None:
        super().__init__()
        width = bottleneck_factor * growth_rate
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = PointwiseConv2d(channels, width, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, growth_rate, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``growth_rate`` new channels."""
        bottleneck = self.conv1(torch.relu(self.norm1(features)))
        new_features: Tensor = self.conv2(torch.relu(self.norm2(bottleneck)))
        return new_features


class DenseBlock(nn.Module):
    """Layers that each see the input and all new features before them."""

    def __init__(
        self, channels: int, layer_count: int, growth_rate: int, bottleneck_factor: int
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DenseLayer(channels + index * growth_rate, growth_rate, bottleneck_factor)
            for index in range(layer_count)
        )
        self.out_channels = channels + layer_count * growth_rate

    def forward(self, features: Tensor) -> Tensor:
        """Return the input and all new features, concatenated."""
        for layer in self.layers:
            features = torch.cat((features, layer(features)), dim=1)
        return features


class Transition(nn.Module):
    """BN-ReLU-1x1 to fewer channels and, where asked, 2x2 average pooling."""

    def __init__(self, channels: int, out_channels: int, *, is_pooled: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = PointwiseConv2d(channels, out_channels, bias=False)
        self.pool: nn.Module = nn.AvgPool2d(2) if is_pooled else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Return ``out_channels`` channels at the same or half the resolution."""
        reduced: Tensor = self.pool(self.conv(torch.relu(self.norm(features))))
        return reduced


class ResidualAtrousUnit(nn.Module):
    """Parallel 3x3 convolutions of several dilations, concatenated, fused by 1x1, added."""

    def __init__(self, channels: int, dilations: Sequence[int], branch_divisor: int) -> None:
        super().__init__()
        width = max(1, channels // branch_divisor)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=rate, dilation=rate, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for rate in dilations
        )
        self.fuse = nn.Sequential(
            PointwiseConv2d(width * len(dilations), channels, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape with context of several ranges added."""
        context = self.fuse(torch.cat([branch(features) for branch in self.branches], dim=1))
        return torch.relu(features + context)


class ScSe(nn.Module):
    """Concurrent spatial and channel squeeze and excitation (Roy et al., MICCAI 2018)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        squeezed = max(1, channels // reduction)
        self.channel_gate = nn.Sequential(
            PointwiseConv2d(channels, squeezed, bias=True),
            nn.ReLU(inplace=True),
            PointwiseConv2d(squeezed, channels, bias=True),
            nn.Sigmoid(),
        )
        self.spatial_gate = nn.Sequential(PointwiseConv2d(channels, 1, bias=True), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        """Return the sum of the features recalibrated by channel and by place."""
        squeezed = features.mean(dim=(2, 3), keepdim=True)
        gates: Tensor = self.channel_gate(squeezed) + self.spatial_gate(features)
        return features * gates


class DecoderModule(nn.Module):
    """Up-sampling block (transposed convolution, two convolutions, BN, ReLU), then scSE."""

    def __init__(
        self, channels: int, skip_channels: int, out_channels: int, scse_reduction: int | None
    ) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose2d(channels, out_channels, 2, stride=2)
        self.convolutions = nn.Sequential(
            nn.Conv2d(out_channels + skip_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
        self.recalibrate: nn.Module = (
            nn.Identity() if scse_reduction is None else ScSe(out_channels, scse_reduction)
        )

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Return ``out_channels`` channels at the resolution of the skip."""
        joined = torch.cat((self.upsample(features), skip), dim=1)
        decoded: Tensor = self.recalibrate(self.convolutions(joined))
        return decoded


class DenseRAUnet(nn.Module):
    """``ct_patch`` (batch, slice, row, column) to ``calcium_logits`` (batch, label, row, column).

    The logits are those of the middle slice; rows and columns are multiples of
    ``config.size_multiple``.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        stem = config.stem_channels
        self.stem = nn.Sequential(
            nn.Conv2d(config.slice_count, stem, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        encoder_channels, channels = [stem], stem
        for index, layer_count in enumerate(config.block_layers):
            block = DenseBlock(channels, layer_count, config.growth_rate, config.bottleneck_factor)
            self.blocks.append(block)
            channels = block.out_channels
            encoder_channels.append(channels)
            if index + 1 < len(config.block_layers):
                reduced = int(channels * config.compression)
                # Strides 4 -> 8 -> 16; block 4 stays at 16.
                self.transitions.append(Transition(channels, reduced, is_pooled=index < 2))
                channels = reduced
        self.final_norm = nn.BatchNorm2d(channels)

        skip_inputs = encoder_channels[:SKIP_COUNT]
        self.skips = nn.ModuleList()
        skip_channels = []
        for index, width in enumerate(skip_inputs):
            skip, width_out = _skip_connection(index, width, config)
            self.skips.append(skip)
            skip_channels.append(width_out)

        self.decoder = nn.ModuleList()
        reduction = config.scse_reduction if config.scse else None
        for index in reversed(range(SKIP_COUNT)):
            width = config.decoder_channels[index]
            self.decoder.append(DecoderModule(channels, skip_channels[index], width, reduction))
            channels = width
        output = nn.Conv2d(config.head_channels, config.label_count, 3, padding=1)
        self.head = nn.Sequential(
            nn.ConvTranspose2d(channels, config.head_channels, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(config.head_channels),
            nn.ReLU(inplace=True),
            output,
        )
        self._initialize(output)

    def forward(self, ct_patch: Tensor) -> Tensor:
        """Return ``calcium_logits`` of the middle slice."""
        stem = self.stem(ct_patch)
        features = self.pool(stem)
        skips = [stem]
        for block, transition in zip(self.blocks, [*self.transitions, None], strict=True):
            features = block(features)
            skips.append(features)
            if transition is not None:
                features = transition(features)
        features = torch.relu(self.final_norm(features))
        for index, module in zip(reversed(range(SKIP_COUNT)), self.decoder, strict=True):
            features = module(features, self.skips[index](skips[index]))
        calcium_logits: Tensor = self.head(features)
        return calcium_logits

    def _initialize(self, output: nn.Conv2d) -> None:
        """Gaussian weights (paper, 3) whose variance suits ReLU (He et al. 2015, our choice)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        probability = self.config.initial_probability
        nn.init.normal_(output.weight, std=0.01)
        if output.bias is not None:
            nn.init.constant_(output.bias, math.log(probability / (1.0 - probability)))


def _skip_connection(index: int, channels: int, config: NetworkConfig) -> tuple[nn.Module, int]:
    """Return what a skip connection does to the features of the encoder, and its width."""
    parts: list[nn.Module] = []
    if config.edb and index == 0:
        extra = DenseBlock(
            channels, config.edb_layers, config.edb_growth_rate, config.edb_bottleneck_factor
        )
        parts.append(extra)
        channels = extra.out_channels
    if config.skip_channels is not None:
        width = config.skip_channels[index]
        parts += [
            PointwiseConv2d(channels, width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    if config.rau:
        parts.append(ResidualAtrousUnit(channels, config.rau_dilations, config.rau_branch_divisor))
    return nn.Sequential(*parts), channels


def load_weights(network: DenseRAUnet, weights: Mapping[str, Tensor]) -> None:
    """Give a network weights to start from.

    Where ``weights`` have fewer output channels than the network, as those of a binary one have,
    the first channels are taken and the others keep what they were initialised with.

    Raises
    ------
    ValueError
        If the weights belong to a network of another shape.
    """
    own = network.state_dict()
    adapted = {}
    for name, value in weights.items():
        if name in own and name.startswith(OUTPUT_LAYER) and len(value) < len(own[name]):
            adapted[name] = own[name].clone()
            adapted[name][: len(value)] = value
        else:
            adapted[name] = value
    try:
        network.load_state_dict(adapted)
    except RuntimeError as error:
        raise ValueError(f"These weights are of another network: {error}") from error


PAPER_NETWORK: Final = NetworkConfig()
"""Everything of the paper at full width."""

LIGHT_NETWORK: Final = NetworkConfig(
    skip_channels=(32, 64, 96),
    edb_layers=3,
    edb_growth_rate=16,
    edb_bottleneck_factor=2,
    decoder_channels=(32, 64, 96),
    head_channels=16,
)
"""The same encoder and the same tricks with narrow skips and decoder, for training on a CPU."""
