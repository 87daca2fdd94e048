"""The simulation of docs/scale.md against queues whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.queueing import (
    OFFICE_SHARE_PER_HOUR,
    PATTERNS,
    erlang_c,
    md1_mean_wait_s,
    mmc_mean_wait_s,
    mmc_wait_percentile_s,
    office,
    sizing_table,
    summary,
    waiting_times,
    workers_needed,
)

TIMES = st.lists(st.tuples(st.floats(0, 1e4), st.floats(0.1, 1e3)), min_size=1, max_size=40)


def case(rows: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    arrivals, durations = np.asarray(sorted(rows)).T
    return arrivals, durations


def test_three_studies_at_once_wait_for_two_workers_as_worked_out_on_paper() -> None:
    # Two begin at once; the third waits for the one that ends first, after 10 s.
    waits = waiting_times(np.zeros(3), np.array([10.0, 20.0, 5.0]), workers=2)

    assert waits.tolist() == [0.0, 0.0, 10.0]


def test_erlang_c_is_that_of_the_tables() -> None:
    # One worker: P(wait) = load. Two workers: 2 rho^2 / (1 + rho) with rho = load / 2.
    assert erlang_c(0.3, 1) == pytest.approx(0.3)
    assert erlang_c(1.0, 2) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (1, 0.8), (3, 2.4), (10, 8.0)])
def test_simulated_waits_are_those_of_m_m_c(workers: int, load: float) -> None:
    random = np.random.default_rng(workers)
    count, scoring_s = 300_000, 20.0
    rate_per_s = load / scoring_s
    arrivals_s = np.cumsum(random.exponential(1 / rate_per_s, count))
    durations_s = random.exponential(scoring_s, count)

    waits = summary(arrivals_s, durations_s, workers=workers)

    # Waits are correlated: at these loads 300,000 studies give their mean to a few per cent.
    assert waits.mean_s == pytest.approx(mmc_mean_wait_s(rate_per_s, scoring_s, workers), rel=0.06)
    assert waits.p99_s == pytest.approx(
        mmc_wait_percentile_s(rate_per_s, scoring_s, workers, share=0.99), rel=0.08
    )
    assert waits.utilisation == pytest.approx(load / workers, rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_simulated_waits_are_those_of_m_d_1(load: float) -> None:
    random = np.random.default_rng(7)
    arrivals_s = np.cumsum(random.exponential(20.0 / load, 300_000))

    waits = summary(arrivals_s, np.full(arrivals_s.shape, 20.0), workers=1)

    assert waits.mean_s == pytest.approx(md1_mean_wait_s(load / 20.0, 20.0), rel=0.06)


@given(TIMES, st.integers(1, 6))
def test_a_further_worker_never_makes_a_study_wait_longer(
    rows: list[tuple[float, float]], workers: int
) -> None:
    arrivals_s, durations_s = case(rows)

    fewer = waiting_times(arrivals_s, durations_s, workers=workers)
    more = waiting_times(arrivals_s, durations_s, workers=workers + 1)

    assert np.all(more <= fewer + 1e-6)


@given(TIMES, st.integers(1, 6))
def test_no_more_studies_are_scored_at_once_than_there_are_workers(
    rows: list[tuple[float, float]], workers: int
) -> None:
    arrivals_s, durations_s = case(rows)
    begins_s = arrivals_s + waiting_times(arrivals_s, durations_s, workers=workers)

    for begin in begins_s:
        assert np.sum((begins_s <= begin) & (begins_s + durations_s > begin + 1e-9)) <= workers


@given(TIMES, st.floats(0.01, 100))
def test_waits_scale_with_the_unit_of_time(rows: list[tuple[float, float]], unit: float) -> None:
    arrivals_s, durations_s = case(rows)

    scaled = waiting_times(arrivals_s * unit, durations_s * unit, workers=2)

    expected = unit * waiting_times(arrivals_s, durations_s, workers=2)
    np.testing.assert_allclose(scaled, expected, rtol=1e-9, atol=1e-6 * unit)


def test_office_day_has_all_its_studies_and_its_busiest_hour() -> None:
    assert sum(OFFICE_SHARE_PER_HOUR) == pytest.approx(100.0)
    arrivals_s = office(np.random.default_rng(1), 100_000.0, 1)

    assert arrivals_s.size == pytest.approx(100_000, rel=0.02)
    in_the_tenth_hour = np.sum((arrivals_s >= 10 * 3600) & (arrivals_s < 11 * 3600))
    assert in_the_tenth_hour == pytest.approx(11_000, rel=0.05)


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_fewest_workers_are_enough_and_one_less_is_not(pattern: str) -> None:
    workers, waits = workers_needed(100_000, scoring_s=20.0, pattern=pattern, longest_p99_s=600.0)

    assert waits.p99_s <= 600.0
    if workers > 1:
        arrivals_s = PATTERNS[pattern](np.random.default_rng(1), 100_000 / 250, 5)
        fewer = summary(arrivals_s, np.full(arrivals_s.shape, 20.0), workers=workers - 1)
        assert fewer.p99_s > 600.0


def test_load_that_workers_cannot_carry_has_no_answer() -> None:
    with pytest.raises(ValueError, match="never ends"):
        mmc_mean_wait_s(0.1, 20.0, 2)
    with pytest.raises(ValueError, match="never ends"):
        md1_mean_wait_s(0.05, 20.0)


@pytest.mark.parametrize(("pattern", "longest_p99_s"), [("office", 300.0), ("nightly", 28_800.0)])
def test_table_of_the_page_is_what_the_script_prints(
    pattern: str, longest_p99_s: float, repository: Path
) -> None:
    table = sizing_table(20.3, pattern=pattern, longest_p99_s=longest_p99_s)

    assert table in (repository / "docs/scale.md").read_text()
