"""The ablation: train each row, score the test scans, and keep what is done.

A row that is interrupted goes on at its last checkpoint, then at the first scan that has no result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from calcium_scoring.model_input.segmentation import HeartModel
from model_training.ablation.rows import ABLATION_ROWS, AblationRow
from model_training.ablation.scan_result import ScanResult, scan_result
from model_training.agreement import Bootstrap, Estimate, category_accuracy, voxel_f1
from model_training.cases import TrainingCase
from model_training.export_onnx import torch_predictor
from model_training.settings import TrainingConfig
from model_training.train import CHECKPOINT, load_checkpoint, train

RESULTS: Final = "results.json"
_RIGHT, _WRONG = "right", "wrong"


@dataclass(frozen=True)
class AblationBudget:
    """What every row gets alike."""

    config: TrainingConfig
    steps: int
    device: str = "cpu"
    worker_count: int = 1


@dataclass(frozen=True)
class RowResult:
    """A row and its figures on the test scans.

    ``right`` and ``right_filtered`` are the parts of the patients in the right risk category,
    without and with post-processing; their counts stand beside them.
    """

    row: AblationRow
    f1: Estimate
    right_count: int
    right: Estimate
    right_filtered_count: int
    right_filtered: Estimate
    scans: tuple[ScanResult, ...]


def run_ablation(
    budget: AblationBudget,
    *,
    cases: Sequence[TrainingCase],
    validation_cases: Sequence[TrainingCase],
    test_cases: Sequence[TrainingCase],
    heart: HeartModel | None,
    folder: Path,
    rows: Sequence[AblationRow] = ABLATION_ROWS,
    bootstrap: Bootstrap,
    progress: Callable[[AblationRow, str], None] | None = None,
) -> list[RowResult]:
    """Train and test the rows one after the other; what is done in ``folder`` is not done again.

    Parameters
    ----------
    budget
        Settings, steps and device, the same for all.
    cases, validation_cases, test_cases
        The same for all. The network after the last step is tested: choosing among checkpoints
        would be one more trick.
    heart
        Where the network's word counts; None is everywhere.
    folder
        One folder a row.
    rows
        Which of them.
    bootstrap
        For the intervals.
    progress
        Told what happens.

    Raises
    ------
    ValueError
        If there is no test scan, or ``folder`` holds an ablation of other settings.
    """
    if not test_cases:
        raise ValueError("An ablation needs at least one test scan.")

    def tell(row: AblationRow, what: str) -> None:
        if progress is not None:
            progress(row, what)

    results = []
    for row in rows:
        config = row.configured(budget.config, steps=budget.steps)
        run_folder = folder / row.row_id
        known = _Known(run_folder / RESULTS, _digest_of(config, cases, heart))
        if any(case.case_id not in known.scans for case in test_cases):
            tell(row, f"training, {budget.steps} steps")
            train(
                config,
                cases=cases,
                validation_cases=validation_cases,
                run_folder=run_folder,
                device=budget.device,
                worker_count=budget.worker_count,
            )
            network = load_checkpoint(run_folder / CHECKPOINT, budget.device).network
            predict_patch = torch_predictor(network, budget.device)
            spec = config.model_spec(model_version=row.row_id)
            for case in test_cases:
                if case.case_id not in known.scans:
                    known.add(scan_result(case, spec, predict_patch, heart))
                    tell(row, f"{case.case_id} scored")
        scans = [known.scans[case.case_id] for case in test_cases]
        results.append(row_result(row, scans, bootstrap))
    return results


def row_result(row: AblationRow, scans: Sequence[ScanResult], bootstrap: Bootstrap) -> RowResult:
    """Put the scans of a row together."""
    verdicts = {
        name: [_RIGHT if one else _WRONG for one in is_right]
        for name, is_right in (
            ("unfiltered", [scan.is_right_unfiltered for scan in scans]),
            ("filtered", [scan.is_right for scan in scans]),
        )
    }

    def part(name: str) -> Estimate:
        return category_accuracy(
            [_RIGHT] * len(scans),
            verdicts[name],
            categories=(_RIGHT, _WRONG),
            bootstrap=bootstrap,
        )

    return RowResult(
        row=row,
        f1=voxel_f1([scan.voxels for scan in scans], bootstrap=bootstrap),
        right_count=verdicts["unfiltered"].count(_RIGHT),
        right=part("unfiltered"),
        right_filtered_count=verdicts["filtered"].count(_RIGHT),
        right_filtered=part("filtered"),
        scans=tuple(scans),
    )


class _Known:
    """The results of a row that are on disk; of other settings they are refused."""

    def __init__(self, path: Path, settings: str) -> None:
        self._path = path
        self._settings = settings
        self.scans: dict[str, ScanResult] = {}
        if not path.is_file():
            return
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if stored["settings"] != settings:
            raise ValueError(
                f"{path.parent} holds a row with other settings or other training cases; use a new "
                "folder or the same settings."
            )
        self.scans = {one["case_id"]: ScanResult.from_dict(one) for one in stored["scans"]}

    def add(self, scan: ScanResult) -> None:
        """Keep a result."""
        self.scans[scan.case_id] = scan
        content = {
            "settings": self._settings,
            "scans": [one.as_dict() for one in self.scans.values()],
        }
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self._path)


def _digest_of(
    config: TrainingConfig, cases: Sequence[TrainingCase], heart: HeartModel | None
) -> str:
    facts = (
        config.as_dict(),
        sorted(case.case_id for case in cases),
        None if heart is None else heart.spec.to_json(),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()
