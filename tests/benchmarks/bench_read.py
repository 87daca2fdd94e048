"""How fast, and in how much memory, 300 slices become HU: `make bench-read`.

Both readers read the same files in one run, by turns, and the best of each counts: what else a
machine does only ever makes a run slower. Time by the clock and of the processor are both given.
SimpleITK's way is the usual one: names from GDCM, then its series reader. Ours also checks, groups
and judges the headers. Memory is that of a process of its own which only reads.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import SimpleITK

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.write_series import write_ct_series
from tests.series_builders import noise_volume

SLICES: Final = 300
SIDE: Final = 512
WARM_UP_SLICES: Final = 8
TIME_GOAL: Final = 0.7
MEMORY_GOAL: Final = 2.2
VOLUME_BYTES: Final = SLICES * SIDE * SIDE * 2


@dataclass(frozen=True)
class Duration:
    """Seconds by the clock and of the processor."""

    wall_s: float
    cpu_s: float


def main() -> None:
    """Write the series, read it by turns, and print both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of is not None:
        say(str(own_peak_bytes(arguments.peak_of)))
        return
    with tempfile.TemporaryDirectory(prefix="cacscore-bench-") as name:
        folder = Path(name)
        spacing_mm = (0.5, 0.5, 0.5)
        write_ct_series(
            noise_volume(SLICES, side=SIDE, spacing_mm=spacing_mm), folder / "series", seed=1
        )
        write_ct_series(
            noise_volume(WARM_UP_SLICES, spacing_mm=spacing_mm), folder / "warm-up", seed=2
        )
        theirs, ours = [], []
        for _ in range(arguments.repeats):
            theirs.append(timed(lambda: read_with_simpleitk(folder / "series")))
            ours.append(timed(lambda: read_ct_series(folder / "series", folder)))
        peak_bytes = peak_bytes_of_a_reader(folder)
    report(theirs, ours, peak_bytes)


def timed(read: Callable[[], object]) -> Duration:
    """Return how long a reader takes; what it read is thrown away."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    read()
    return Duration(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def read_with_simpleitk(folder: Path) -> SimpleITK.Image:
    """Read a folder as the documentation of SimpleITK does."""
    reader: Any = SimpleITK.ImageSeriesReader()  # type: ignore[no-untyped-call]
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image: SimpleITK.Image = reader.Execute()
    return image


def peak_bytes_of_a_reader(folder: Path) -> int:
    """Start a process that reads the series and return by how much its memory grew at most."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.bench_read", "--peak-of", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(answer.stdout)


def own_peak_bytes(folder: Path) -> int:
    """Read the series in this process; return its peak beyond that after reading a few slices."""
    read_ct_series(folder / "warm-up", folder)
    before = _peak_bytes()
    read_ct_series(folder / "series", folder)
    return _peak_bytes() - before


def _peak_bytes() -> int:
    """Return the largest resident set of this process so far; Linux only.

    ``ru_maxrss`` would count that of whoever started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (one for one in status.splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def report(theirs: list[Duration], ours: list[Duration], peak_bytes: int) -> None:
    """Print the best of both readers, their ratio, and the peak memory."""
    say(f"{SLICES} slices of {SIDE} x {SIDE}, uncompressed; best of {len(ours)} by turns")
    for name, best in (("clock", "wall_s"), ("processor", "cpu_s")):
        their_s = min(getattr(one, best) for one in theirs)
        our_s = min(getattr(one, best) for one in ours)
        say(
            f"{name:10} SimpleITK {their_s:.2f} s, cacscore {our_s:.2f} s, ratio "
            f"{our_s / their_s:.2f} (goal: at most {TIME_GOAL})"
        )
    say(
        f"memory     {peak_bytes / 1e6:.0f} MB at most for {VOLUME_BYTES / 1e6:.0f} MB of HU, "
        f"ratio {peak_bytes / VOLUME_BYTES:.2f} (goal: at most {MEMORY_GOAL})"
    )


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
