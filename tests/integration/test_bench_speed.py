"""`make bench` in small: it runs to its end, and its table says what its figures say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_benchmark_runs_on_a_small_scan(tmp_path: Path, repository: Path) -> None:
    out = tmp_path / "speed"
    subprocess.run(
        [
            *(sys.executable, "-m", "tests.benchmarks.bench_speed"),
            *("--slices", "12", "--side", "192", "--counts", "12", "24", "--repeats", "1"),
            *("--exhaustive-windows", "1", "--no-masks"),
            *("--work", str(tmp_path / "scans"), "--out", str(out)),
        ],
        check=True,
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        timeout=540,
    )

    figures = json.loads(out.with_suffix(".json").read_text())
    table = out.with_suffix(".md").read_text()
    (scan,) = figures["scans"]
    assert scan["slice_count"] == 12
    ours, eager = scan["ours"], scan["exhaustive"]["torch_eager"]
    assert 0.0 < ours["network"]["cpu_s"] < ours["total"]["cpu_s"] < eager["cpu_s"]
    assert f"{eager['cpu_s'] / ours['total']['cpu_s']:.1f} x" in table
    assert [one["slice_count"] for one in figures["growth"]] == [12, 24]
    assert all(one["window_count"] <= one["slice_count"] for one in figures["growth"])
    assert set(figures["reading"]) == {"cacscore", "simpleitk", "pydicom"}
