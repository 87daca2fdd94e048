"""How long studies wait for a worker: `python -m tests.benchmarks.queueing --help`.

All workers serve one queue, first come, first served, as the service does for studies of one
priority. The simulation is exact for given arrivals and scoring times: the next study is begun by
the worker that is free first (Kiefer and Wolfowitz, Trans Am Math Soc 1955;78:1-18). Formulas to
check it against: Erlang C for Poisson arrivals and exponential times (M/M/c), Pollaczek and
Khinchine for Poisson arrivals and a constant time (M/D/1); both in Kleinrock, Queueing Systems,
volume 1, 1975, sections 3.5 and 5.7.
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

DAY_S: Final = 86_400.0

WORKING_DAYS: Final = 250
"""Days of a year on which a department scans; our choice: 52 weeks of five days less holidays."""

OFFICE_SHARE_PER_HOUR: Final = (
    *(0.2,) * 7,  # at night, emergencies
    *(4.0, 10.0, 11.0, 11.0, 11.0, 9.0, 9.0, 10.0, 9.0, 7.0, 3.0),  # 7:00 to 18:00
    *(1.0, 1.0, 1.0, 0.6, 0.6, 0.4),
)
"""Per cent of a working day's studies by hour of the day. Our choice, no measured department: put
your own here. The busiest hour has 11 % of a day."""

Arrivals = Callable[[np.random.Generator, float, int], np.ndarray]


@dataclass(frozen=True)
class Waits:
    """Waiting times in seconds; utilisation is the share of their time that workers score."""

    mean_s: float
    p50_s: float
    p99_s: float
    longest_s: float
    utilisation: float


def waiting_times(arrivals_s: np.ndarray, scoring_s: np.ndarray, *, workers: int) -> np.ndarray:
    """Return how long each study waits until a worker begins it, in seconds.

    Parameters
    ----------
    arrivals_s
        Times of arrival (study,), ascending.
    scoring_s
        How long each study takes to score (study,).
    """
    if workers < 1:
        raise ValueError(f"{workers} workers; at least 1 is needed.")
    if arrivals_s.shape != scoring_s.shape or np.any(np.diff(arrivals_s) < 0):
        raise ValueError("Arrivals must ascend, and each needs a scoring time.")
    free_at = [-math.inf] * workers
    waits = np.empty(arrivals_s.shape)
    for index, (arrival, duration) in enumerate(
        zip(arrivals_s.tolist(), scoring_s.tolist(), strict=True)
    ):
        start = max(arrival, free_at[0])
        heapq.heapreplace(free_at, start + duration)
        waits[index] = start - arrival
    return waits


def summary(arrivals_s: np.ndarray, scoring_s: np.ndarray, *, workers: int) -> Waits:
    """Return mean and percentiles of the waiting times."""
    waits = waiting_times(arrivals_s, scoring_s, workers=workers)
    span_s = max(float(np.max(arrivals_s + waits + scoring_s) - arrivals_s[0]), 1e-9)
    p50_s, p99_s = np.percentile(waits, (50, 99))
    return Waits(
        mean_s=float(waits.mean()),
        p50_s=float(p50_s),
        p99_s=float(p99_s),
        longest_s=float(waits.max()),
        utilisation=float(scoring_s.sum() / (workers * span_s)),
    )


def poisson(random: np.random.Generator, per_day: float, days: int) -> np.ndarray:
    """Studies at any time of the day alike."""
    count = random.poisson(per_day * days)
    return np.sort(random.uniform(0, days * DAY_S, count))


def office(random: np.random.Generator, per_day: float, days: int) -> np.ndarray:
    """Studies as a department sends them: a Poisson process whose rate follows the hour."""
    shares = np.asarray(OFFICE_SHARE_PER_HOUR) / sum(OFFICE_SHARE_PER_HOUR)
    counts = random.poisson(np.tile(shares * per_day, days))
    starts = np.repeat(np.arange(24 * days) * 3600.0, counts)
    return np.sort(starts + random.uniform(0, 3600.0, starts.size))


def nightly(random: np.random.Generator, per_day: float, days: int) -> np.ndarray:
    """All studies of a day at once, as from an archive that is sent at night."""
    counts = random.poisson(per_day, days)
    return np.repeat(np.arange(days) * DAY_S, counts)


PATTERNS: Final[dict[str, Arrivals]] = {"poisson": poisson, "office": office, "nightly": nightly}


def erlang_c(load: float, workers: int) -> float:
    """Return the probability that a study of an M/M/c queue has to wait.

    ``load`` is arrivals a second times mean scoring time (erlang), below ``workers``.
    """
    if not 0 <= load < workers:
        raise ValueError(f"A load of {load:g} never ends for {workers} workers.")
    blocked = 1.0
    for count in range(1, workers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / workers * (1 - blocked))


def mmc_mean_wait_s(rate_per_s: float, scoring_s: float, workers: int) -> float:
    """Return the mean waiting time of an M/M/c queue."""
    load = rate_per_s * scoring_s
    return erlang_c(load, workers) * scoring_s / (workers - load)


def mmc_wait_percentile_s(
    rate_per_s: float, scoring_s: float, workers: int, *, share: float
) -> float:
    """Return the time that ``share`` of the studies of an M/M/c queue wait at most."""
    load = rate_per_s * scoring_s
    waiting = erlang_c(load, workers)
    if waiting <= 1 - share:
        return 0.0
    return math.log(waiting / (1 - share)) * scoring_s / (workers - load)


def md1_mean_wait_s(rate_per_s: float, scoring_s: float) -> float:
    """Return the mean waiting time of an M/D/1 queue."""
    load = rate_per_s * scoring_s
    if not 0 <= load < 1:
        raise ValueError(f"A load of {load:g} never ends for one worker.")
    return load * scoring_s / (2 * (1 - load))


def workers_needed(
    per_year: float,
    *,
    scoring_s: float,
    pattern: str,
    longest_p99_s: float,
    days: int = 5,
    seed: int = 1,
) -> tuple[int, Waits]:
    """Return the fewest workers with which 99 % of studies wait at most so long.

    For the same arrivals a further worker never makes any study wait longer, so the fewest is
    found by halving.
    """
    random = np.random.default_rng(seed)
    arrivals_s = PATTERNS[pattern](random, per_year / WORKING_DAYS, days)
    while arrivals_s.size < 2:
        days *= 10
        arrivals_s = PATTERNS[pattern](random, per_year / WORKING_DAYS, days)
    durations_s = np.full(arrivals_s.shape, scoring_s)

    def enough(workers: int) -> bool:
        return summary(arrivals_s, durations_s, workers=workers).p99_s <= longest_p99_s

    most = 1
    while not enough(most):
        most *= 2
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most, summary(arrivals_s, durations_s, workers=most)


def sizing_table(scoring_s: float, *, pattern: str, longest_p99_s: float) -> str:
    """Return a Markdown table of workers from one to ten million studies a year."""
    lines = [
        "| Studies a year | a working day | workers | p50 wait, s | p99 wait, s | utilisation |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for exponent in range(8):
        per_year = 10**exponent
        workers, waits = workers_needed(
            per_year, scoring_s=scoring_s, pattern=pattern, longest_p99_s=longest_p99_s
        )
        lines.append(
            f"| {per_year:,} | {per_year / WORKING_DAYS:,.10g} | {workers} | {waits.p50_s:.0f} | "
            f"{waits.p99_s:.0f} | {waits.utilisation:.1%} |"
        )
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    """Print a sizing table, or the waits of one case."""
    parser = argparse.ArgumentParser(description="How long studies wait for a worker.")
    parser.add_argument("--scoring-s", type=float, required=True, help="seconds to score a study")
    parser.add_argument("--pattern", choices=sorted(PATTERNS), default="office")
    parser.add_argument("--p99-s", type=float, default=300.0, help="longest p99 wait of the table")
    parser.add_argument("--per-year", type=float, help="one case instead of the table")
    parser.add_argument("--workers", type=int, help="of that case")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(words)
    if arguments.per_year is None:
        table = sizing_table(
            arguments.scoring_s, pattern=arguments.pattern, longest_p99_s=arguments.p99_s
        )
        sys.stdout.write(table + "\n")
        return 0
    arrivals_s = PATTERNS[arguments.pattern](
        np.random.default_rng(arguments.seed), arguments.per_year / WORKING_DAYS, WORKING_DAYS
    )
    waits = summary(
        arrivals_s,
        np.full(arrivals_s.shape, arguments.scoring_s),
        workers=arguments.workers or 1,
    )
    sys.stdout.write(f"{waits}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
