"""`cacscore cancel`, `retry` and `rerun`: what can be done about a study that was sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from calcium_scoring.scoring.conventions import ConventionName
from calcium_scoring.scoring.tube_voltage import TubeVoltageTableName
from service.application.jobs import Priority
from service.application.report_terms import INTENDED_USE
from service.cli.outcome import EXIT_CODES_HELP, needs_extra

if TYPE_CHECKING:
    # Only when a command runs: the client needs httpx.
    from cacscore_client import CacscoreClient
    from cacscore_client.documents import RerunRequest, Study

UrlArgument = Annotated[
    str, typer.Argument(metavar="URL", help="Where the service is: http://host:port")
]
StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY", help="Id of the study, as `submit` printed it.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the study as JSON.")]


def cancel(url: UrlArgument, study: StudyArgument, as_json: JsonOption = False) -> None:
    """Cancel the scoring of a study."""
    _ask(url, lambda client: client.cancel(study), wants_json=as_json)


def retry(url: UrlArgument, study: StudyArgument, as_json: JsonOption = False) -> None:
    """Score a cancelled study again, or one that the service gave up."""
    _ask(url, lambda client: client.retry(study), wants_json=as_json)


def rerun(
    url: UrlArgument,
    study: StudyArgument,
    protocol: Annotated[
        ConventionName | None,
        typer.Option(help="Convention of the score; by default that of the service."),
    ] = None,
    tube_voltage_table: Annotated[
        TubeVoltageTableName | None,
        typer.Option(help="Table of thresholds; by default that of the service."),
    ] = None,
    priority: Annotated[
        Priority, typer.Option(help="stat is scored before every routine study.")
    ] = Priority.ROUTINE,
    as_json: JsonOption = False,
) -> None:
    """Score a study once more."""
    wish: RerunRequest = {"priority": priority.value}
    if protocol is not None:
        wish["protocol"] = protocol
    if tube_voltage_table is not None:
        wish["tube_voltage_table"] = tube_voltage_table
    _ask(url, lambda client: client.rerun(study, wish), wants_json=as_json)


def push(
    url: UrlArgument,
    study: StudyArgument,
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAME", help="Destination in the settings of the service."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Send the results of a study to a destination."""
    _ask(url, lambda client: client.push(study, to), wants_json=as_json)


def add_job_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(
        epilog=EXIT_CODES_HELP,
        help=f"""Cancel the scoring of a study: at once while it waits, soon while it runs.

        The upload stays; `cacscore retry` begins again.

        Example: `cacscore cancel http://127.0.0.1:8000 4oymiquy7qobjgx36tejs35zeq`

        {INTENDED_USE}
        """,
    )(cancel)
    app.command(
        epilog=EXIT_CODES_HELP,
        help=f"""Score a cancelled study again, or one that the service gave up.

        A study that was refused is not scored again: its upload is not kept.

        Example: `cacscore retry http://127.0.0.1:8000 4oymiquy7qobjgx36tejs35zeq`

        {INTENDED_USE}
        """,
    )(retry)
    app.command(
        epilog=EXIT_CODES_HELP,
        help=f"""Score a study once more, by another protocol or the model that is there now.

        The new result is a version of its own; the earlier ones stay readable
        (`GET /studies/STUDY/results`).

        Example: `cacscore rerun http://127.0.0.1:8000 4oymiquy7qobjgx36tejs35zeq --protocol ge`

        {INTENDED_USE}
        """,
    )(rerun)
    app.command(
        epilog=EXIT_CODES_HELP,
        help=f"""Send the results of a study to a destination: to a PACS, by C-STORE or STOW-RS.

        The service's settings name destinations; results go to most of them by themselves. Sent
        again, the objects have the same UIDs: the archive keeps each once. How far it is:
        `GET /studies/STUDY`, in `pushes`.

        Example: `cacscore push http://127.0.0.1:8000 4oymiquy7qobjgx36tejs35zeq --to pacs`

        {INTENDED_USE}
        """,
    )(push)


def _ask(url: str, what: Callable[[CacscoreClient], Study], *, wants_json: bool) -> None:
    with needs_extra("client"):
        from service.cli.client import service_client  # noqa: PLC0415
        from service.cli.submit import print_study  # noqa: PLC0415
    with service_client(url) as client:
        print_study(client.url, what(client), wants_json=wants_json)
