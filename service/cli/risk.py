"""`cacscore risk`: what the score of a report means for a patient; no server is involved."""

from __future__ import annotations

import json
from pathlib import Path

from service.application.categories import GivenFacts, categories_document, facts_of_report
from service.application.report_terms import INTENDED_USE
from service.cli.console import print_json, stdout
from service.cli.outcome import UsageMistake
from service.cli.report_view import print_categories


def print_risk(report_file: Path, given: GivenFacts, *, wants_json: bool) -> None:
    """Read a report of `score --json`, `measure --json` or the service, and print its meaning."""
    try:
        report = json.loads(report_file.read_text(encoding="utf-8"))
        score, vessels = float(report["agatston_score"]), report["vessel_count"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageMistake(
            f"{report_file} is not a report of cacscore: it has no agatston_score and "
            "vessel_count. `cacscore score --json` prints one."
        ) from error
    categories = categories_document(score, vessels, facts_of_report(report), given)
    if wants_json:
        print_json(
            {"intended_use": INTENDED_USE, "agatston_score": score, "categories": categories}
        )
        return
    print_categories(score, categories, stdout)
    stdout.print(INTENDED_USE, markup=False)
