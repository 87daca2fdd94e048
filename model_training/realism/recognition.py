"""How well a classifier tells real from simulated, on a real scan it was not trained on.

Each fold leaves one real scan out together with the simulated twins that were scanned as it was.
Training sees the other scans and their twins, testing only those left out: whatever tells them
apart is not pixel size, slice thickness or dose, which twins share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

from model_training.realism.patches import Patch, describe
from model_training.realism.zones import MEASURED_ZONES, Zone

Scores: TypeAlias = NDArray[np.float64]

BOOTSTRAPS: Final = 400
FEATURE_STEPS: Final = 250
PICTURE_EPOCHS: Final = 5
PICTURE_BATCH: Final = 64
PICTURE_HU: Final = (-200.0, 400.0)
"""What the network sees: lung is below, the marrow of bone within."""


@dataclass(frozen=True)
class Auc:
    """Area under the curve: 0.5 is chance, 1 is always told apart.

    ``low`` to ``high`` is the 95 % interval of a bootstrap over slices. Few real scans are at
    hand; between scans the area varies more, which ``by_scan`` shows.
    """

    value: float
    low: float
    high: float
    by_scan: dict[str, float]


@dataclass(frozen=True)
class TellingFeature:
    """A figure of patches that tells real from simulated."""

    name: str
    auc: float
    """Above 0.5 if real patches have more of it; mean over the real scans."""
    real_median: float
    simulated_median: float


@dataclass(frozen=True)
class Sample:
    """A patch, whether it is real, and the real scan whose settings it shares."""

    patch: Patch
    is_real: bool
    matched_to: str


def area_under_curve(scores: Scores, is_real: NDArray[np.bool_]) -> float:
    """Return the share of pairs in which the real one has the higher score, ties as half."""
    real = int(is_real.sum())
    simulated = is_real.size - real
    if not real or not simulated:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[is_real].sum() - 0.5 * real * (real + 1)) / (real * simulated))


def recognise(
    samples: Sequence[Sample],
    *,
    seed: int = 0,
    use_pictures: bool = True,
) -> tuple[dict[str, dict[str, Auc]], dict[Zone, list[TellingFeature]]]:
    """Return the area under the curve by classifier and zone, and what tells most by zone.

    The classifiers are ``figures``, a small network on :func:`describe`, and ``pictures``, a small
    convolutional network on the patches themselves. The zone ``all`` holds every patch.
    """
    figures = [describe(sample.patch) for sample in samples]
    names = list(figures[0])
    values = np.array([[figure[name] for name in names] for figure in figures])
    classifiers: dict[str, Callable[[NDArray[np.bool_]], Scores]] = {
        "figures": lambda test: _figure_scores(samples, values, test, seed)
    }
    if use_pictures:
        pictures = np.stack([sample.patch.hu for sample in samples])
        classifiers["pictures"] = lambda test: _picture_scores(samples, pictures, test, seed)
    scanners = sorted({sample.matched_to for sample in samples})
    groups = np.array([sample.matched_to for sample in samples])
    areas: dict[str, dict[str, Auc]] = {}
    for name, classify in classifiers.items():
        scores = np.zeros(len(samples))
        for scanner in scanners:
            test = groups == scanner
            scores[test] = classify(test)
        areas[name] = _areas_by_zone(samples, scores, seed)
    return areas, _telling_features(samples, values, names)


def _is_real(samples: Sequence[Sample]) -> NDArray[np.bool_]:
    return np.array([sample.is_real for sample in samples])


def _balance(is_real: NDArray[np.bool_]) -> torch.Tensor:
    """Return weights that let real and simulated patches count the same in all."""
    share = is_real.mean()
    weights = np.where(is_real, 0.5 / share, 0.5 / (1.0 - share))
    return torch.from_numpy(weights.astype(np.float32))


def _figure_scores(
    samples: Sequence[Sample], values: NDArray[np.float64], test: NDArray[np.bool_], seed: int
) -> Scores:
    zones = np.array([sample.patch.zone for sample in samples])
    is_real = _is_real(samples)
    scores = np.zeros(len(samples))
    # A figure means something else in lung than in bone: each zone has a classifier of its own.
    for zone in np.unique(zones):
        learn, judge = (zones == zone) & ~test, (zones == zone) & test
        if not judge.any() or not 0 < is_real[learn].sum() < learn.sum():
            continue
        middle = np.median(values[learn], axis=0)
        low, high = np.percentile(values[learn], [25, 75], axis=0)
        scaled = np.clip((values - middle) / (high - low + 1e-6), -4.0, 4.0).astype(np.float32)
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(values.shape[1], 24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 1)
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=0.05)
        inputs = torch.from_numpy(scaled[learn])
        targets = torch.from_numpy(is_real[learn].astype(np.float32))
        loss_of = nn.BCEWithLogitsLoss(weight=_balance(is_real[learn]))
        for _ in range(FEATURE_STEPS):
            optimizer.zero_grad()
            loss_of(network(inputs)[:, 0], targets).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            scores[judge] = network(torch.from_numpy(scaled[judge]))[:, 0].numpy()
    return scores[test]


def _picture_scores(
    samples: Sequence[Sample], pictures: NDArray[np.float32], test: NDArray[np.bool_], seed: int
) -> Scores:
    low, high = PICTURE_HU
    scaled = np.clip((pictures - low) / (high - low), 0.0, 1.0) - 0.5
    inputs, is_real = torch.from_numpy(scaled.astype(np.float32)), _is_real(samples)
    learn = np.flatnonzero(~test)
    targets = torch.from_numpy(is_real.astype(np.float32))
    weights = torch.zeros(len(samples))
    weights[torch.from_numpy(learn)] = _balance(is_real[learn])
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = _picture_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    for _ in range(PICTURE_EPOCHS):
        for batch in np.array_split(rng.permutation(learn), max(1, learn.size // PICTURE_BATCH)):
            chosen = torch.from_numpy(batch)
            part = inputs[chosen]
            # Mirrored left to right and back to front, no anatomy at large can be learned.
            for axis in (2, 3):
                if rng.random() < 0.5:
                    part = part.flip(axis)
            loss_of = nn.BCEWithLogitsLoss(weight=weights[chosen])
            optimizer.zero_grad()
            loss_of(network(part)[:, 0], targets[chosen]).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        judged = torch.split(inputs[torch.from_numpy(np.flatnonzero(test))], 256)
        scores = torch.cat([network(part)[:, 0] for part in judged])
    return scores.numpy().astype(np.float64)


def _picture_network() -> nn.Sequential:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]

    return nn.Sequential(
        *block(2, 16), *block(16, 32), *block(32, 48),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(48, 1),
    )  # fmt: skip


def _areas_by_zone(samples: Sequence[Sample], scores: Scores, seed: int) -> dict[str, Auc]:
    zones = np.array([sample.patch.zone for sample in samples])
    found = {}
    for name, chosen in [
        ("all", np.ones(len(samples), dtype=bool)),
        *((zone.name.lower(), zones == zone) for zone in MEASURED_ZONES),
    ]:
        part = [sample for sample, taken in zip(samples, chosen, strict=True) if taken]
        area = _matched_area(part, scores[chosen], seed)
        if area is not None:
            found[name] = area
    return found


def _matched_area(samples: Sequence[Sample], scores: Scores, seed: int) -> Auc | None:
    is_real = _is_real(samples)
    groups = np.array([sample.matched_to for sample in samples])
    slices = np.array([sample.patch.slice_name for sample in samples])
    scanners = [
        scanner for scanner in np.unique(groups) if 0 < is_real[groups == scanner].mean() < 1
    ]
    if not scanners:
        return None
    by_scan = {
        str(scanner): area_under_curve(scores[groups == scanner], is_real[groups == scanner])
        for scanner in scanners
    }
    rng = np.random.default_rng(seed)
    # Real and simulated slices are drawn apart, so that every draw holds both.
    members = [
        [
            [
                np.flatnonzero(slices == name)
                for name in np.unique(slices[(groups == scanner) & (is_real == side)])
            ]
            for side in (True, False)
        ]
        for scanner in scanners
    ]
    drawn = []
    for _ in range(BOOTSTRAPS):
        means = []
        for sides in members:
            index = np.concatenate(
                [side[pick] for side in sides for pick in rng.integers(len(side), size=len(side))]
            )
            means.append(area_under_curve(scores[index], is_real[index]))
        drawn.append(float(np.mean(means)))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Auc(float(np.mean(list(by_scan.values()))), float(low), float(high), by_scan)


def _telling_features(
    samples: Sequence[Sample], values: NDArray[np.float64], names: Sequence[str]
) -> dict[Zone, list[TellingFeature]]:
    zones = np.array([sample.patch.zone for sample in samples])
    groups = np.array([sample.matched_to for sample in samples])
    is_real = _is_real(samples)
    found: dict[Zone, list[TellingFeature]] = {}
    for zone in MEASURED_ZONES:
        features = []
        for column, name in enumerate(names):
            areas = [
                area_under_curve(values[chosen, column], is_real[chosen])
                for scanner in np.unique(groups)
                if 0 < is_real[chosen := (zones == zone) & (groups == scanner)].sum() < chosen.sum()
            ]
            if areas:
                chosen = zones == zone
                features.append(
                    TellingFeature(
                        name,
                        float(np.mean(areas)),
                        float(np.median(values[chosen & is_real, column])),
                        float(np.median(values[chosen & ~is_real, column])),
                    )
                )
        if features:
            found[zone] = sorted(features, key=lambda f: -abs(f.auc - 0.5))
    return found
