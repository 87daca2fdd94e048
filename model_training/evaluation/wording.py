"""Figures as text: the same in the terminal, in Markdown and on plots."""

from __future__ import annotations

from typing import Final

from model_training.agreement import Estimate

NO_FIGURE: Final = "-"


def value_text(value: float | None, digits: int = 3) -> str:
    """Return a number with so many decimals, ``-`` for None; never ``-0.000``."""
    return NO_FIGURE if value is None else f"{value:z.{digits}f}"


def percent_text(part: float, digits: int = 1) -> str:
    """Return a part as ``12.3 %``."""
    return f"{100.0 * part:.{digits}f} %"


def interval_text(estimate: Estimate, digits: int = 3) -> str:
    """Return ``0.921 to 0.967``, or ``-`` where there is no interval."""
    if estimate.interval is None:
        return NO_FIGURE
    low, high = estimate.interval
    return f"{value_text(low, digits)} to {value_text(high, digits)}"


def estimate_text(estimate: Estimate | None, digits: int = 3) -> str:
    """Return ``0.948 (0.921 to 0.967)``, the value alone without an interval, ``-`` for None."""
    if estimate is None or estimate.value is None:
        return NO_FIGURE
    value = value_text(estimate.value, digits)
    return value if estimate.interval is None else f"{value} ({interval_text(estimate, digits)})"
