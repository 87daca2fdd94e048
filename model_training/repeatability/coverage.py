"""Whether the interval of a score holds the scores of simulated repeat scans as often as it says.

The masks are those of the simulator, not of a network: what is judged is the interval, not what
was marked. The first scan of a phantom gives the interval, the others are its repeat scans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from calcium_scoring.scoring.categories import RISK_CATEGORIES, risk_category
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.scoring.uncertainty import ScoreUncertainty, score_uncertainty
from model_training.repeatability.repeat_scans import (
    BURDENS,
    NOISE_SD_HU,
    SLICES_MM,
    PlaquePhantom,
    RepeatScan,
    plaque_phantom,
    scan_again,
)

REPEATS: Final = 4
"""Repeat scans of each phantom."""


@dataclass(frozen=True)
class PhantomOutcome:
    """The first scan of a phantom, its interval, and what repeat scans scored."""

    phantom: PlaquePhantom
    agatston_score: float
    uncertainty: ScoreUncertainty | None
    repeat_scores: tuple[float, ...]

    @property
    def covered(self) -> tuple[bool, ...]:
        """For each repeat scan whether its score lies in the interval; empty without one."""
        if self.uncertainty is None:
            return ()
        # A score is a multiple of a pixel's share: rounding must not decide.
        low, high = self.uncertainty.low - 1e-6, self.uncertainty.high + 1e-6
        return tuple(low <= score <= high for score in self.repeat_scores)


@dataclass(frozen=True)
class CoverageRow:
    """Coverage of one group of phantoms; shares are 0 to 1, None where nothing falls into it."""

    group: str
    phantom_count: int
    repeat_count: int
    coverage: float | None
    median_width: float | None
    """Width of the interval over the score of the first scan."""


def stratum_count() -> int:
    """Return how many combinations of noise, slices and burden there are."""
    return len(BURDENS) * len(NOISE_SD_HU) * len(SLICES_MM)


def simulate_outcomes(*, per_stratum: int, first_seed: int = 0) -> Iterator[PhantomOutcome]:
    """Yield phantoms of every noise, slice thickness and burden, each with its repeat scans."""
    strata = product(BURDENS, NOISE_SD_HU, SLICES_MM)
    for number, (burden, noise, slices) in enumerate(strata):
        for within in range(per_stratum):
            seed = first_seed + number * per_stratum + within
            yield outcome_of(plaque_phantom(seed, noise=noise, slices=slices, burden=burden))


def outcome_of(phantom: PlaquePhantom, repeats: int = REPEATS) -> PhantomOutcome:
    """Scan a phantom once, state the interval, and scan it again."""
    first, *others = (scan_again(phantom, number) for number in range(1 + repeats))
    score = agatston_of(first)
    uncertainty = score_uncertainty(first.volume, first.truth, LITERATURE, score)
    return PhantomOutcome(
        phantom,
        score,
        uncertainty if isinstance(uncertainty, ScoreUncertainty) else None,
        tuple(agatston_of(scan) for scan in others),
    )


def agatston_of(scan: RepeatScan) -> float:
    """Return the score of a scan with the mask of the simulator."""
    report = measure_calcium(scan.volume, scan.truth, protocol=LITERATURE, has_artery_labels=True)
    return report.total.agatston_score


def coverage_table(outcomes: Sequence[PhantomOutcome]) -> list[CoverageRow]:
    """Return coverage over all phantoms that scored, and by noise, slices, size and score."""
    scored = [one for one in outcomes if one.agatston_score > 0.0 and one.uncertainty is not None]
    rows = [_row("all with a score above 0", scored)]
    for name, values, value_of in _GROUPINGS:
        of_value = {value: [one for one in scored if value_of(one) == value] for value in values}
        rows += [_row(f"{name} {value}", members) for value, members in of_value.items()]
    return rows


_GROUPINGS: Final[tuple[tuple[str, Sequence[str], Callable[[PhantomOutcome], str]], ...]] = (
    ("noise", tuple(NOISE_SD_HU), lambda one: one.phantom.noise),
    ("slices", tuple(SLICES_MM), lambda one: one.phantom.slices),
    ("plaques", BURDENS, lambda one: one.phantom.burden),
    ("score", RISK_CATEGORIES[1:], lambda one: risk_category(one.agatston_score)),
)


def _row(group: str, outcomes: Sequence[PhantomOutcome]) -> CoverageRow:
    covered = [hit for one in outcomes for hit in one.covered]
    widths = [
        (one.uncertainty.high - one.uncertainty.low) / one.agatston_score
        for one in outcomes
        if one.uncertainty is not None
    ]
    return CoverageRow(
        group,
        len(outcomes),
        len(covered),
        _mean(covered),
        float(np.median(widths)) if widths else None,
    )


@dataclass(frozen=True)
class FrequencyRow:
    """A probability that was said, and how often what it spoke of came true."""

    group: str
    phantom_count: int
    said: float | None
    observed: float | None


_BINS: Final = ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0))


def zero_table(outcomes: Sequence[PhantomOutcome]) -> list[FrequencyRow]:
    """Return how often repeat scans score above 0, beside what the first scan said of it."""
    silent = [one for one in outcomes if one.uncertainty is None]
    rows = [
        FrequencyRow("no voxel marked", len(silent), None, _mean(_above_zero(silent))),
    ]
    for name, is_zero in (("0", True), ("above 0", False)):
        of_kind = [
            one
            for one in outcomes
            if one.uncertainty is not None and (one.agatston_score == 0.0) is is_zero
        ]
        rows += _binned(f"first scan {name}", of_kind, _said_above_zero, _above_zero)
    return rows


def category_table(outcomes: Sequence[PhantomOutcome]) -> list[FrequencyRow]:
    """Return how often repeat scans keep the risk category, beside what the first said of it."""
    scored = [one for one in outcomes if one.agatston_score > 0.0 and one.uncertainty is not None]
    return _binned("category kept", scored, _said_kept, _kept)


def _binned(
    name: str,
    outcomes: Sequence[PhantomOutcome],
    said: Callable[[PhantomOutcome], float],
    came_true: Callable[[Sequence[PhantomOutcome]], list[bool]],
) -> list[FrequencyRow]:
    rows = []
    for low, high in _BINS:
        within = [one for one in outcomes if low <= said(one) and (said(one) < high or high == 1.0)]
        rows.append(
            FrequencyRow(
                f"{name}, said {low:g} to {high:g}",
                len(within),
                _mean([said(one) for one in within]),
                _mean(came_true(within)),
            )
        )
    return rows


def _said_above_zero(outcome: PhantomOutcome) -> float:
    return 0.0 if outcome.uncertainty is None else outcome.uncertainty.probability_above_zero


def _above_zero(outcomes: Sequence[PhantomOutcome]) -> list[bool]:
    return [score > 0.0 for one in outcomes for score in one.repeat_scores]


def _said_kept(outcome: PhantomOutcome) -> float:
    if outcome.uncertainty is None:
        return 0.0
    return outcome.uncertainty.category_probabilities[risk_category(outcome.agatston_score)]


def _kept(outcomes: Sequence[PhantomOutcome]) -> list[bool]:
    return [
        risk_category(score) == risk_category(one.agatston_score)
        for one in outcomes
        for score in one.repeat_scores
    ]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
