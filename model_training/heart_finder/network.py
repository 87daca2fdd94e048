"""HeartFinder: a small 3D U-Net (Ronneberger et al. 2015; Cicek et al. 2016) on a coarse grid."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

CHANNELS: Final = (8, 16, 32, 48)
"""Of the levels, from the coarse grid itself to an eighth of its resolution. Our choice: a heart is
large on this grid, and the network must cost next to nothing beside the calcium network."""

GROUPS: Final = 4


def _block(channels: int, out_channels: int) -> nn.Sequential:
    # Group normalisation: batches of one or two volumes have no statistics worth keeping.
    return nn.Sequential(
        nn.Conv3d(channels, out_channels, 3, padding=1, bias=False),
        nn.GroupNorm(GROUPS, out_channels),
        nn.ReLU(inplace=True),
        nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.GroupNorm(GROUPS, out_channels),
        nn.ReLU(inplace=True),
    )


class HeartFinder(nn.Module):
    """``ct_coarse`` to ``heart_logits``, both (batch, 1, slice, row, column).

    Sizes are multiples of 8.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            _block(below, channels) for below, channels in pairwise((1, *CHANNELS))
        )
        self.pool = nn.MaxPool3d(2)
        self.upsamplers = nn.ModuleList(
            nn.ConvTranspose3d(deep, shallow, 2, stride=2)
            for shallow, deep in reversed(list(pairwise(CHANNELS)))
        )
        self.decoder = nn.ModuleList(
            _block(2 * channels, channels) for channels in reversed(CHANNELS[:-1])
        )
        self.head = nn.Conv3d(CHANNELS[0], 1, 1)

    def forward(self, ct_coarse: Tensor) -> Tensor:
        """Return the logit of lying within the pericardial sac."""
        features, skips = ct_coarse, []
        for level, block in enumerate(self.encoder):
            features = block(features if level == 0 else self.pool(features))
            skips.append(features)
        skips.pop()
        for upsample, block in zip(self.upsamplers, self.decoder, strict=True):
            features = block(torch.cat((upsample(features), skips.pop()), dim=1))
        heart_logits: Tensor = self.head(features)
        return heart_logits
