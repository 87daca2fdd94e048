from __future__ import annotations

import pytest

from calcium_scoring.scoring.categories import cac_drs_category, risk_category


@pytest.mark.parametrize(
    ("agatston_score", "category"),
    [
        (0.0, "0"), (0.3, "1-10"), (10.0, "1-10"), (10.2, "11-100"), (100.0, "11-100"),
        (100.1, "101-400"), (400.0, "101-400"), (400.01, ">400"),
    ],
)  # fmt: skip
def test_an_upper_bound_belongs_to_the_lower_risk_category(
    agatston_score: float, category: str
) -> None:
    assert risk_category(agatston_score) == category


@pytest.mark.parametrize(
    ("agatston_score", "category"),
    [
        (0.0, "A0"), (0.5, "A1"), (99.0, "A1"), (99.9, "A1"), (100.0, "A2"), (299.0, "A2"),
        (299.9, "A2"), (300.0, "A3"), (2500.0, "A3"),
    ],
)  # fmt: skip
def test_cac_drs_changes_at_100_and_300(agatston_score: float, category: str) -> None:
    assert cac_drs_category(agatston_score) == category
