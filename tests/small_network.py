"""The network with every part of the bundled one, small enough to train within a test."""

from __future__ import annotations

from dataclasses import replace

from model_training.network import LIGHT_NETWORK

SMALL_NETWORK = replace(
    LIGHT_NETWORK,
    block_layers=(1, 1, 1, 1),
    growth_rate=8,
    stem_channels=16,
    skip_channels=(8, 8, 8),
    decoder_channels=(8, 8, 8),
    head_channels=8,
)
