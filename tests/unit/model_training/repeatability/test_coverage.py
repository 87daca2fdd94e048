"""Whether intervals hold what repeat scans score, and whether the table counts it right."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from calcium_scoring.scoring.image_noise import ImageNoise
from calcium_scoring.scoring.uncertainty import ScoreUncertainty
from model_training.repeatability.coverage import (
    PhantomOutcome,
    category_table,
    coverage_table,
    outcome_of,
    zero_table,
)
from model_training.repeatability.repeat_scans import NOISE_SD_HU, plaque_phantom

CATEGORIES = ("0", "1-10", "11-100", "101-400", ">400")


def outcome(
    score: float, repeats: tuple[float, ...], *, interval: tuple[float, float] | None
) -> PhantomOutcome:
    uncertainty = None
    if interval is not None:
        probabilities = dict.fromkeys(CATEGORIES, 0.0) | {"0": 0.1, "11-100": 0.9}
        uncertainty = ScoreUncertainty(
            0.9, *interval, 0.9, probabilities, ImageNoise(20.0, 0.0, 0.0, 0.0), 200
        )
    phantom = plaque_phantom(1, noise="high", slices="3", burden="small")
    return PhantomOutcome(phantom, score, uncertainty, repeats)


def test_a_repeat_at_the_end_of_the_interval_lies_in_it() -> None:
    assert outcome(50.0, (40.0, 39.9, 60.0), interval=(40.0, 60.0)).covered == (True, False, True)


def test_coverage_is_counted_in_every_group_that_a_phantom_belongs_to() -> None:
    outcomes = [
        outcome(50.0, (50.0, 70.0), interval=(40.0, 60.0)),
        outcome(0.0, (50.0, 50.0), interval=(0.0, 1.0)),
        outcome(50.0, (50.0, 50.0), interval=None),
    ]

    rows = {row.group: row for row in coverage_table(outcomes)}

    for group in ("all with a score above 0", "noise high", "slices 3", "score 11-100"):
        assert (rows[group].phantom_count, rows[group].coverage) == (1, 0.5)
    assert rows["all with a score above 0"].median_width == pytest.approx(0.4)
    assert (rows["noise low"].phantom_count, rows["noise low"].coverage) == (0, None)


def test_what_was_said_of_zero_stands_beside_what_was_seen() -> None:
    outcomes = [
        outcome(50.0, (50.0, 0.0, 30.0, 20.0), interval=(0.0, 60.0)),
        outcome(0.0, (1.0, 0.0), interval=None),
    ]

    rows = {row.group: row for row in zero_table(outcomes)}

    said = rows["first scan above 0, said 0.8 to 1"]
    assert (said.phantom_count, said.said, said.observed) == (1, 0.9, 0.75)
    silent = rows["no voxel marked"]
    assert (silent.phantom_count, silent.said, silent.observed) == (1, None, 0.5)


def test_what_was_said_of_the_category_stands_beside_what_was_seen() -> None:
    outcomes = [outcome(50.0, (50.0, 101.0, 30.0, 20.0), interval=(0.0, 60.0))]

    rows = {row.group: row for row in category_table(outcomes)}

    kept = rows["category kept, said 0.8 to 1"]
    assert (kept.phantom_count, kept.said, kept.observed) == (1, 0.9, 0.75)


@pytest.mark.slow
def test_the_interval_holds_the_scores_of_85_to_95_percent_of_repeat_scans() -> None:
    strata = product(("medium", "large"), NOISE_SD_HU, ("2.5", "3", "3 every 1.5", "5"))
    phantoms = [
        plaque_phantom(500 + number, noise=noise, slices=slices, burden=burden)
        for number, (burden, noise, slices) in enumerate(strata)
    ]

    covered = [hit for one in phantoms for hit in outcome_of(one, repeats=9).covered]

    # 24 phantoms of 9 repeat scans each; `python -m model_training repeatability` has more of both.
    assert len(covered) >= 200
    assert 0.85 <= np.mean(covered) <= 0.95
