"""The loss: what counts, what is dropped, and values that can be worked out on paper."""

from __future__ import annotations

from math import e, log

import pytest
import torch
from torch import Tensor

from model_training.losses import (
    UNKNOWN_KIND,
    LossConfig,
    bootstrap_loss,
    calcium_loss,
    exponential_iou_loss,
    kind_loss,
)


def logit(probability: float) -> float:
    return log(probability / (1.0 - probability))


def images(*pixels: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, reference and what counts of one image with a pixel for each (p, y)."""
    logits = torch.tensor([[[[logit(p) for p, _ in pixels]]]])
    reference = torch.tensor([[[[y for _, y in pixels]]]])
    return logits, reference, torch.ones_like(reference, dtype=torch.bool)


def test_each_side_of_the_bootstrap_loss_is_its_own_mean() -> None:
    config = LossConfig(positive_weight=3.0, negative_weight=2.0, background_threshold=0.9)
    logits, reference, counted = images((0.5, 1.0), (0.25, 1.0), (0.5, 0.0))

    loss = bootstrap_loss(logits, reference, counted, config)

    # 3 x mean(ln 2, ln 4) + 2 x ln 2
    assert loss.item() == pytest.approx(3.0 * 1.5 * log(2.0) + 2.0 * log(2.0))


def test_negatives_that_the_network_is_sure_of_are_dropped() -> None:
    config = LossConfig(background_threshold=0.9)
    hard, easy = (0.2, 0.0), (0.05, 0.0)  # background probability 0.8 and 0.95

    with_easy = bootstrap_loss(*images(hard, easy, easy), config)
    alone = bootstrap_loss(*images(hard), config)

    assert with_easy.item() == pytest.approx(alone.item())
    assert bootstrap_loss(*images(easy), config).item() == 0.0


def test_positives_count_however_sure_the_network_is() -> None:
    loss = bootstrap_loss(*images((0.99, 1.0)), LossConfig(background_threshold=0.5))

    assert loss.item() == pytest.approx(-log(0.99), rel=1e-4)


def test_perfect_overlap_costs_nothing_and_none_costs_e_minus_one() -> None:
    sure = 1.0 - 1e-7
    perfect = exponential_iou_loss(*images((sure, 1.0), (1e-7, 0.0)), smoothing_pixels=0.0)
    disjoint = exponential_iou_loss(*images((1e-7, 1.0), (sure, 0.0)), smoothing_pixels=0.0)

    assert perfect.item() == pytest.approx(0.0, abs=1e-5)
    assert disjoint.item() == pytest.approx(e - 1.0, abs=1e-5)


def test_soft_overlap_is_intersection_over_union_of_probabilities() -> None:
    loss = exponential_iou_loss(*images((0.5, 1.0), (0.5, 0.0)), smoothing_pixels=0.0)

    # I = 0.5, U = (0.5 + 1 - 0.5) + 0.5 = 1.5, so exp(1 - 1/3) - 1
    assert loss.item() == pytest.approx(e ** (2.0 / 3.0) - 1.0)


def test_finding_nothing_where_there_is_no_calcium_costs_nothing() -> None:
    parts = calcium_loss(*images((1e-7, 0.0), (1e-7, 0.0)), LossConfig())

    assert parts.total.item() == pytest.approx(0.0, abs=1e-5)


def test_pixels_that_do_not_count_cost_nothing() -> None:
    logits, reference, counted = images((0.5, 1.0), (0.9, 0.0))
    counted[..., 1] = False

    parts = calcium_loss(logits, reference, counted, LossConfig())
    alone = calcium_loss(*images((0.5, 1.0)), LossConfig())

    assert parts.total.item() == pytest.approx(alone.total.item())


def test_iou_is_a_switch() -> None:
    batch = images((0.5, 1.0), (0.5, 0.0))

    parts = calcium_loss(*batch, LossConfig(iou=False))

    assert parts.iou is None
    assert parts.total.item() == parts.bootstrap.item()


def test_gradient_pulls_calcium_up_and_hard_background_down() -> None:
    logits, reference, counted = images((0.5, 1.0), (0.5, 0.0))
    logits.requires_grad_()

    calcium_loss(logits, reference, counted, LossConfig()).total.backward()  # type: ignore[no-untyped-call]

    assert logits.grad is not None
    calcium, background = logits.grad.flatten().tolist()
    assert calcium < 0.0 < background


def kinds(*pixels: tuple[int, tuple[float, float]]) -> tuple[Tensor, Tensor]:
    """Logits of two kinds and the kind of each pixel, for (kind, probabilities of both)."""
    logits = torch.tensor([[[[log(p[kind]) for _, p in pixels]] for kind in (0, 1)]])
    return logits.reshape(1, 2, 1, len(pixels)), torch.tensor([[[kind for kind, _ in pixels]]])


def test_each_kind_has_the_same_weight_however_many_pixels_it_has() -> None:
    one_of_the_first = (0, (0.5, 0.5))
    three_of_the_second = [(1, (0.75, 0.25)), (1, (0.75, 0.25)), (1, (0.0625, 0.9375))]

    loss = kind_loss(*kinds(one_of_the_first, *three_of_the_second))

    # mean(ln 2, mean(ln 4, ln 4, -ln 0.9375))
    second = (2.0 * log(4.0) - log(0.9375)) / 3.0
    assert loss.item() == pytest.approx((log(2.0) + second) / 2.0)


def test_a_kind_that_the_batch_lacks_costs_nothing() -> None:
    loss = kind_loss(*kinds((1, (0.5, 0.5)), (1, (0.5, 0.5))))

    assert loss.item() == pytest.approx(log(2.0))


def test_pixels_of_unknown_kind_are_not_learned_from() -> None:
    logits, kind = kinds((0, (0.5, 0.5)), (UNKNOWN_KIND, (0.9, 0.1)))
    logits.requires_grad_()

    loss = kind_loss(logits, kind)
    loss.backward()  # type: ignore[no-untyped-call]

    assert loss.item() == pytest.approx(log(2.0))
    assert logits.grad is not None
    assert logits.grad[0, :, 0, 1].tolist() == [0.0, 0.0]
    assert logits.grad[0, :, 0, 0].tolist() == pytest.approx([-0.5, 0.5])


def test_a_batch_without_a_known_kind_costs_nothing_and_can_still_be_learned_from() -> None:
    logits, kind = kinds((UNKNOWN_KIND, (0.9, 0.1)))
    logits.requires_grad_()

    loss = kind_loss(logits, kind)
    loss.backward()  # type: ignore[no-untyped-call]

    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_kind_loss_is_added_with_its_weight_and_looks_at_no_other_channel() -> None:
    coronary, reference, counted = images((0.5, 1.0), (0.25, 0.0))
    kind_logits, kind = kinds((0, (0.5, 0.5)), (1, (0.75, 0.25)))
    config = LossConfig(kind_weight=0.5)

    parts = calcium_loss(
        torch.cat((coronary, kind_logits), dim=1), reference, counted, config, kind
    )
    alone = calcium_loss(coronary, reference, counted, config, kind)

    assert parts.kind is not None
    assert parts.kind.item() == pytest.approx((log(2.0) + log(4.0)) / 2.0)
    assert parts.bootstrap.item() == pytest.approx(alone.bootstrap.item())
    assert alone.kind is None
    assert parts.total.item() == pytest.approx(alone.total.item() + 0.5 * parts.kind.item())
