"""Risk category and CAC-DRS category of an unrounded Agatston score.

Published bounds are whole numbers; ADR 0008 says how a score between two of them is binned.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

RISK_CATEGORIES: Final = ("0", "1-10", "11-100", "101-400", ">400")
"""Rumberger et al., Mayo Clin Proc 1999;74:243-252."""

RISK_CATEGORIES_SOURCE: Final = "Rumberger et al., Mayo Clin Proc 1999;74:243-252"
CAC_DRS_SOURCE: Final = "Hecht et al. 2018, doi 10.1016/j.jcct.2018.03.008"

_RISK_UPPER_BOUNDS: Final = (0.0, 10.0, 100.0, 400.0)
_CAC_DRS_LOWER_BOUNDS: Final = (100.0, 300.0)


def risk_category(agatston_score: float) -> str:
    """Return the risk category; an upper bound belongs to the lower category."""
    return RISK_CATEGORIES[bisect_left(_RISK_UPPER_BOUNDS, agatston_score)]


def cac_drs_category(agatston_score: float) -> str:
    """Return A0 to A3 (Hecht et al. 2018, doi 10.1016/j.jcct.2018.03.008).

    A0 is no calcium, A1 is 1-99, A2 100-299, A3 300 or more; 299.5 is A2.
    """
    if agatston_score <= 0.0:
        return "A0"
    return f"A{1 + bisect_right(_CAC_DRS_LOWER_BOUNDS, agatston_score)}"


def cac_drs(agatston_score: float, vessel_count: int | None) -> str | None:
    """Return CAC-DRS as it is written, such as ``A2/N3``; None where the vessels are not known."""
    if vessel_count is None:
        return None
    return f"{cac_drs_category(agatston_score)}/N{vessel_count}"
