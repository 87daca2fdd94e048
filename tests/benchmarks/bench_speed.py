"""How fast a scan is scored, and in how much memory: `make bench`.

One run, on whatever machine it is started, gives one Markdown table and the same as JSON. Rivals
take turns and the best of each counts, since what else a machine does only ever makes a run slower.
Time by the clock and of the processor are both given: ratios of the latter hold on a busy machine.
What is scored in full is scored by a process of its own, which has scored a small scan before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.model_input.segmentation import CalciumModel, segment_scan
from calcium_scoring.model_input.tiling import search_volume
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import LabelMap
from model_training.export_onnx import load_onnx
from service.settings import DEFAULT_MODEL_PATH
from tests.benchmarks.bench_child import Scored
from tests.benchmarks.bench_clock import Duration, best_of, timed
from tests.benchmarks.bench_engines import (
    exhaustive_windows,
    floating_point_operations,
    matrix_rate,
    processor_name,
    torch_eager,
)
from tests.benchmarks.bench_read import read_with_simpleitk
from tests.benchmarks.bench_report import write_report
from tests.benchmarks.bench_scans import chest_zip, restacked_zip

WARM_UP_SLICES: Final = 24
WARM_UP_SIDE: Final = 192
SMALL_SLICES: Final = 60
"""Of the scan that two workers share: enough work to be timed, little enough to be repeated."""


def main() -> None:
    """Measure all, print the table and keep it beside the JSON."""
    arguments = _arguments()
    work, threads = arguments.work, arguments.threads
    chest = chest_zip(work, slice_count=arguments.slices, side=arguments.side)
    _warm_up(work)
    scans = {f"chest phantom, {arguments.slices} slices": chest}
    if arguments.real is not None:
        scans[arguments.real.stem] = arguments.real
    results: dict[str, Any] = {
        "machine": {"processor": processor_name(), "threads": threads},
        "model": DEFAULT_MODEL_PATH.name,
        "scans": [_compared(name, path, arguments) for name, path in scans.items()],
        "growth": [
            asdict(_scored_alone(restacked_zip(chest, work, count), work, threads))
            for count in arguments.counts
        ],
        "workers": _workers(restacked_zip(chest, work, SMALL_SLICES), work, arguments.repeats),
        "reading": _reading(chest, arguments.repeats),
    }
    write_report(results, arguments.out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300, help="slices of the simulated chest")
    parser.add_argument("--side", type=int, default=512, help="rows and columns of its slices")
    parser.add_argument("--counts", type=int, nargs="+", default=[50, 100, 300, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="threads of every rival")
    parser.add_argument("--real", type=Path, help="zip of a real series to be timed as well")
    parser.add_argument(
        "--exhaustive-windows",
        type=int,
        default=6,
        help="whole slices, spread over the scan, from which exhaustive inference is timed",
    )
    parser.add_argument(
        "--no-masks",
        dest="masks",
        action="store_false",
        help="leave out the exhaustive run whose mask is compared",
    )
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="scans are kept here")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/speed"))
    return parser.parse_args()


def _compared(name: str, path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time exhaustive inference in PyTorch and ONNX Runtime, and the product from end to end."""
    threads = arguments.threads
    with tempfile.TemporaryDirectory(prefix="cacscore-bench-") as scratch:
        volume = read_ct_series(path, Path(scratch)).volume
    model = load_onnx(DEFAULT_MODEL_PATH, thread_count=threads)
    windows = exhaustive_windows(volume, model.spec, arguments.exhaustive_windows)
    rivals = {
        "torch_eager": torch_eager(DEFAULT_MODEL_PATH, threads),
        "onnx_runtime": model.predict_patch,
    }
    taken: dict[str, list[Duration]] = {rival: [] for rival in rivals}
    matrix_rates, ours = [], []
    for _ in range(arguments.repeats):
        matrix_rates.append(matrix_rate(threads))
        for rival, predict_patch in rivals.items():
            each = [timed(lambda w=w, run=predict_patch: run(w)) for w in windows]  # type: ignore[misc]
            taken[rival].append(
                Duration(sum(one.wall_s for one in each), sum(one.cpu_s for one in each))
            )
        ours.append(_scored_alone(path, arguments.work, threads))
    slice_count = volume.geometry.shape[0]
    factor = slice_count / len(windows)
    best = min(ours, key=lambda one: one.total.cpu_s)
    rows, columns = windows[0].shape[2:]
    # The rate does not depend on the size of a window; operations grow with its pixels.
    operations = floating_point_operations(DEFAULT_MODEL_PATH, rows, columns) / (rows * columns)
    library, rate = max(matrix_rates, key=lambda one: one[1])
    seconds = best.network.cpu_s if threads == 1 else best.network.wall_s
    return {
        "name": name,
        "slice_count": slice_count,
        "shape": volume.geometry.shape,
        "exhaustive_window": [rows, columns],
        "timed_windows": len(windows),
        "exhaustive": {
            rival: asdict(best_of(durations).times(factor)) for rival, durations in taken.items()
        },
        "ours": asdict(best),
        "operations_a_second": operations * best.network_pixels / seconds,
        "matrix_operations_a_second": rate,
        "matrix_library": library,
        "masks": _masks_compared(volume, model) if arguments.masks else None,
    }


def _masks_compared(volume: CtVolume, model: CalciumModel) -> dict[str, Any]:
    """Compare the mask with that of every slice shown to the network whole."""
    segmentation = segment_scan(volume, model)
    every = search_volume(volume, model.spec, model.predict_patch)
    labels = every.label_map.labels.copy()
    if segmentation.region is not None:
        labels[~segmentation.region.mask] = 0
    exhaustive = LabelMap(volume.geometry, labels)
    scores = [
        measure_calcium(
            volume, one, protocol=LITERATURE, has_artery_labels=model.spec.has_artery_labels
        ).total.agatston_score
        for one in (segmentation.label_map, exhaustive)
    ]
    masks = segmentation.label_map.calcium_mask, exhaustive.calcium_mask
    return {
        "voxels": int(np.count_nonzero(masks[0])),
        "exhaustive_voxels": int(np.count_nonzero(masks[1])),
        "differing_voxels": int(np.count_nonzero(masks[0] != masks[1])),
        "agatston_score": scores[0],
        "exhaustive_agatston_score": scores[1],
    }


def _warm_up(work: Path) -> Path:
    return chest_zip(work, slice_count=WARM_UP_SLICES, side=WARM_UP_SIDE)


def _start(path: Path, work: Path, threads: int) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.benchmarks.bench_child"),
            *(str(_warm_up(work)), str(path), str(threads)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # One thread means one: not that of NumPy's products either.
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)},
    )
    if child.stdout is None or child.stdout.readline().strip() != "ready":
        raise RuntimeError(f"The process that was to score {path.name} did not start.")
    return child


def _finished(child: subprocess.Popen[str]) -> Scored:
    if child.stdout is None or child.wait() != 0:
        raise RuntimeError("A process that was to score a scan failed.")
    values = json.loads(child.stdout.readline())
    for name in ("total", "network"):
        values[name] = Duration(**values[name])
    return Scored(**values)


def _scored_alone(path: Path, work: Path, threads: int) -> Scored:
    child = _start(path, work, threads)
    _go(child)
    return _finished(child)


def _go(child: subprocess.Popen[str]) -> None:
    if child.stdin is not None:
        child.stdin.write("go\n")
        child.stdin.flush()


def _workers(path: Path, work: Path, repeats: int) -> dict[str, Any]:
    """Time one process of one thread alone, then two side by side on the same scan each."""
    alone, together = [], []
    for _ in range(repeats):
        alone.append(_scored_alone(path, work, 1).total)
        children = [_start(path, work, 1) for _ in range(2)]
        for child in children:
            _go(child)
        finished = [_finished(child).total for child in children]
        together.append(
            Duration(max(one.wall_s for one in finished), max(one.cpu_s for one in finished))
        )
    return {"alone": asdict(best_of(alone)), "two": asdict(best_of(together))}


def _reading(path: Path, repeats: int) -> dict[str, Any]:
    """Time the way from archive to HU by three readers."""
    readers: dict[str, Callable[[Path], object]] = {
        "cacscore": lambda folder: read_ct_series(path, folder),
        "simpleitk": lambda folder: read_with_simpleitk(_unzipped(path, folder)),
        "pydicom": lambda folder: _read_with_pydicom(_unzipped(path, folder)),
    }
    taken: dict[str, list[Duration]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, read in readers.items():
            with tempfile.TemporaryDirectory(prefix="cacscore-bench-") as scratch:
                folder = Path(scratch)
                taken[name].append(timed(lambda read=read, folder=folder: read(folder)))  # type: ignore[misc]
    return {name: asdict(best_of(durations)) for name, durations in taken.items()}


def _unzipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def _read_with_pydicom(folder: Path) -> NDArray[np.float32]:
    """Read a folder as pydicom's documentation does: sorted by position, rescaled, stacked."""
    slices = [pydicom.dcmread(file) for file in sorted(folder.rglob("*")) if file.is_file()]
    slices.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    hu: NDArray[np.float32] = np.stack(
        [
            one.pixel_array * np.float32(one.RescaleSlope) + np.float32(one.RescaleIntercept)
            for one in slices
        ]
    )
    return hu


if __name__ == "__main__":
    main()
