"""What the shortcuts of the search change: `python -m tests.benchmarks.bench_shortcuts`.

For each case the answers of the search are compared with those of preparing and showing every slice
in the same box, which must be the same bits, and with those of whole slices, which are not: the
network averages over what it is shown (ADR 0019).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from calcium_scoring.model_input.segmentation import segment_scan
from model_training.cases import find_cases
from model_training.export_onnx import load_onnx
from service.settings import DEFAULT_MODEL_PATH
from tests.exhaustive import answers_in_the_box, answers_to_whole_slices, deciding_voxels_alone


def main() -> None:
    """Print one row a case, and end with 1 where a bit differs that must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="folder of training cases")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL_PATH)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    model = deciding_voxels_alone(load_onnx(arguments.model, thread_count=arguments.threads))
    threshold = model.spec.probability_threshold
    say(
        "| Case | Dense voxels | Same bits in the box | At 0.5: marked | of whole slices | differ |"
    )
    say("|---|--:|---|--:|--:|--:|")
    totals = np.zeros(3, dtype=int)
    are_same = True
    for case in find_cases(arguments.cases):
        volume = case.load_volume()
        found = segment_scan(volume, model)
        if found.region is None or found.voxels is None or found.voxels.probabilities is None:
            say(f"| {case.case_id} | no heart found | | | | |")
            continue
        indices, in_the_box = answers_in_the_box(volume, model, found.region)
        is_same = np.array_equal(indices, found.voxels.indices) and np.array_equal(
            in_the_box, found.voxels.probabilities
        )
        are_same &= is_same
        _, of_whole_slices = answers_to_whole_slices(volume, model, found.region)
        marked, exhaustive = in_the_box >= threshold, of_whole_slices >= threshold
        counts = [int(np.count_nonzero(one)) for one in (marked, exhaustive, marked != exhaustive)]
        totals += counts
        say(
            f"| {case.case_id} | {indices.size} | {'yes' if is_same else 'NO'} "
            f"| {' | '.join(map(str, counts))} |"
        )
    say(f"| all | | {'yes' if are_same else 'NO'} | {' | '.join(map(str, totals.tolist()))} |")
    sys.exit(0 if are_same else 1)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
