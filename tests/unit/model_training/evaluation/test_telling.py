"""The page, the tables, the plots and the pictures of an evaluation."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from calcium_scoring.rendering.overlay import COLOR_OF_LABEL
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from model_training.agreement import Estimate
from model_training.evaluation.case_figures import CaseFigures
from model_training.evaluation.markdown_report import markdown_report
from model_training.evaluation.pictures import most_different_slice, worst_cases, write_picture
from model_training.evaluation.plots import write_plots
from model_training.evaluation.published import AIMS, PUBLISHED
from model_training.evaluation.summary import EvaluationSummary, summarise
from model_training.evaluation.terminal_report import terminal_tables
from model_training.evaluation.wording import estimate_text, value_text
from model_training.metrics import VoxelCounts
from tests.unit.model_training.evaluation.scans import figures, plaque_scan, without_upper_slice
from tests.unit.model_training.evaluation.test_summary import MODEL, QUICK


@pytest.fixture(scope="module")
def summary() -> EvaluationSummary:
    rng = np.random.default_rng(0)
    scores = [0.0, 0.0, 4.0, 8.0, 40.0, 90.0, 150.0, 390.0, 500.0, 1500.0]
    cases = [
        figures(
            score,
            float(score * rng.uniform(0.9, 1.1)),
            case_id=f"case-{index}",
            patient=f"p{index}",
            is_ecg_gated=bool(index % 2),
        )
        for index, score in enumerate(scores)
    ]
    return summarise(MODEL, "made-up scans", cases, QUICK)


def test_page_gives_figures_with_interval_and_n_beside_published_ones(
    summary: EvaluationSummary,
) -> None:
    page = markdown_report(summary, command="python -m model_training evaluate")

    assert "**The model is provisional. Research use only.**" in page
    assert "| voxel F1 | 0.800 | 0.800 to 0.800 | 10 |" in page
    assert "| voxel F1 | at least 0.9 | 0.800 (0.800 to 0.800) | no |" in page
    for result in PUBLISHED:
        assert result.source in page
    assert "None" not in page
    assert "nan" not in page


def test_every_table_of_the_page_has_as_many_cells_in_each_line(
    summary: EvaluationSummary,
) -> None:
    page = markdown_report(summary, command="-")

    tables = re.findall(r"(?:^\|.*\|\n)+", page, flags=re.MULTILINE)
    assert len(tables) >= 6
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_figure_that_is_not_defined_says_why() -> None:
    few = summarise(MODEL, "two scans", [figures(0.0, 0.0), figures(5.0, 5.0)], QUICK)

    page = markdown_report(few, command="-")

    assert "- Agatston ICC(A,1): there are 2 patients; at least 3 are needed." in page


def test_terminal_shows_the_same_numbers(summary: EvaluationSummary) -> None:
    console = Console(width=160, record=True, quiet=True)
    console.quiet = False
    with console.capture() as shown:
        for table in terminal_tables(summary):
            console.print(table)

    text = shown.get()
    assert value_text(summary.scores.icc.value, 4) in text
    assert "not gated" in text
    assert "Aims" in text


def test_words_of_a_figure() -> None:
    assert estimate_text(Estimate(0.5, 9, (0.25, 0.75)), 2) == "0.50 (0.25 to 0.75)"
    assert estimate_text(Estimate(0.5, 2, reason="few")) == "0.500"
    assert estimate_text(Estimate(None, 0, reason="none")) == "-"
    assert estimate_text(None) == "-"
    assert value_text(-0.0001) == "0.000"


def test_aims_are_met_on_their_right_side() -> None:
    f1, *_, calcium = AIMS

    assert [f1.is_met(value) for value in (0.89, 0.90, None)] == [False, True, False]
    assert [calcium.is_met(value) for value in (0.019, 0.02, None)] == [True, False, False]


def test_figures_of_the_paper_are_those_of_its_tables() -> None:
    paper, baseline = PUBLISHED[:2]

    assert (paper.voxel_f1, baseline.voxel_f1) == (0.75, 0.65)
    # Table 2: 0.83 and 0.69, from 120 and 99 of 144.
    assert paper.category_accuracy == pytest.approx(0.83, abs=0.005)
    assert baseline.category_accuracy == pytest.approx(0.69, abs=0.005)


@pytest.mark.slow
def test_plots_come_out_the_same_each_time(summary: EvaluationSummary, tmp_path: Path) -> None:
    first = write_plots(summary, tmp_path / "first")
    again = write_plots(summary, tmp_path / "again")

    assert first == again
    for name in first.values():
        content = (tmp_path / "first" / name).read_bytes()
        assert content == (tmp_path / "again" / name).read_bytes()
        assert b"matplotlib" not in content.lower()


def case(name: str, reference: float, measured: float, voxels: VoxelCounts) -> CaseFigures:
    return figures(reference, measured, case_id=name, voxels=voxels)


def test_worst_cases_are_those_in_a_far_category_then_of_a_far_score() -> None:
    wrong = VoxelCounts(5, 5, 5)
    cases = [
        case("right", 50.0, 50.0, VoxelCounts(9, 0, 0)),
        case("near", 50.0, 51.0, wrong),
        case("far score", 500.0, 900.0, wrong),
        case("two categories", 0.0, 50.0, wrong),
        case("one category", 99.0, 101.0, wrong),
    ]

    worst = [one.case_id for one in worst_cases(cases, 4)]

    assert worst == ["two categories", "one category", "far score", "near"]


def test_picture_shows_reference_and_model_side_by_side(tmp_path: Path) -> None:
    scan = plaque_scan()
    assert isinstance(scan.reference, LabelMap)
    found = without_upper_slice(scan)

    slice_index = most_different_slice(found, scan.reference)
    write_picture(tmp_path / "worst.png", scan.volume, found, scan.reference, slice_index)

    assert slice_index == 2
    picture = np.asarray(Image.open(tmp_path / "worst.png").convert("RGB")).astype(int)
    is_outline = np.abs(picture - np.array(COLOR_OF_LABEL[CORONARY])).max(axis=2) < 8
    is_outline = is_outline[: picture.shape[1] // 2]  # above the caption, which is coloured too
    # Only the reference marks slice 2.
    half = picture.shape[1] // 2
    assert is_outline[:, :half].sum() > 100
    assert is_outline[:, half:].sum() == 0


def test_slice_of_most_difference_is_the_lowest_in_a_tie() -> None:
    scan = plaque_scan()
    assert isinstance(scan.reference, LabelMap)
    nothing = replace(scan.reference, labels=np.zeros_like(scan.reference.labels))

    assert most_different_slice(nothing, scan.reference) == 1
