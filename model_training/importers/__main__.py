"""``python -m model_training.importers``: a data set becomes training cases, with a report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from model_training.importers.coca_gated import NO_CALCIUM
from model_training.importers.data_sets import DataSet, DataSetKind, ImportOptions
from model_training.importers.imported_case import ImportedCase, ImportProblem, RefusedCase
from model_training.importers.keep import keep_cases
from model_training.importers.pairs import LABEL_NAMES

app = typer.Typer(add_completion=False)
console = Console()

NoAnnotationMeansZero = Annotated[
    bool,
    typer.Option(
        "--no-annotation-means-zero",
        help="COCA gated: patients without an XML file have no calcium.",
    ),
]
RoiNames = Annotated[
    list[str] | None,
    typer.Option(
        help="COCA gated: what another name of a region means, as 'NAME=LAD', or "
        "'NAME=NONE' for what is no coronary calcium. May be repeated."
    ),
]


@app.command()
def import_cases(
    data: Annotated[
        str, typer.Argument(help=f"KIND=PATH; a KIND is {', '.join(DataSetKind)}.", metavar="DATA")
    ],
    *,
    cases: Annotated[Path, typer.Option(help="Folder for the training cases.")] = Path(
        "runs/cases"
    ),
    report: Annotated[
        Path | None, typer.Option(help="Also write everything that was found as JSON.")
    ] = None,
    no_annotation_means_zero: NoAnnotationMeansZero = False,
    roi_name: RoiNames = None,
    keep_incomplete: Annotated[
        bool,
        typer.Option(
            "--keep-incomplete", help="Keep cases whose reference is known to miss calcium."
        ),
    ] = False,
) -> None:
    """Read an annotated data set, check it, and keep it as training cases split by patient."""
    try:
        data_set = DataSet.parse(data)
        options = ImportOptions(no_annotation_means_zero, roi_meanings(roi_name or []))
        entries: dict[str, dict[str, Any]] = {}
        imported = _noted(data_set.read(options), entries)
        for kept in keep_cases(
            imported,
            cases,
            keep_incomplete=keep_incomplete,
            left_out=lambda case: _note(entries, case, case.problems),
        ):
            entries[kept.case_id]["split"] = kept.split
            console.print(f"{kept.case_id}: kept for {kept.split}", highlight=False)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(list(entries.values()), indent=1) + "\n", encoding="utf-8")
    _summarise(entries.values())


def roi_meanings(texts: Iterable[str]) -> dict[str, int | None]:
    """Return what ``NAME=LAD`` and ``NAME=NONE`` say.

    Raises
    ------
    ValueError
        If the part behind the last ``=`` is no label.
    """
    meanings: dict[str, int | None] = {}
    for text in texts:
        name, _, label = text.rpartition("=")
        if not name or label.upper() not in {*LABEL_NAMES, NO_CALCIUM}:
            raise ValueError(
                f"{text!r} says nothing of a region; write NAME=LABEL with a label of "
                f"{', '.join((*LABEL_NAMES, NO_CALCIUM))}."
            )
        meanings[name] = LABEL_NAMES.get(label.upper())
    return meanings


def _noted(
    imported: Iterable[ImportedCase | RefusedCase], entries: dict[str, dict[str, Any]]
) -> Iterator[ImportedCase | RefusedCase]:
    for case in imported:
        _note(entries, case, case.problems)
        yield case


def _note(
    entries: dict[str, dict[str, Any]],
    case: ImportedCase | RefusedCase,
    problems: Iterable[ImportProblem],
) -> None:
    entries[case.case_id] = {
        "case_id": case.case_id,
        "patient": case.patient,
        "split": None,
        "problems": [
            {"code": one.code, "message": one.message, "evidence": dict(one.evidence)}
            for one in problems
        ],
    }


def _summarise(entries: Iterable[dict[str, Any]]) -> None:
    """Say how many cases were kept for what, and what was found how often, with one example."""
    splits: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for entry in entries:
        splits[entry["split"] or "left out"] += 1
        for code in {problem["code"] for problem in entry["problems"]}:
            codes[code] += 1
        for problem in entry["problems"]:
            examples.setdefault(problem["code"], f"{entry['case_id']}: {problem['message']}")
    told = ", ".join(f"{count} {split}" for split, count in sorted(splits.items()))
    console.print(f"{splits.total()} cases: {told or 'none'}", highlight=False)
    for code, count in codes.most_common():
        console.print(f"  {code} ({count}), as {examples[code]}", highlight=False, markup=False)


if __name__ == "__main__":
    app()
