"""An evaluation as a page: every figure with its n and interval, beside what others published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from model_training.agreement import Estimate
from model_training.evaluation.case_figures import CaseFigures
from model_training.evaluation.false_positives import CALCIUM
from model_training.evaluation.published import AIMS, HUMAN_REPEATABILITY, PUBLISHED
from model_training.evaluation.summary import ArteryNaming, EvaluationSummary
from model_training.evaluation.wording import (
    NO_FIGURE,
    estimate_text,
    interval_text,
    percent_text,
    value_text,
)

NamedEstimate = tuple[str, Estimate, int]
"""What it is, its value, and its decimals."""


def markdown_report(
    summary: EvaluationSummary,
    *,
    command: str,
    plots: Mapping[str, str] | None = None,
    pictures: Mapping[str, str] | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    summary
        Everything that was measured.
    command
        The command that makes the page again.
    plots, pictures
        Titles of plots, and captions of pictures of the worst cases, with the names of their files
        beside the page.
    """
    model = summary.model
    sections = [
        f"# Evaluation of {model.name} {model.version}",
        _introduction(summary, command),
        "## Aims",
        _aims(summary),
        "## Agreement",
        _table(("figure", "value", "95 % interval", "patients"), _agreement_rows(summary)),
        *_undefined(summary),
        "## Risk categories",
        _confusion(
            "reference \\ model", summary.scores.categories, summary.scores.confusion, digits=0
        ),
        *_arteries(summary),
        *_false_positives(summary),
        *_strata(summary),
        "## Beside published results",
        _published(summary),
        *(f"![{title}]({name})" for title, name in (plots or {}).items()),
        *_worst_cases(pictures or {}),
        "## Every scan",
        _cases(summary.cases),
        "## How it was counted",
        HOW_IT_WAS_COUNTED,
    ]
    return "\n\n".join(sections) + "\n"


HOW_IT_WAS_COUNTED = """\
- The model ran as in the service (heart region, network, thresholds); scores follow the protocol
  `literature`, at native resolution, unrounded.
- Voxels are those of at least 130 HU that reference or model call coronary calcium; F1 and Dice of
  the voxels of all scans together are the same number, so the mean Dice of the scans stands beside
  it, over scans where either of them marks anything.
- A lesion is what a report counts, whatever its artery: connected by sides and corners within a
  slice, from slice to slice where a pixel continues, without slice lesions below 1 mm2. It is
  found, or right, if one voxel of it is marked by the other side.
- ICC(A,1): two-way, absolute agreement, single measurement. Kappa has linear weights over the five
  risk categories. Bland-Altman: model minus reference, limits at 1.96 standard deviations; relative
  differences are per cent of the mean of both scores, without scans where both are 0.
- Intervals are percentile intervals from resampling patients with all their scans. A figure that
  the data cannot give (too few patients, one category only) is left out and says why.
- The score of a marked slice lesion is shared out among its pixels, so that the scores of all
  sources add up to the score of the model. The rim is what touches calcium of the reference."""


def _introduction(summary: EvaluationSummary, command: str) -> str:
    model = summary.model
    bootstrap = summary.bootstrap
    parts = [
        f"{len(summary.cases)} scans of {summary.patient_count} patients: {summary.data}.",
        f"SHA-256 of the model file: `{model.sha256}`.",
        f"Intervals: {percent_text(bootstrap.level, 0)} from {bootstrap.resamples} resamples.",
    ]
    if model.is_provisional:
        parts.insert(0, "**The model is provisional. Research use only.**")
    told = [f"{code} in {count} scans" for code, count in sorted(summary.warnings.items())]
    if told:
        parts.append(f"Warnings of the service: {', '.join(told)}.")
    return "\n".join(parts) + f"\n\n```sh\n{command}\n```"


def _aims(summary: EvaluationSummary) -> str:
    rows = []
    for aim in AIMS:
        estimate = summary.main_figures[aim.figure]
        value = None if estimate is None else estimate.value
        rows.append(
            (
                aim.name,
                f"{'below' if aim.is_upper else 'at least'} {aim.bound:g}",
                estimate_text(estimate, aim.digits),
                NO_FIGURE if value is None else ("yes" if aim.is_met(value) else "no"),
            )
        )
    return _table(("figure", "aim", "reached", "met"), rows)


def agreement_figures(summary: EvaluationSummary) -> list[NamedEstimate]:
    """Return every figure of all scans together, in the order of the page."""
    figures: list[NamedEstimate] = []
    if summary.voxels is not None:
        voxels = summary.voxels
        figures += [
            ("voxel F1", voxels.f1, 3),
            ("Dice, mean of scans", voxels.mean_dice, 3),
            ("voxel precision", voxels.precision, 3),
            ("voxel sensitivity", voxels.sensitivity, 3),
            ("lesion sensitivity", voxels.lesion_sensitivity, 3),
            ("lesion precision", voxels.lesion_precision, 3),
        ]
    scores, absolute = summary.scores, summary.scores.bland_altman
    relative = scores.relative_bland_altman
    figures += [
        ("Agatston ICC(A,1)", scores.icc, 4),
        ("Agatston Pearson", scores.pearson, 4),
        ("Bland-Altman bias", absolute.bias, 1),
        ("Bland-Altman lower limit", absolute.lower_limit, 1),
        ("Bland-Altman upper limit", absolute.upper_limit, 1),
        ("relative bias, %", relative.bias, 1),
        ("relative lower limit, %", relative.lower_limit, 1),
        ("relative upper limit, %", relative.upper_limit, 1),
        ("weighted kappa of the risk category", scores.kappa, 3),
        ("risk category right", scores.category_accuracy, 3),
        ("score 0 where the reference is 0", summary.zero_found, 3),
        ("score above 0 where the reference is", summary.calcium_found, 3),
    ]
    if summary.aortic_and_mitral is not None:
        figures.append(("aortic and mitral calcium counted, part", summary.aortic_and_mitral, 4))
    if summary.calcium_outside_region is not None:
        figures.append(
            ("calcium outside of the heart region, part", summary.calcium_outside_region, 4)
        )
    return figures


def _agreement_rows(summary: EvaluationSummary) -> list[tuple[str, ...]]:
    return [
        (
            name,
            value_text(estimate.value, digits),
            interval_text(estimate, digits),
            str(estimate.n),
        )
        for name, estimate, digits in agreement_figures(summary)
    ]


def _undefined(summary: EvaluationSummary) -> list[str]:
    reasons = [
        f"- {name}: {estimate.reason}."
        for name, estimate, _ in agreement_figures(summary)
        if estimate.reason is not None
    ]
    return ["Not given:\n\n" + "\n".join(reasons)] if reasons else []


def _confusion(
    corner: str, names: Sequence[str], counts: Sequence[Sequence[float]], digits: int
) -> str:
    return _table(
        (corner, *names),
        [
            (name, *(value_text(count, digits) for count in row))
            for name, row in zip(names, counts, strict=True)
        ],
    )


def _arteries(summary: EvaluationSummary) -> list[str]:
    if summary.arteries is None:
        return ["## Arteries", "Reference or model do not tell the arteries apart."]
    rows = [
        (
            one.artery,
            str(one.calcified),
            estimate_text(one.voxel_f1),
            estimate_text(one.lesion_sensitivity),
            estimate_text(one.icc),
            estimate_text(one.bias, 1),
            str(one.icc.n),
        )
        for one in summary.arteries
    ]
    heading = (
        "artery", "scans with calcium", "voxel F1", "lesion sensitivity", "ICC(A,1)", "bias",
        "patients",
    )  # fmt: skip
    return ["## Arteries", _table(heading, rows), *_naming(summary.naming)]


def _naming(naming: ArteryNaming | None) -> list[str]:
    if naming is None:
        return []
    told = ", ".join(
        f"{name} {estimate_text(estimate)}" for name, estimate in naming.by_artery.items()
    )
    sentence = (
        "Of the calcium that both see, by volume, the model gives "
        f"{estimate_text(naming.right)} to the artery of the reference ({told}). Volume in mm3:"
    )
    return [
        sentence,
        _confusion("reference \\ model", naming.arteries, naming.volume_mm3, digits=0),
    ]


def _false_positives(summary: EvaluationSummary) -> list[str]:
    if summary.sources is None:
        return []
    rows = [
        (
            one.source,
            str(one.scans),
            str(one.marked_voxels),
            value_text(one.marked_volume_mm3, 0),
            value_text(one.agatston_score, 0),
            percent_text(one.agatston_part),
            estimate_text(one.counted_part, 4),
            NO_FIGURE if one.counted_part is None else str(one.counted_part.n),
        )
        for one in summary.sources
    ]
    heading = (
        "what was marked", "scans", "voxels", "mm3", "Agatston", "part of all scores",
        "part of its volume that was marked", "patients who have it",
    )  # fmt: skip
    return [
        "## What the model calls coronary calcium",
        f"All but the line `{CALCIUM}` is false. The volume of a kind is that of at least 130 HU.",
        _table(heading, rows),
    ]


def _strata(summary: EvaluationSummary) -> list[str]:
    if not summary.strata:
        return []
    rows = []
    last = None
    for one in summary.strata:
        rows.append(
            (
                "" if one.stratum == last else one.stratum,
                one.group,
                str(one.scans),
                estimate_text(one.voxel_f1),
                estimate_text(one.lesion_sensitivity),
                estimate_text(one.icc),
                estimate_text(one.kappa),
                estimate_text(one.category_accuracy),
            )
        )
        last = one.stratum
    heading = (
        "by", "group", "scans", "voxel F1", "lesion sensitivity", "ICC(A,1)", "kappa",
        "category right",
    )  # fmt: skip
    return ["## By group", _table(heading, rows)]


def _published(summary: EvaluationSummary) -> str:
    rows = [
        (
            f"**{summary.model.name} {summary.model.version}**",
            f"{summary.data}, n = {summary.patient_count}",
            *(
                estimate_text(summary.main_figures[name])
                for name in ("voxel_f1", "icc", "kappa", "category_accuracy")
            ),
            "this page",
        )
    ]
    rows += [
        (
            one.method,
            one.data,
            value_text(one.voxel_f1, 2),
            value_text(one.icc, 3),
            value_text(one.kappa, 2),
            value_text(one.category_accuracy, 2),
            one.source,
        )
        for one in PUBLISHED
    ]
    heading = ("method", "data", "voxel F1", "ICC", "kappa", "category right", "source")
    readers = "\n".join(f"- {finding} ({source})" for finding, source in HUMAN_REPEATABILITY)
    return (
        "Other patients, other references and other rules stand behind each line: they say what is "
        "usual, not who is better.\n\n" + _table(heading, rows) + "\n\nReaders and scanners:\n\n"
        f"{readers}"
    )


def _worst_cases(pictures: Mapping[str, str]) -> list[str]:
    if not pictures:
        return []
    shown = [f"{caption}\n\n![{caption}]({name})" for caption, name in pictures.items()]
    return ["## Worst cases", "Left the reference, right the model.", *shown]


def _cases(cases: Sequence[CaseFigures]) -> str:
    rows = [
        (
            case.case_id,
            {True: "yes", False: "no", None: NO_FIGURE}[case.is_ecg_gated],
            value_text(case.spacing_between_slices_mm, 2),
            NO_FIGURE if case.voxels is None else value_text(case.voxels.f1),
            value_text(case.reference_agatston_score, 1),
            value_text(case.agatston_score, 1),
            case.reference_risk_category
            if case.is_category_right
            else f"{case.reference_risk_category} -> {case.risk_category}",
        )
        for case in cases
    ]
    heading = ("case", "gated", "spacing, mm", "voxel F1", "reference", "model", "category")
    return _table(heading, rows)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; columns of words are aligned to the left, columns of numbers to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rules = [
        "---" if any(cell[:1].isalpha() or cell[:2] == "**" for cell in column) else "---:"
        for column in zip(*cells, strict=True)
    ] or ["---"] * len(heading)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, rules, *cells))
