"""Scores one scan as a worker does, and says what it took: a process of `make bench`.

It imports what a worker imports and nothing else, so that its memory is that of a worker.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.segmentation import Segmentation, segment_scan
from calcium_scoring.model_input.tiling import PredictPatch, Progress
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.ct_volume import CtVolume
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.application.score_series import score_series
from service.application.write_artefacts import write_artefacts
from service.settings import DEFAULT_MODEL_PATH
from tests.benchmarks.bench_clock import Duration, peak_bytes, timed


@dataclass(frozen=True)
class Scored:
    """One scan from archive to artefacts, by a process of its own."""

    slice_count: int
    total: Duration
    network: Duration
    window_count: int
    network_pixels: int
    peak_bytes: int
    agatston_score: float


class MeteredPredictor:
    """A network that keeps count of what it was shown and of the time that it took."""

    def __init__(self, predict_patch: PredictPatch) -> None:
        self._predict_patch = predict_patch
        self.windows = 0
        self.pixels = 0
        self.wall_s = 0.0
        self.cpu_s = 0.0

    def __call__(self, ct_patch: ModelArray) -> ModelArray:
        """Answer as the network does."""
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        logits = self._predict_patch(ct_patch)
        self.wall_s += time.perf_counter() - wall_s
        self.cpu_s += time.process_time() - cpu_s
        self.windows += len(ct_patch)
        self.pixels += len(ct_patch) * ct_patch.shape[2] * ct_patch.shape[3]
        return logits


class MeteredSegmenter:
    """The product's segmenter, with the time of its network."""

    def __init__(self, segmenter: OnnxSegmenter) -> None:
        self.spec, self.model, self.engine = segmenter.spec, segmenter.model, segmenter.engine
        self.meter = MeteredPredictor(segmenter.predict_patch)
        self._calcium_model = replace(segmenter.calcium_model, predict_patch=self.meter)

    def segment(self, volume: CtVolume, progress: Progress | None = None) -> Segmentation:
        """Label the calcium as the product does."""
        return segment_scan(volume, self._calcium_model, progress)


def main() -> None:
    """Score a small scan, say so, wait for a line, score the scan, and print what it took."""
    warm_up, path, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    segmenter = OnnxSegmenter(DEFAULT_MODEL_PATH, threads=threads)
    _score(warm_up, segmenter)
    _say("ready")
    sys.stdin.readline()
    _say(json.dumps(asdict(_score(path, segmenter))))


def _score(path: Path, segmenter: OnnxSegmenter) -> Scored:
    metered = MeteredSegmenter(segmenter)
    with tempfile.TemporaryDirectory(prefix="cacscore-bench-") as scratch:
        unpacked, written = Path(scratch) / "unpacked", Path(scratch) / "written"
        unpacked.mkdir()
        written.mkdir()
        found = []

        def work() -> None:
            scored = score_series(path, workdir=unpacked, segmenter=metered, protocol=LITERATURE)
            write_artefacts(scored, written)
            found.append((scored.report.geometry.shape[0], scored.report.total.agatston_score))

        total = timed(work)
    ((slice_count, agatston_score),) = found
    meter = metered.meter
    return Scored(
        slice_count=slice_count,
        total=total,
        network=Duration(meter.wall_s, meter.cpu_s),
        window_count=meter.windows,
        network_pixels=meter.pixels,
        peak_bytes=peak_bytes(),
        agatston_score=agatston_score,
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
