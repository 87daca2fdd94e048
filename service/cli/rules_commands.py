"""`cacscore rules`: which series are scored, and trying that out before the scanner does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from service.application.report_terms import INTENDED_USE
from service.cli.console import print_json, stdout
from service.cli.outcome import EXIT_CODES_HELP, needs_extra

if TYPE_CHECKING:
    from calcium_scoring.dicom.series_facts import SeriesFacts
    from service.application.routing import Decision, Rules

rules_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Routing rules: which of the series that `cacscore dicom-node` receives are scored.",
)

_EXTRA: Final = "dicom-network"

RulesArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RULES",
        help="YAML file with the rules, or `default` for those that are built in.",
    ),
]
DestinationsOption = Annotated[
    Path | None,
    typer.Option(
        "--destinations",
        envvar="CACSCORE_DESTINATIONS_FILE",
        help="YAML file with the destinations; a rule that names another one is a mistake. "
        "Without it names are not checked.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


@rules_app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Check a file of rules; every mistake is named with its line.

    {INTENDED_USE}
    """,
)
def check(
    rules: RulesArgument,
    known_destinations: DestinationsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a file of rules."""
    found = _load(rules, known_destinations)
    destinations = sorted(found.destinations())
    if as_json:
        print_json(
            {
                "rules": [rule.name for rule in found.rules],
                "destinations": destinations,
                "intended_use": INTENDED_USE,
            }
        )
        return
    stdout.print(f"{rules}: {len(found.rules)} rules, no mistake.", markup=False, soft_wrap=True)
    if destinations:
        unchecked = "" if known_destinations else " Whether there are such was not checked."
        stdout.print(
            f"They send results to: {', '.join(destinations)}.{unchecked}",
            markup=False,
            soft_wrap=True,
        )
    stdout.print(INTENDED_USE, markup=False, soft_wrap=True)


@rules_app.command(
    "test",
    epilog=EXIT_CODES_HELP,
    help=f"""Show for each series of files or folders which rule decides and why; nothing is sent.

    Examples:

    - `cacscore rules test default study/`
    - `cacscore rules test rules.yaml study.zip --calling-ae-title CT1 --explain`

    {INTENDED_USE}
    """,
)
def try_rules(
    rules: RulesArgument,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="DICOM files, folders or zip archives.", exists=True
        ),
    ],
    calling_ae_title: Annotated[
        str | None, typer.Option(help="AE title of the sender, for rules that ask for it.")
    ] = None,
    called_ae_title: Annotated[
        str | None, typer.Option(help="AE title that is called, for rules that ask for it.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say also why each rule above did not fit.")
    ] = False,
    known_destinations: DestinationsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try rules on series."""
    found = _load(rules, known_destinations)
    with needs_extra(_EXTRA), tempfile.TemporaryDirectory(prefix="cacscore-") as folder:
        from calcium_scoring.dicom.series_facts import series_facts  # noqa: PLC0415
        from calcium_scoring.upload.archive import files_of_upload  # noqa: PLC0415

        files = [
            file.path
            for number, path in enumerate(paths)
            for file in files_of_upload(path, Path(folder) / str(number))
        ]
        series, left_out = series_facts(files)
    arrival: dict[str, tuple[str, ...]] = {
        "calling_ae_title": (calling_ae_title,) if calling_ae_title else (),
        "called_ae_title": (called_ae_title,) if called_ae_title else (),
    }
    decided = [(one, found.decide({**one.values, **arrival})) for one in series]
    if as_json:
        print_json(
            {
                "series": [_document(one, decision) for one, decision in decided],
                "unreadable_file_count": len(left_out),
                "intended_use": INTENDED_USE,
            }
        )
        return
    stdout.print(_table(decided, explains=explain))
    scored = sum(decision.is_scored for _, decision in decided)
    stdout.print(
        f"{scored} of {len(decided)} series would be scored; {len(left_out)} of {len(files)} files "
        "are not readable as DICOM images.",
        markup=False,
    )
    stdout.print(INTENDED_USE, markup=False, soft_wrap=True)


@rules_app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Print the rules that are built in, to begin a file of your own.

    Example: `cacscore rules default > rules.yaml`

    {INTENDED_USE}
    """,
)
def default() -> None:
    """Print the default rules."""
    with needs_extra(_EXTRA):
        from service.adapters.rules.yaml_rules import DEFAULT_RULES_FILE  # noqa: PLC0415
    stdout.out(DEFAULT_RULES_FILE.read_text(encoding="utf-8"), end="")


def _load(rules: Path, destinations: Path | None) -> Rules:
    with needs_extra(_EXTRA):
        from service.adapters.destinations.places import read_destinations  # noqa: PLC0415
        from service.adapters.rules.yaml_rules import load_rules  # noqa: PLC0415
    known = None if destinations is None else read_destinations(destinations).terms
    return load_rules(None if rules == Path("default") else rules, known)


def _name(series: SeriesFacts) -> str:
    texts = series.values.get("series_description")
    name = "\\".join(texts) if isinstance(texts, tuple) and texts else "without description"
    return "".join(one if one.isprintable() else "?" for one in name)


def _table(decided: list[tuple[SeriesFacts, Decision]], *, explains: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("Series", "Slices", "What becomes of it", "Rule", "Why"):
        table.add_column(heading, overflow="fold")
    for series, decision in decided:
        rule = decision.rule
        why = [decision.reason]
        if explains:
            why += [f"not {name}: {objection}" for name, objection in decision.passed_over]
        table.add_row(
            *(
                one.replace("[", r"\[")
                for one in (
                    _name(series),
                    f"{series.values['slice_count']:g}",
                    _fate(decision),
                    "-" if rule is None else rule.name,
                    "\n".join(why),
                )
            )
        )
    return table


def _fate(decision: Decision) -> str:
    rule = decision.rule
    if rule is None or not decision.is_scored:
        return "ignored"
    said = [
        "scored",
        *([] if rule.priority is None else [f"priority {rule.priority}"]),
        *([] if rule.tenant is None else [f"tenant {rule.tenant}"]),
        *([] if rule.destinations is None else [f"to {', '.join(rule.destinations) or 'nobody'}"]),
    ]
    return ", ".join(said)


def _document(series: SeriesFacts, decision: Decision) -> dict[str, Any]:
    rule = decision.rule
    return {
        "series_description": _name(series),
        "slice_count": int(float(str(series.values["slice_count"]))),
        "action": "score" if decision.is_scored else "ignore",
        "rule": None if rule is None else rule.name,
        "reason": decision.reason,
        "priority": None if rule is None or rule.priority is None else str(rule.priority),
        "tenant": None if rule is None else rule.tenant,
        "destinations": None
        if rule is None or rule.destinations is None
        else list(rule.destinations),
        "passed_over": [
            {"rule": name, "reason": objection} for name, objection in decision.passed_over
        ],
    }
