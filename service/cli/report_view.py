"""A report as a reader sees it in a terminal; the document is that of ``--json`` and the API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from calcium_scoring.scoring.categories import cac_drs_category
from service.application.report_terms import SCHEMA_VERSION, ReportDocument
from service.cli.outcome import CommandFailed

MAX_LESIONS_SHOWN = 20
"""Longer lists scroll the score off the screen. Our choice; ``--json`` has all of them."""

MAX_REJECTED_SHOWN = 8
"""Those that would score most. Our choice; ``--json`` has all of them."""

REASONS = {
    "edge_of_region": "goes on beyond the heart",
    "rim_of_lesion": "rim of a lesion",
    "too_small": "too small",
    "below_probability": "not coronary by the model",
    "outside_mask": "outside the mask",
}

SMALLEST_PROBABILITY_SHOWN = 0.005
"""Less is 0 %, and not shown."""

UNKNOWN = "-"


def print_report(document: ReportDocument, console: Console) -> None:
    """Print scores, what they mean, other conventions, lesions and warnings of a report.

    A report of another schema, as from a service of another version, is a CommandFailed.
    """
    if document["schema_version"] != SCHEMA_VERSION:
        raise CommandFailed(
            f"The report has schema version {document['schema_version']}, and this cacscore shows "
            f"version {SCHEMA_VERSION}. --json prints it as it is; the same version of cacscore on "
            "both sides shows it."
        )
    console.print(_scores(document))
    if document["conventions"]:
        console.print(_conventions(document))
    if document["lesions"]:
        console.print(_lesions(document["lesions"]))
        hidden = len(document["lesions"]) - MAX_LESIONS_SHOWN
        if hidden > 0:
            console.print(f"… and {hidden} more lesions; --json lists all.", markup=False)
    if document["components"] is not None:
        _print_rejected(document["components"], console)
    print_warnings(document, console)
    for other in document["other_series"]:
        console.print(f"not scored: {_other_series(other)}", markup=False)
    console.print(document["intended_use"], markup=False)


def print_categories(agatston_score: float, categories: dict[str, Any], console: Console) -> None:
    """Print what a score means for a patient."""
    table = Table(title="What the score means", title_justify="left", show_header=False)
    table.add_column("quantity")
    table.add_column("value")
    table.add_row(Text("Agatston score", "bold"), Text(f"{agatston_score:.3f}", "bold"))
    for name, value in _category_rows(agatston_score, categories):
        table.add_row(name, value)
    console.print(table)


def print_warnings(document: ReportDocument, console: Console) -> None:
    """Print what a reader of the score should know."""
    for warning in document["warnings"]:
        console.print(Text.assemble((f"warning {warning['code']}: ", "yellow"), warning["message"]))


def _scores(document: ReportDocument) -> Table:
    series, protocol, model = document["series"], document["protocol"], document["model"]
    table = Table(title="Coronary calcium", title_justify="left", show_header=False)
    table.add_column("quantity")
    table.add_column("value")
    table.add_row(Text("Agatston score", "bold"), Text(f"{document['agatston_score']:.3f}", "bold"))
    if document["uncertainty"] is not None:
        table.add_row("Repeat scan", _uncertainty(document["uncertainty"]))
    for name, value in _category_rows(document["agatston_score"], document["categories"]):
        table.add_row(name, value)
    table.add_row(
        "Volume score",
        f"{document['volume_score_mm3']:.1f} mm³, interpolated "
        f"{document['interpolated_volume_score_mm3']:.1f} mm³",
    )
    table.add_row("Mass score", _number(document["mass_score_mg"], ".1f", " mg", "not calibrated"))
    table.add_row("Arteries", _arteries(document["arteries"]))
    table.add_row("Lesions", str(len(document["lesions"])))
    table.add_row(
        "Series",
        f"{series['slice_count']} slices of {series['rows']} x {series['columns']} pixels, "
        f"{series['spacing_between_slices_mm']:.3f} mm between slices, "
        f"{series['pixel_spacing_mm'][0]:.3f} x {series['pixel_spacing_mm'][1]:.3f} mm pixels, "
        f"{_number(series['kvp'], 'g', ' kV', 'kV unknown')}",
    )
    table.add_row("Protocol", f"{protocol['name']}: {_rules(protocol)}")
    table.add_row(
        "Mask",
        "given by the reader"
        if model is None
        else f"{model['name']} {model['version']}"
        + (" (provisional)" if model["is_provisional"] else ""),
    )
    return table


def _lesions(lesions: list[dict[str, Any]]) -> Table:
    table = Table(title="Lesions", title_justify="left")
    for heading in ("id", "artery", "slices", "area mm²", "volume mm³", "peak HU", "Agatston"):
        table.add_column(heading, justify="left" if heading == "artery" else "right")
    for lesion in sorted(lesions, key=lambda one: -one["agatston_score"])[:MAX_LESIONS_SHOWN]:
        first, last = lesion["first_slice_index"], lesion["last_slice_index"]
        table.add_row(
            str(lesion["id"]),
            lesion["artery"] or UNKNOWN,
            str(first) if first == last else f"{first}-{last}",
            f"{lesion['area_mm2']:.2f}",
            f"{lesion['volume_score_mm3']:.2f}",
            f"{lesion['peak_hu']:.0f}",
            f"{lesion['agatston_score']:.3f}",
        )
    return table


def _print_rejected(components: dict[str, Any], console: Console) -> None:
    """Print what was not counted: what a reader may doubt, and how many there are of each kind.

    What goes on beyond the heart is bone as a rule, and would crowd out the rest.
    """
    scoring = [
        one
        for one in components["rejected"]
        if one["agatston_score_if_kept"] > 0.0 and one["reason"] != "edge_of_region"
    ]
    if scoring:
        console.print(_rejected(scoring[:MAX_REJECTED_SHOWN]))
    counts = ", ".join(
        f"{REASONS[reason]} {count}"
        for reason, count in components["rejected_count"].items()
        if count
    )
    if counts:
        more = " --json lists all." if len(components["rejected"]) > MAX_REJECTED_SHOWN else ""
        console.print(
            f"Not counted: {counts}; {components['rejected_voxel_count']} of "
            f"{components['voxel_count']} voxels >= {components['threshold_hu']:g} HU.{more}",
            markup=False,
        )


def _rejected(rejected: list[dict[str, Any]]) -> Table:
    # Without frames a line of it fits into 80 columns.
    table = Table(
        title="Not counted, with the score that each would add and its probability",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading in ("slices", "area mm²", "peak HU", "score", "prob.", "looks like"):
        table.add_column(
            heading, justify="left" if heading == "looks like" else "right", no_wrap=True
        )
    table.add_column("reason")
    for one in rejected:
        first, last = one["first_slice_index"], one["last_slice_index"]
        table.add_row(
            str(first) if first == last else f"{first}-{last}",
            f"{one['area_mm2']:.1f}",
            f"{one['peak_hu']:.0f}",
            f"{one['agatston_score_if_kept']:.1f}",
            _number(one["max_probability"], ".2f", "", UNKNOWN),
            one["kind"] or UNKNOWN,
            REASONS[one["reason"]],
        )
    return table


def _category_rows(agatston_score: float, categories: dict[str, Any]) -> Iterator[tuple[str, str]]:
    patient = categories["patient"]
    facts = [
        fact
        for fact in (
            None if patient["age_years"] is None else f"{patient['age_years']} years",
            patient["sex"],
            patient["race_or_ethnicity"],
        )
        if fact is not None
    ]
    yield "Patient", ", ".join(facts) or "age and sex not known"
    yield "Risk category", categories["risk_category"]["value"]
    yield (
        "CAC-DRS",
        categories["cac_drs"]["value"]
        or f"{cac_drs_category(agatston_score)}, number of vessels not known",
    )
    yield "Percentile (Hoff)", _percentile(categories["hoff_percentile"])
    yield "Percentile (MESA)", _percentile(categories["mesa_percentile"])
    yield "Arterial age", f"{categories['arterial_age_years']['value']:.1f} years"
    risk = categories["mesa_10_year_chd_risk_percent"]
    yield "Ten-year risk", _or_reason(risk, ".2f", " % (MESA, coronary heart disease)")


def _percentile(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return f"{UNKNOWN} {entry['reason']}"
    scores = ", ".join(
        f"{one['percentile']}th {one['agatston_score']:.0f}" for one in entry["reference_scores"]
    )
    methods = {
        "interpolated_age": "; interpolated between published ages",
        "nearest_published_age": "; values of the nearest published age",
    }
    method = methods.get(entry["age_method"], "")
    return f"{entry['value']} of {entry['reference_group']} (scores: {scores}{method})"


def _or_reason(entry: dict[str, Any], form: str = "", unit: str = "") -> str:
    if entry["value"] is None:
        return f"{UNKNOWN} {entry['reason']}"
    return f"{entry['value']:{form}}{unit}"


def _conventions(document: ReportDocument) -> Table:
    agree = (
        "the category is the same under all"
        if document["category_stable"]
        else "the category depends on the convention"
    )
    table = Table(title=f"Under other conventions: {agree}", title_justify="left")
    for heading in ("convention", "Agatston", "volume mm³", "lesions", "risk", "CAC-DRS"):
        table.add_column(heading, justify="left" if heading == "convention" else "right")
    for one in document["conventions"]:
        style = "" if one["category_stable"] else "yellow"
        table.add_row(
            one["name"],
            f"{one['agatston_score']:.3f}",
            f"{one['volume_score_mm3']:.1f}",
            str(one["lesion_count"]),
            Text(one["risk_category"], style),
            Text(one["cac_drs_category"], style),
        )
    return table


GAPS = {
    "nothing_marked": "nothing is marked, so this scan says nothing of another",
    "noise_unknown": "too little soft tissue to measure the noise",
    "mask_too_large": "more is marked than a heart can hold",
    "protocol_across_slices": "not known for lesions that are formed across slices",
}


def _uncertainty(uncertainty: dict[str, Any]) -> str:
    published = f"published: {100 * uncertainty['published_variability']:.0f} % between two scans"
    if uncertainty["reason"] is not None:
        return f"{GAPS[uncertainty['reason']]} ({published})"
    probabilities = ", ".join(
        f"{category}: {100 * probability:.0f} %"
        for category, probability in uncertainty["risk_category_probabilities"].items()
        if probability >= SMALLEST_PROBABILITY_SHOWN
    )
    return (
        f"{uncertainty['low']:.0f} to {uncertainty['high']:.0f} in "
        f"{100 * uncertainty['level']:.0f} % of scans ({published}); risk category {probabilities}"
    )


def _rules(protocol: dict[str, Any]) -> str:
    threshold = ">=" if protocol["is_threshold_inclusive"] else ">"
    is_3d = protocol["connectivity_3d"] is not None
    connected = (
        f"{protocol['connectivity_3d']}-connected across slices"
        if is_3d
        else f"{protocol['in_plane_connectivity']}-connected"
    )
    rules = [f"{threshold} {protocol['threshold_hu']:g} HU", connected]
    if protocol["min_lesion_area_mm2"] > 0.0:
        rules.append(f"at least {protocol['min_lesion_area_mm2']:g} mm²")
    if protocol["min_lesion_pixel_count"] > 1:
        unit = "voxels" if is_3d else "pixels"
        rules.append(f"at least {protocol['min_lesion_pixel_count']} {unit}")
    if protocol["peak_over"] == "lesion":
        rules.append("one peak a lesion")
    return ", ".join(rules)


def _arteries(arteries: dict[str, Any]) -> str:
    if all(scores is None for scores in arteries.values()):
        return "not told apart by this mask"
    return ", ".join(
        f"{name} {UNKNOWN if scores is None else format(scores['agatston_score'], '.1f')}"
        for name, scores in arteries.items()
    )


def _number(value: float | None, form: str, unit: str, otherwise: str) -> str:
    return otherwise if value is None else f"{value:{form}}{unit}"


def _other_series(other: dict[str, Any]) -> str:
    name = other["series_description"] or "a series without description"
    return f"{name} ({other['slice_count']} slices): {other['reason']}"
