"""Seconds by the clock and of the processor, and the largest resident set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Duration:
    """Seconds by the clock, and of the processor in all threads of this process."""

    wall_s: float
    cpu_s: float

    def times(self, factor: float) -> Duration:
        """Return the duration of so much more of the same."""
        return Duration(self.wall_s * factor, self.cpu_s * factor)


def timed(work: Callable[[], object]) -> Duration:
    """Return how long a piece of work takes; what it gives is thrown away."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return Duration(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def best_of(durations: list[Duration]) -> Duration:
    """Return the least of both: whatever else a machine does only makes work slower."""
    return Duration(min(one.wall_s for one in durations), min(one.cpu_s for one in durations))


def peak_bytes() -> int:
    """Return the largest resident set of this process so far; Linux only.

    ``ru_maxrss`` would count that of whoever started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (one for one in status.splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
