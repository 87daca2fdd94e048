"""`cacscore db`: which schema the record has, and bringing it to today's."""

from __future__ import annotations

from typing import Annotated

import typer

from service.application.report_terms import INTENDED_USE
from service.cli.console import print_json, say, stdout
from service.cli.outcome import EXIT_CODES_HELP, CommandFailed, needs_extra

db_app = typer.Typer(
    no_args_is_help=True,
    help="The database of a service (CACSCORE_DATABASE_URL, or the file in CACSCORE_DATA_DIR).",
    rich_markup_mode="markdown",
)


@db_app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Bring the database to the schema of this release.

    Gateways do the same when they start; several may run at once. Make a backup first: there is no
    way back to the schema of an older release.

    {INTENDED_USE}
    """,
)
def upgrade() -> None:
    """Upgrade the schema."""
    with needs_extra("api"):
        from service.adapters.database.engine import open_engine  # noqa: PLC0415
        from service.adapters.database.schema import upgrade_schema  # noqa: PLC0415
        from service.cli.environment import settings_from_environment  # noqa: PLC0415
    settings = settings_from_environment()
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = upgrade_schema(open_engine(settings.record_url))
    if before.is_current:
        say(f"The database has schema {before.needed} already.")
    else:
        say(f"The database had schema {before.found or 'none'} and now has {before.needed}.")


@db_app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Say which schema the database has and which one this release needs.

    Exit status 0: they are the same. 1: they are not, or the database cannot be read.

    {INTENDED_USE}
    """,
)
def current(
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Show the schema."""
    with needs_extra("api"):
        from service.adapters.database.engine import open_engine  # noqa: PLC0415
        from service.adapters.database.schema import schema_state  # noqa: PLC0415
        from service.cli.environment import settings_from_environment  # noqa: PLC0415
    state = schema_state(open_engine(settings_from_environment().record_url))
    if as_json:
        print_json({"found": state.found, "needed": state.needed, "is_current": state.is_current})
    else:
        stdout.print(f"found {state.found or 'none'}, needed {state.needed}", markup=False)
    if not state.is_current:
        raise CommandFailed("The schema is not that of this release; see `cacscore db upgrade`.")
