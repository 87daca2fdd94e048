"""What a reader sees in a terminal of what was not counted, and of repeat scans."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from service.application.report_document import report_document
from service.application.report_terms import ReportDocument
from service.cli.report_view import MAX_REJECTED_SHOWN, print_report
from tests.builders import plaque_phantom


def component(reason: str, score: float, *, number: int = 1) -> dict[str, Any]:
    return {
        "id": number,
        "reason": reason,
        "first_slice_index": 40 + number,
        "last_slice_index": 40 + number,
        "area_mm2": 3.0,
        "peak_hu": 250.0,
        "agatston_score_if_kept": score,
        "max_probability": 0.25,
        "kind": "VALVE",
    }


def printed(rejected: list[dict[str, Any]]) -> str:
    volume, label_map = plaque_phantom()
    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
    document: ReportDocument = report_document(report, volume, model=None)
    reasons = ("edge_of_region", "rim_of_lesion", "too_small", "below_probability", "outside_mask")
    document["components"] = {
        "threshold_hu": 130.0,
        "voxel_count": 1000,
        "rejected_voxel_count": 800,
        "rejected_count": {
            reason: sum(one["reason"] == reason for one in rejected) for reason in reasons
        },
        "rejected": rejected,
    }
    out = io.StringIO()
    print_report(document, Console(file=out, width=120))
    return out.getvalue()


def test_what_was_not_counted_is_shown_with_what_it_looks_like_and_why() -> None:
    text = printed([component("below_probability", 6.0), component("too_small", 0.0, number=2)])

    (line,) = [line for line in text.splitlines() if "VALVE" in line]
    assert "not coronary by the model" in line
    assert "6.0" in line
    assert "Not counted: too small 1, not coronary by the model 1; 800 of 1000 voxels" in text


def test_bone_does_not_crowd_out_what_a_reader_may_doubt() -> None:
    text = printed([component("edge_of_region", 8000.0), component("rim_of_lesion", 2.0, number=2)])

    assert "8000" not in text
    assert "goes on beyond the heart 1" in text
    assert [line for line in text.splitlines() if "rim of a lesion" in line and "42" in line]


def printed_uncertainty(**values: object) -> str:
    volume, label_map = plaque_phantom()
    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
    document: ReportDocument = report_document(report, volume, model=None)
    document["uncertainty"] = {"published_variability": 0.1345, "reason": None, **values}
    out = io.StringIO()
    print_report(document, Console(file=out, width=160))
    return " ".join(out.getvalue().split())


def test_what_a_repeat_scan_would_score_is_said_in_a_line() -> None:
    text = printed_uncertainty(
        level=0.9,
        low=82.4,
        high=121.2,
        risk_category_probabilities={"0": 0.0, "1-10": 0.001, "11-100": 0.4, "101-400": 0.599},
    )

    assert "82 to 121 in 90 % of scans (published: 13 % between two scans)" in text
    assert text.count("Repeat scan") == 1
    assert "risk category 11-100: 40 %, 101-400: 60 %" in text
    assert "1-10: 0 %" not in text


def test_why_nothing_is_said_of_a_repeat_scan_is_said() -> None:
    assert "nothing is marked" in printed_uncertainty(reason="nothing_marked")


def test_a_long_table_ends_and_says_where_the_rest_is() -> None:
    many = [component("below_probability", 50.0 - n, number=n) for n in range(1, 20)]

    text = printed(many)

    assert sum("VALVE" in line for line in text.splitlines()) == MAX_REJECTED_SHOWN
    assert "--json lists all" in text
