"""Loss of the paper: weighted bootstrap cross entropy plus an exponential soft IoU (section 2.4).

The formulas themselves are lost in the paper's text; what its sentences fix is kept and the rest
is our choice, named below.

Bootstrap loss. Every positive pixel counts; a negative one only while the network gives its
background a probability below a threshold ``t``: easy negatives are dropped. Two coefficients
balance the sides::

    L_bootstrap = alpha * mean over positives of -log p
                + beta * mean over negatives with 1 - p < t of -log(1 - p)

Each side is the mean over its own pixels (our choice), so that "positive and negative pixels are
balanced" whatever the size of the lesions; a side without pixels is 0.

IoU loss. With the soft intersection ``I = sum p y`` and union ``U = sum (p + y - p y)`` over all
pixels of the batch::

    L_iou = exp(1 - (I + s) / (U + s)) - 1

Our choice among the exponential forms: against ``exp(-IoU)`` it differs by a factor e and a
constant, is exactly 0 for a perfect overlap, and lies in [0, 1.72], the magnitude of the bootstrap
loss. The smoothing ``s`` of one pixel gives a batch without calcium a loss of 0 when nothing is
found.

Kind loss (ours, for a network with more than one channel): the softmax over the channels after the
first is trained by cross entropy on dense pixels whose kind is known. Each kind present in the
batch has the same weight, however many pixels it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

UNKNOWN_KIND: Final = -1
"""Of a pixel that is not dense, or whose kind nobody knows."""


@dataclass(frozen=True)
class LossConfig:
    """Coefficients of the loss; their values in the paper are lost, so all are our choice."""

    positive_weight: float = 1.0
    """alpha"""
    negative_weight: float = 1.0
    """beta"""
    background_threshold: float = 0.9
    """t: a negative pixel is learned from while its background probability is below it."""
    iou: bool = True
    """Switch of the ablation."""
    iou_weight: float = 1.0
    iou_smoothing_pixels: float = 1.0
    kind_weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.background_threshold <= 1.0:
            raise ValueError(
                f"background_threshold must lie within (0, 1], not {self.background_threshold}."
            )


@dataclass(frozen=True)
class LossParts:
    """The loss and what it is made of; scalars. A part that is switched off is None."""

    total: Tensor
    bootstrap: Tensor
    iou: Tensor | None
    kind: Tensor | None


def calcium_loss(
    calcium_logits: Tensor,
    reference: Tensor,
    is_counted: Tensor,
    config: LossConfig,
    kind: Tensor | None = None,
) -> LossParts:
    """Return the loss of a batch.

    Parameters
    ----------
    calcium_logits
        (batch, label, row, column), any float type; computed in float32.
    reference
        (batch, 1, row, column): 1 where coronary calcium is, else 0.
    is_counted
        (batch, 1, row, column), bool: pixels outside count for nothing in the first channel.
    config
        Coefficients and switches.
    kind
        (batch, row, column), int64: number of the channel after the first that a pixel belongs
        to, or ``UNKNOWN_KIND``. Not looked at where there is one channel.
    """
    logits = calcium_logits.float()
    coronary = logits[:, :1]
    bootstrap = bootstrap_loss(coronary, reference, is_counted, config)
    total, iou, by_kind = bootstrap, None, None
    if config.iou:
        iou = exponential_iou_loss(
            coronary, reference, is_counted, smoothing_pixels=config.iou_smoothing_pixels
        )
        total = total + config.iou_weight * iou
    if logits.shape[1] > 1 and kind is not None:
        by_kind = kind_loss(logits[:, 1:], kind)
        total = total + config.kind_weight * by_kind
    return LossParts(total, bootstrap, iou, by_kind)


def kind_loss(kind_logits: Tensor, kind: Tensor) -> Tensor:
    """Cross entropy over the pixels of known kind, averaged within a kind, then over kinds."""
    costs = functional.cross_entropy(kind_logits, kind, ignore_index=UNKNOWN_KIND, reduction="none")
    means = [costs[kind == number].mean() for number in torch.unique(kind[kind != UNKNOWN_KIND])]
    # Without a known pixel the costs are zeros that still belong to the graph.
    return torch.stack(means).mean() if means else costs.sum()


def bootstrap_loss(
    logits: Tensor, reference: Tensor, is_counted: Tensor, config: LossConfig
) -> Tensor:
    """Weighted cross entropy over all positives and the negatives that are still hard."""
    positive = is_counted & (reference > 0.5)
    with torch.no_grad():
        background_probability = torch.sigmoid(-logits)
    hard_negative = (
        is_counted & (reference <= 0.5) & (background_probability < config.background_threshold)
    )
    # -log sigmoid(x) = softplus(-x), stable for large logits.
    positive_loss = (functional.softplus(-logits) * positive).sum() / positive.sum().clamp(min=1)
    negative_loss = (functional.softplus(logits) * hard_negative).sum() / hard_negative.sum().clamp(
        min=1
    )
    return config.positive_weight * positive_loss + config.negative_weight * negative_loss


def exponential_iou_loss(
    logits: Tensor, reference: Tensor, is_counted: Tensor, *, smoothing_pixels: float
) -> Tensor:
    """``exp(1 - IoU) - 1`` of the soft overlap over the whole batch."""
    probability = torch.sigmoid(logits) * is_counted
    target = reference * is_counted
    intersection = (probability * target).sum()
    union = (probability + target - probability * target).sum()
    overlap = (intersection + smoothing_pixels) / (union + smoothing_pixels)
    return torch.exp(1.0 - overlap) - 1.0
