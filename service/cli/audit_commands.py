"""`cacscore audit`: who did what to which study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.application.audit import verify_chain
from service.application.report_terms import INTENDED_USE
from service.cli.console import print_json, say, stdout
from service.cli.outcome import EXIT_CODES_HELP, CommandFailed, needs_extra

if TYPE_CHECKING:
    from service.adapters.database.audit_log import SqlAuditLog

audit_app = typer.Typer(
    no_args_is_help=True,
    help="The audit log of a service: who did what to which study, in a chain of hashes.",
    rich_markup_mode="markdown",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@audit_app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Check that no entry was changed, removed or slipped in.

    Entries that were cut off at the end show only against a hash that was kept elsewhere: note the
    last one now and then, and give it with `--contains`.

    Exit status 0: the chain is whole. 1: it is not.

    {INTENDED_USE}
    """,
)
def verify(
    contains: Annotated[
        str | None, typer.Option(metavar="SHA256", help="A hash that must be in the chain.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the chain."""
    log = _log()
    verdict = verify_chain(log.entries())
    is_contained = contains is None or any(one.sha256 == contains for one in log.entries())
    if as_json:
        print_json(
            {
                "is_sound": verdict.is_sound and is_contained,
                "entry_count": verdict.entry_count,
                "last_sha256": verdict.last_sha256,
                "broken_at": verdict.broken_at,
                "contains": None if contains is None else is_contained,
            }
        )
    if not verdict.is_sound:
        raise CommandFailed(
            f"The audit log is broken at entry {verdict.broken_at}: it was changed there."
        )
    if not is_contained:
        raise CommandFailed("The audit log does not hold that hash: its end was cut off.")
    if not as_json:
        say(f"{verdict.entry_count} entries, the chain is whole. The last hash, to keep elsewhere:")
        stdout.print(verdict.last_sha256, markup=False)


@audit_app.command(
    epilog=EXIT_CODES_HELP, help=f"Print the entries, the oldest first.\n\n{INTENDED_USE}"
)
def show(
    study: Annotated[str | None, typer.Option(metavar="ID", help="Of one study only.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the entries."""
    shown = [one for one in _log().entries() if study in (None, one.study_id)]
    rows = [
        {
            "number": one.number,
            "at": one.at.isoformat(),
            "actor": one.actor,
            "tenant": one.tenant,
            "action": one.action,
            "study_id": one.study_id,
            "sha256": one.sha256,
        }
        for one in shown
    ]
    if as_json:
        print_json({"entries": rows})
        return
    for row in rows:
        words = [str(row[name] or "-") for name in ("number", "at", "tenant", "actor", "action")]
        stdout.print("  ".join([*words, str(row["study_id"] or "-")]), markup=False, soft_wrap=True)


def _log() -> SqlAuditLog:
    with needs_extra("api"):
        from service.adapters.database.audit_log import SqlAuditLog  # noqa: PLC0415
        from service.adapters.database.engine import open_engine  # noqa: PLC0415
        from service.adapters.database.schema import require_current_schema  # noqa: PLC0415
        from service.cli.environment import settings_from_environment  # noqa: PLC0415
    engine = open_engine(settings_from_environment().record_url)
    require_current_schema(engine)
    return SqlAuditLog(engine)
