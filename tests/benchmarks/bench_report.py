"""The table of `make bench`, and the same as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

SPEED_UP_GOAL: Final = 10.0
RATE_GOAL: Final = 0.7
OTHER_WORK_GOAL: Final = 0.10
SLOPE_GOAL: Final = 0.10
PEAK_GOAL_GIB: Final = 1.5
WORKERS_GOAL: Final = 1.9
READING_GOAL: Final = 0.7

GIB: Final = 1024.0**3


def write_report(results: dict[str, Any], out: Path) -> None:
    """Print the table; keep it as ``out``.md and, with all figures, as ``out``.json."""
    text = "\n".join(_lines(results)) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(text)


def _lines(results: dict[str, Any]) -> Iterator[str]:
    machine = results["machine"]
    yield (
        f"{machine['processor'] or 'Processor unknown'}; {machine['threads']} thread"
        f"{'s' if machine['threads'] > 1 else ''} for every rival. Seconds are given by the clock "
        "and, in brackets, of the processor; ratios are of the processor's."
    )
    yield ""
    yield from _scan_lines(results["scans"])
    yield ""
    yield from _growth_lines(results["growth"])
    yield ""
    yield from _other_lines(results)


def _scan_lines(scans: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "| Scan | PyTorch eager, every slice whole | ONNX Runtime, every slice whole | "
        "cacscore, archive to artefacts | faster than PyTorch |"
    )
    yield "|---|--:|--:|--:|--:|"
    for scan in scans:
        exhaustive, ours = scan["exhaustive"], scan["ours"]["total"]
        ratio = exhaustive["torch_eager"]["cpu_s"] / ours["cpu_s"]
        yield (
            f"| {scan['name']} ({scan['slice_count']} slices) "
            f"| {_seconds(exhaustive['torch_eager'])} | {_seconds(exhaustive['onnx_runtime'])} "
            f"| {_seconds(ours)} | {ratio:.1f} x |"
        )
    yield ""
    for scan in scans:
        rows, columns = scan["exhaustive_window"]
        ours = scan["ours"]
        share = 1.0 - ours["network"]["cpu_s"] / ours["total"]["cpu_s"]
        rate = scan["operations_a_second"] / scan["matrix_operations_a_second"]
        pixels = ours["network_pixels"] / (scan["slice_count"] * rows * columns)
        yield (
            f"- {scan['name']}: exhaustive inference is the network alone, timed on "
            f"{scan['timed_windows']} windows of {rows} x {columns} and multiplied; goal at least "
            f"{SPEED_UP_GOAL:g} x. cacscore showed the network {ours['window_count']} windows, "
            f"{pixels:.1%} of all pixels. The network ran at "
            f"{scan['operations_a_second'] / 1e9:.0f} GFLOP/s, {rate:.2f} of the "
            f"{scan['matrix_operations_a_second'] / 1e9:.0f} of matrix products "
            f"({scan['matrix_library']}; goal {RATE_GOAL:g}); {share:.1%} of the time was not the "
            f"network (goal {OTHER_WORK_GOAL:.0%})."
        )
        if scan["masks"] is not None:
            masks = scan["masks"]
            yield (
                f"  Mask: {masks['voxels']} voxels, exhaustive {masks['exhaustive_voxels']}, "
                f"{masks['differing_voxels']} differ; Agatston score {masks['agatston_score']:.1f} "
                f"and {masks['exhaustive_agatston_score']:.1f}."
            )


def _growth_lines(growth: list[dict[str, Any]]) -> Iterator[str]:
    yield "| Slices | Windows | Time | of it network | ms a slice | Peak memory, GiB |"
    yield "|--:|--:|--:|--:|--:|--:|"
    for one in growth:
        per_slice = 1000.0 * one["total"]["cpu_s"] / one["slice_count"]
        yield (
            f"| {one['slice_count']} | {one['window_count']} | {_seconds(one['total'])} "
            f"| {_seconds(one['network'])} | {per_slice:.1f} | {one['peak_bytes'] / GIB:.2f} |"
        )
    slopes = [
        (two["total"]["cpu_s"] - one["total"]["cpu_s"]) / (two["slice_count"] - one["slice_count"])
        for one, two in pairwise(growth)
    ]
    if slopes:
        mean = sum(slopes) / len(slopes)
        off = max(abs(slope / mean - 1.0) for slope in slopes)
        yield ""
        yield (
            "- From one row to the next a slice costs "
            f"{', '.join(f'{1000.0 * slope:.1f}' for slope in slopes)} ms of the processor: within "
            f"{off:.0%} of their mean (goal {SLOPE_GOAL:.0%}). Peak memory is that of the whole "
            f"process (goal {PEAK_GOAL_GIB:g} GiB at 1,000 slices)."
        )


def _other_lines(results: dict[str, Any]) -> Iterator[str]:
    workers, reading = results["workers"], results["reading"]
    ratio = 2.0 * workers["alone"]["wall_s"] / workers["two"]["wall_s"]
    yield (
        f"- Two workers of one thread each score {ratio:.2f} times what one does, by the clock "
        f"(goal {WORKERS_GOAL:g}): {_seconds(workers['alone'])} s for one scan alone, "
        f"{_seconds(workers['two'])} s for each of two scans at once, "
        f"{2.0 * workers['alone']['cpu_s'] / workers['two']['cpu_s']:.2f} by time of the processor."
    )
    ours = reading["cacscore"]
    yield (
        f"- Archive to HU: cacscore {_seconds(ours)} s, SimpleITK "
        f"{_seconds(reading['simpleitk'])} s, pydicom {_seconds(reading['pydicom'])} s: "
        f"{ours['cpu_s'] / reading['simpleitk']['cpu_s']:.2f} of SimpleITK's time of the processor "
        f"and {ours['wall_s'] / reading['simpleitk']['wall_s']:.2f} by the clock (goal "
        f"{READING_GOAL:g})."
    )


def _seconds(duration: dict[str, float]) -> str:
    return f"{duration['wall_s']:.1f} ({duration['cpu_s']:.1f})"
