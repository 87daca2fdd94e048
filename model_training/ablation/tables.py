"""The ablation in the form of the paper's tables 1 and 2, beside the paper's figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from model_training.ablation.ablation import AblationBudget, RowResult
from model_training.ablation.rows import PAPER_PATIENTS
from model_training.evaluation.wording import estimate_text, value_text

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Headings and rows."""

_YES, _NO = "yes", ""


def table_1(results: Sequence[RowResult]) -> Table:
    """Return the paper's table 1: the tricks of each network and the F1 of its voxels."""
    headings = (
        "Basic network", "Bootstrap", "RAU", "EDB", "scSE", "IoU", "F1-Score", "F1 in the paper",
    )  # fmt: skip
    rows = []
    for one in results:
        tricks = (True, one.row.rau, one.row.edb, one.row.scse, one.row.iou)
        rows.append(
            (
                "Dense U-Net",
                *(_YES if has_trick else _NO for has_trick in tricks),
                estimate_text(one.f1),
                value_text(one.row.paper_f1, 2),
            )
        )
    return headings, rows


def table_2(results: Sequence[RowResult]) -> Table:
    """Return the paper's table 2: patients in the right risk category, and the paper's counts."""
    headings = (
        "Tricks", "CAC No.", "CAC filter No.", "Patients", "CAC Rate", "CAC filter Rate",
        "CAC Rate in the paper", "CAC filter Rate in the paper",
    )  # fmt: skip
    return headings, [
        (
            one.row.name,
            str(one.right_count),
            str(one.right_filtered_count),
            str(len(one.scans)),
            estimate_text(one.right, 2),
            estimate_text(one.right_filtered, 2),
            _paper_rate(one.row.paper_right),
            _paper_rate(one.row.paper_right_filtered),
        )
        for one in results
    ]


def write_ablation(
    results: Sequence[RowResult], budget: AblationBudget, folder: Path, *, data: str, command: str
) -> None:
    """Write ``README.md`` with both tables and ``figures.json`` with every scan."""
    folder.mkdir(parents=True, exist_ok=True)
    page = f"""\
# Ablation

{data}. Every row: {budget.steps} steps of {budget.config.batch_size} crops, settings
`{budget.config.name}`, the same crops in the same order. Intervals: 95 % from resampling patients.

```sh
{command}
```

Table 1: voxels of at least 130 HU. The paper's text gives two of its five figures.

{_markdown(table_1(results))}

Table 2: risk category right, without (CAC) and with (CAC filter) post-processing, which removes
voxels below 130 HU. The paper's patients are others: compare how the rows change, not their level.

{_markdown(table_2(results))}
"""
    (folder / "README.md").write_text(page, encoding="utf-8")
    figures = {
        "data": data,
        "steps": budget.steps,
        "config": budget.config.as_dict(),
        "rows": [asdict(one) for one in results],
    }
    text = json.dumps(figures, indent=1) + "\n"
    (folder / "figures.json").write_text(text, encoding="utf-8")


def _paper_rate(right: int) -> str:
    return f"{right} of {PAPER_PATIENTS} ({value_text(right / PAPER_PATIENTS, 2)})"


def _markdown(table: Table) -> str:
    headings, rows = table
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
