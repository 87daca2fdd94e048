"""Plots of an evaluation as PNG files that come out the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_training.agreement import FloatArray
from model_training.evaluation.case_figures import CaseFigures
from model_training.evaluation.summary import EvaluationSummary, StratumFigures

_DPI: Final = 110
_GATED: Final = "#1f77b4"
_CHEST: Final = "#d95f02"
_UNKNOWN: Final = "#555555"
_LINE: Final = "#222222"
_CATEGORY_BOUNDS: Final = (10.0, 100.0, 400.0)
_LINEAR_BELOW: Final = 10.0
"""Scores below it are on a linear scale, so that 0 has a place; our choice."""


def write_plots(summary: EvaluationSummary, folder: Path) -> dict[str, str]:
    """Write all plots into a folder and return their titles with the names of their files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "Agatston score of model and reference": ("scatter.png", _scatter(summary)),
        "Bland-Altman": ("bland_altman.png", _bland_altman(summary)),
        "Risk categories": ("confusion.png", _confusion(summary)),
    }
    if any(one.voxel_f1 is not None for one in summary.strata):
        drawn["Voxel F1 by group"] = ("strata.png", _strata(summary))
    for name, figure in drawn.values():
        # Without the name and version of the program the bytes depend on the figures alone.
        figure.savefig(folder / name, dpi=_DPI, metadata={"Software": None})
    return {title: name for title, (name, _) in drawn.items()}


def _scatter(summary: EvaluationSummary) -> Figure:
    figure = Figure(figsize=(6.2, 6.0), layout="constrained")
    axes = figure.subplots()
    reference, measured = _scores(summary.cases)
    top = 1.6 * max(float(reference.max()), float(measured.max()), 2.0 * _CATEGORY_BOUNDS[-1])
    for bound in _CATEGORY_BOUNDS:
        axes.axhline(bound, color="0.85", linewidth=0.8)
        axes.axvline(bound, color="0.85", linewidth=0.8)
    axes.plot((0.0, top), (0.0, top), color=_LINE, linewidth=0.8)
    _dots(axes, summary.cases, reference, measured)
    axes.set_xscale("symlog", linthresh=_LINEAR_BELOW)
    axes.set_yscale("symlog", linthresh=_LINEAR_BELOW)
    axes.set_xlim(-1.0, top)
    axes.set_ylim(-1.0, top)
    axes.set_xlabel("Agatston score, reference")
    axes.set_ylabel("Agatston score, model")
    axes.set_title("Lines: equal scores, bounds of the risk categories", fontsize=9)
    return figure


def _bland_altman(summary: EvaluationSummary) -> Figure:
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    absolute_axes, relative_axes = figure.subplots(1, 2)
    reference, measured = _scores(summary.cases)
    means, differences = (reference + measured) / 2.0, measured - reference
    has_score = means > 0.0
    scores = summary.scores
    panels = (
        (
            absolute_axes,
            np.ones_like(has_score),
            differences,
            scores.bland_altman,
            "model - reference",
        ),
        (
            relative_axes,
            has_score,
            100.0 * differences / np.where(has_score, means, 1.0),
            scores.relative_bland_altman,
            "model - reference, % of the mean",
        ),
    )
    for axes, shown, values, agreement, label in panels:
        cases = [case for case, is_shown in zip(summary.cases, shown, strict=True) if is_shown]
        axes.axhline(0.0, color="0.85", linewidth=0.8)
        _dots(axes, cases, means[shown], values[shown])
        for estimate, style in (
            (agreement.bias, "-"),
            (agreement.lower_limit, "--"),
            (agreement.upper_limit, "--"),
        ):
            if estimate.value is not None:
                axes.axhline(estimate.value, color=_LINE, linewidth=0.9, linestyle=style)
        axes.set_xscale("symlog", linthresh=_LINEAR_BELOW)
        axes.set_xlim(left=-1.0)
        axes.set_xlabel("mean Agatston score of both")
        axes.set_ylabel(label)
    absolute_axes.set_title("Bias and 95 % limits of agreement", fontsize=9)
    relative_axes.set_title("Scans where both are 0 are left out", fontsize=9)
    return figure


def _confusion(summary: EvaluationSummary) -> Figure:
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes = figure.subplots()
    counts = np.array(summary.scores.confusion)
    in_row = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(in_row, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in np.ndindex(*counts.shape):
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            color="white" if in_row[row, column] > 0.6 else "black",
        )
    places = range(len(summary.scores.categories))
    axes.set_xticks(places, summary.scores.categories)
    axes.set_yticks(places, summary.scores.categories)
    axes.set_xlabel("risk category, model")
    axes.set_ylabel("risk category, reference")
    axes.set_title("Scans; shade: part of the row", fontsize=9)
    return figure


def _strata(summary: EvaluationSummary) -> Figure:
    rows = [one for one in summary.strata if one.voxel_f1 and one.voxel_f1.value is not None]
    figure = Figure(figsize=(7.5, 0.9 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    overall = None if summary.voxels is None else summary.voxels.f1.value
    if overall is not None:
        axes.axvline(overall, color="0.7", linewidth=0.9)
    last = None
    for place, one in enumerate(rows):
        if one.stratum != last and place:
            axes.axhline(place - 0.5, color="0.9", linewidth=0.8)
        _interval_bar(axes, place, one)
        last = one.stratum
    labels = [f"{one.stratum}: {one.group} (n = {one.scans})" for one in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("voxel F1 with 95 % interval; grey: all scans")
    return figure


def _interval_bar(axes: Axes, place: int, one: StratumFigures) -> None:
    if one.voxel_f1 is None or one.voxel_f1.value is None:
        return
    if one.voxel_f1.interval is not None:
        axes.plot(one.voxel_f1.interval, (place, place), color=_GATED, linewidth=1.6)
    axes.plot(one.voxel_f1.value, place, "o", color=_GATED, markersize=4)


def _dots(axes: Axes, cases: Sequence[CaseFigures], x: FloatArray, y: FloatArray) -> None:
    """Draw one dot a scan, coloured by gating, with a legend of the kinds that there are."""
    for is_gated, color, label in (
        (True, _GATED, "gated"),
        (False, _CHEST, "not gated"),
        (None, _UNKNOWN, "gating not known"),
    ):
        chosen = np.array([case.is_ecg_gated is is_gated for case in cases], dtype=np.bool_)
        if chosen.any():
            axes.scatter(x[chosen], y[chosen], s=22, color=color, alpha=0.75, label=label, lw=0)
    axes.legend(loc="best", fontsize=8, frameon=False)


def _scores(cases: Sequence[CaseFigures]) -> tuple[FloatArray, FloatArray]:
    return (
        np.array([case.reference_agatston_score for case in cases]),
        np.array([case.agatston_score for case in cases]),
    )
