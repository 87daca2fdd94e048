"""``python -m model_training repeatability``: does the interval hold what repeat scans score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from model_training.repeatability.coverage import (
    REPEATS,
    CoverageRow,
    FrequencyRow,
    category_table,
    coverage_table,
    simulate_outcomes,
    stratum_count,
    zero_table,
)

console = Console(highlight=False)


def repeatability(
    *,
    n: Annotated[
        int, typer.Option(min=1, help="Phantoms of each noise, slice thickness and burden.")
    ] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first phantom.")] = 200_000,
) -> None:
    """Print how often simulated repeat scans score within the 90 % interval of the first scan."""
    total = stratum_count() * n
    outcomes = list(
        track(
            simulate_outcomes(per_stratum=n, first_seed=seed),
            description="Scanning",
            total=total,
            console=Console(stderr=True),
        )
    )
    console.print(f"{total} phantoms, {REPEATS} repeat scans each, masks of the simulator.")
    console.print(_coverage(coverage_table(outcomes)))
    console.print(_frequencies("Repeat score above 0", zero_table(outcomes)))
    console.print(_frequencies("Risk category of the first scan", category_table(outcomes)))


def _coverage(rows: Sequence[CoverageRow]) -> Table:
    table = Table(title="Repeat scores within the 90 % interval", title_justify="left")
    for heading in ("group", "phantoms", "repeat scans", "coverage", "width / score"):
        table.add_column(heading, justify="left" if heading == "group" else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.group,
            str(row.phantom_count),
            str(row.repeat_count),
            _percent(row.coverage),
            _percent(row.median_width),
        )
    return table


def _frequencies(title: str, rows: Sequence[FrequencyRow]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("group", "phantoms", "said", "observed"):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    for row in rows:
        table.add_row(row.group, str(row.phantom_count), _percent(row.said), _percent(row.observed))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100.0 * share:.1f} %"
