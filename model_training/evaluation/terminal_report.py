"""An evaluation on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from model_training.evaluation.markdown_report import agreement_figures
from model_training.evaluation.published import AIMS
from model_training.evaluation.summary import EvaluationSummary
from model_training.evaluation.wording import (
    NO_FIGURE,
    estimate_text,
    interval_text,
    percent_text,
    value_text,
)


def terminal_tables(summary: EvaluationSummary) -> Iterator[Table]:
    """Return what one wants to see at once; the page has the rest."""
    yield _agreement(summary)
    yield _categories(summary)
    if summary.arteries is not None:
        yield _arteries(summary)
    if summary.sources is not None:
        yield _sources(summary)
    if summary.strata:
        yield _strata(summary)
    yield _aims(summary)


def _agreement(summary: EvaluationSummary) -> Table:
    table = _table(
        f"{summary.model.name} {summary.model.version}: {len(summary.cases)} scans of "
        f"{summary.patient_count} patients",
        ("figure", "value", "95 % interval", "patients"),
    )
    for name, estimate, digits in agreement_figures(summary):
        table.add_row(
            name,
            value_text(estimate.value, digits),
            interval_text(estimate, digits),
            str(estimate.n),
        )
    return table


def _categories(summary: EvaluationSummary) -> Table:
    scores = summary.scores
    table = _table("Risk categories", ("reference \\ model", *scores.categories))
    for name, row in zip(scores.categories, scores.confusion, strict=True):
        table.add_row(name, *(str(count) for count in row))
    return table


def _arteries(summary: EvaluationSummary) -> Table:
    table = _table("Arteries", ("artery", "with calcium", "voxel F1", "ICC(A,1)", "bias"))
    for one in summary.arteries or ():
        table.add_row(
            one.artery,
            str(one.calcified),
            estimate_text(one.voxel_f1),
            estimate_text(one.icc),
            estimate_text(one.bias, 1),
        )
    if summary.naming is not None:
        table.caption = f"artery right, by volume: {estimate_text(summary.naming.right)}"
    return table


def _sources(summary: EvaluationSummary) -> Table:
    table = _table(
        "What the model calls coronary calcium",
        ("what", "scans", "mm3", "part of all scores", "part of it marked"),
    )
    for one in summary.sources or ():
        table.add_row(
            one.source,
            str(one.scans),
            value_text(one.marked_volume_mm3, 0),
            percent_text(one.agatston_part),
            estimate_text(one.counted_part, 4),
        )
    return table


def _strata(summary: EvaluationSummary) -> Table:
    table = _table("By group", ("by", "group", "scans", "voxel F1", "ICC(A,1)", "category right"))
    last = None
    for one in summary.strata:
        table.add_row(
            "" if one.stratum == last else one.stratum,
            one.group,
            str(one.scans),
            value_text(None if one.voxel_f1 is None else one.voxel_f1.value),
            value_text(one.icc.value),
            value_text(one.category_accuracy.value),
        )
        last = one.stratum
    return table


def _aims(summary: EvaluationSummary) -> Table:
    table = _table("Aims", ("figure", "aim", "reached", "met"))
    for aim in AIMS:
        estimate = summary.main_figures[aim.figure]
        value = None if estimate is None else estimate.value
        verdict = NO_FIGURE if value is None else ("yes" if aim.is_met(value) else "no")
        bound = f"{'below' if aim.is_upper else 'at least'} {aim.bound:g}"
        table.add_row(aim.name, bound, value_text(value, aim.digits), verdict)
    return table


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table
