"""`cacscore keys`: who may use a service."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.application.access import (
    DEFAULT_TENANT,
    ApiKey,
    Scope,
    create_key,
    revoke_key,
    rotate_key,
    utc_now,
)
from service.application.report_terms import INTENDED_USE
from service.cli.console import print_json, say, stdout
from service.cli.outcome import EXIT_CODES_HELP, needs_extra

if TYPE_CHECKING:
    from service.adapters.database.key_store import SqlKeyStore

keys_app = typer.Typer(
    no_args_is_help=True,
    help="API keys of a service (in its database: CACSCORE_DATABASE_URL, or the file in "
    "CACSCORE_DATA_DIR). Whoever can write the database can make keys.",
    rich_markup_mode="markdown",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
KeyIdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the key; see `list`.")]


@keys_app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Make a key and print it, once: only a hash of it is kept.

    Examples:

    - `cacscore keys create --name "PACS router" --tenant radiology --scope write`
    - `cacscore keys create --name viewer --scope read --expires-days 90`

    {INTENDED_USE}
    """,
)
def create(
    name: Annotated[
        str, typer.Option(help="What the key is for; shown by `list`.", metavar="TEXT")
    ],
    tenant: Annotated[
        str, typer.Option(help="Whose studies it opens; nobody else sees them.")
    ] = DEFAULT_TENANT,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="read, write (and read) or admin (and both). Default: write."),
    ] = None,
    expires_days: Annotated[
        float | None, typer.Option(help="Days until it ends; for ever where not given.", min=0.01)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key."""
    key, text = create_key(
        _store(),
        name=name[:100],
        tenant=tenant,
        scopes=scope or [Scope.WRITE],
        lifetime=None if expires_days is None else timedelta(days=expires_days),
    )
    _show_new(key, text, wants_json=as_json)


@keys_app.command(
    "list", epilog=EXIT_CODES_HELP, help=f"List all keys, without their secrets.\n\n{INTENDED_USE}"
)
def list_keys(as_json: JsonOption = False) -> None:
    """List all keys."""
    keys = _store().all()
    if as_json:
        print_json({"keys": [_document(key) for key in keys]})
        return
    for key in keys:
        shown = _document(key)
        words = (shown["id"], shown["state"], shown["tenant"], ",".join(shown["scopes"]), key.name)
        stdout.print("  ".join(words), markup=False, soft_wrap=True)
    if not keys:
        say("There are no keys; `cacscore keys create` makes one.")


@keys_app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Make a successor of a key with the same rights; the old one ends after the overlap.

    {INTENDED_USE}
    """,
)
def rotate(
    key_id: KeyIdArgument,
    overlap_hours: Annotated[
        float, typer.Option(help="How long the old key still opens.", min=0.0)
    ] = 24.0,
    as_json: JsonOption = False,
) -> None:
    """Rotate a key."""
    key, text = rotate_key(_store(), key_id, overlap=timedelta(hours=overlap_hours))
    _show_new(key, text, wants_json=as_json)


@keys_app.command(epilog=EXIT_CODES_HELP, help=f"Close a key at once, for good.\n\n{INTENDED_USE}")
def revoke(key_id: KeyIdArgument, as_json: JsonOption = False) -> None:
    """Revoke a key."""
    key = revoke_key(_store(), key_id)
    if as_json:
        print_json(_document(key))
    else:
        say(f"The key {key.key_id} ({key.name}) opens nothing any more.")


def _store() -> SqlKeyStore:
    with needs_extra("api"):
        from service.adapters.database.engine import open_engine  # noqa: PLC0415
        from service.adapters.database.key_store import SqlKeyStore  # noqa: PLC0415
        from service.adapters.database.schema import upgrade_schema  # noqa: PLC0415
        from service.cli.environment import settings_from_environment  # noqa: PLC0415
    settings = settings_from_environment()
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = open_engine(settings.record_url)
    # The first key is made before the first gateway is started.
    upgrade_schema(engine)
    return SqlKeyStore(engine)


def _show_new(key: ApiKey, text: str, *, wants_json: bool) -> None:
    if wants_json:
        print_json({**_document(key), "key": text})
        return
    say(f"Key {key.key_id} of tenant {key.tenant}; it is shown this once:")
    stdout.print(text, markup=False, soft_wrap=True)


def _document(key: ApiKey) -> dict[str, Any]:
    now = utc_now()
    state = "valid" if key.is_valid_at(now) else "expired"
    return {
        "id": key.key_id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": sorted(key.scopes),
        "state": "revoked" if key.revoked_at is not None else state,
        "created_at": key.created_at.isoformat(),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
    }


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
