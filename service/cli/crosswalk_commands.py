"""`cacscore crosswalk`: from pseudonyms back to people, for whoever holds the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.application.access import DEFAULT_TENANT, Principal, Scope, check_tenant
from service.application.crosswalk import key_bytes, new_key
from service.application.errors import PseudonymNotFound
from service.application.report_terms import INTENDED_USE
from service.cli.console import print_json, say, stdout
from service.cli.outcome import EXIT_CODES_HELP, UsageMistake, needs_extra

if TYPE_CHECKING:
    from service.settings import Settings

crosswalk_app = typer.Typer(
    no_args_is_help=True,
    help="Whom pseudonyms stand for, where uploads are de-identified. Needs the database and "
    "CACSCORE_DEIDENTIFY_KEY; there is no way to ask over the network.",
    rich_markup_mode="markdown",
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@crosswalk_app.command(
    "new-key",
    epilog=EXIT_CODES_HELP,
    help=f"""Print a new key for CACSCORE_DEIDENTIFY_KEY; nothing is stored.

    Whoever has it can undo the pseudonyms; without it nobody can, and further studies of a patient
    get another pseudonym. Keep it apart from database and backups.

    {INTENDED_USE}
    """,
)
def print_new_key() -> None:
    """Print a new key."""
    stdout.print(new_key(), markup=False, soft_wrap=True)


@crosswalk_app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Show whom a pseudonym of a patient, study or series stands for.

    The question is written to the audit log; whom it was about is not.

    Examples:

    - `cacscore crosswalk find PJ5X3S2QWMB7ZQ4TA`
    - `cacscore crosswalk find 2.25.213428767137219983 --json`

    {INTENDED_USE}
    """,
)
def find(
    pseudonym: Annotated[
        str, typer.Argument(metavar="PSEUDONYM", help="Patient ID, study or series UID.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Find who is behind a pseudonym."""
    settings, key = _settings_and_key()
    with needs_extra("api"):
        from service.adapters.database.audit_log import SqlAuditLog  # noqa: PLC0415
        from service.adapters.database.crosswalk import SqlCrosswalk  # noqa: PLC0415
        from service.adapters.database.engine import open_engine  # noqa: PLC0415
        from service.adapters.database.schema import require_current_schema  # noqa: PLC0415
    engine = open_engine(settings.record_url)
    require_current_schema(engine)
    found = SqlCrosswalk(engine, key).find(pseudonym)
    audit = SqlAuditLog(engine)
    for one in found:
        # Before it is shown: what cannot be written down is not told.
        audit.append(
            Principal("command line", one.tenant, frozenset({Scope.ADMIN})),
            "crosswalk find",
            one.study_id,
        )
    if not found:
        raise PseudonymNotFound
    if as_json:
        print_json(
            {
                "pseudonym": pseudonym,
                "kind": found[0].entry.kind,
                "original": found[0].entry.original,
                "tenant": found[0].tenant,
                "study_ids": [one.study_id for one in found],
            }
        )
        return
    stdout.print(f"{found[0].entry.kind}: {found[0].entry.original}", markup=False, soft_wrap=True)
    say(f"In {len(found)} studies of tenant {found[0].tenant}.")


@crosswalk_app.command(
    epilog=EXIT_CODES_HELP,
    help=f"""Show the pseudonym of a Patient ID or UID, whether it was ever seen or not.

    {INTENDED_USE}
    """,
)
def pseudonym(
    original: Annotated[str, typer.Argument(metavar="ORIGINAL", help="A Patient ID, or a UID.")],
    tenant: Annotated[str, typer.Option(help="Each tenant has pseudonyms of its own.")] = (
        DEFAULT_TENANT
    ),
    is_uid: Annotated[
        bool, typer.Option("--uid", help="It is a UID of a study, series, instance or frame.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compute a pseudonym."""
    check_tenant(tenant)
    _, key = _settings_and_key()
    from calcium_scoring.dicom.pseudonyms import Pseudonyms  # noqa: PLC0415 - slow to import

    names = Pseudonyms(key, tenant=tenant)
    made = names.uid(original) if is_uid else names.patient_id(original)
    if as_json:
        print_json({"pseudonym": made, "tenant": tenant})
    else:
        stdout.print(made, markup=False, soft_wrap=True)


def _settings_and_key() -> tuple[Settings, bytes]:
    with needs_extra("api"):
        from service.cli.environment import settings_from_environment  # noqa: PLC0415
    settings = settings_from_environment()
    if settings.deidentify_key is None:
        raise UsageMistake("Set CACSCORE_DEIDENTIFY_KEY to the key of the pseudonyms.")
    return settings, key_bytes(settings.deidentify_key.get_secret_value())
