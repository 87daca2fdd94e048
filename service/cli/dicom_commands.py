"""Commands for the DICOM network."""

from __future__ import annotations

import typer

from service.application.report_document import INTENDED_USE
from service.cli.outcome import EXIT_CODES_HELP, needs_extra


def add_dicom_commands(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        "dicom-node",
        epilog=EXIT_CODES_HELP,
        help=f"""Receive CT series by C-STORE and have them scored, beside a running service.

        Everything is set by environment variables (CACSCORE_DICOM_...); the service must share
        CACSCORE_DATA_DIR, or CACSCORE_DATABASE_URL and the bucket, and CACSCORE_BROKER_URL. Which
        series are scored say the rules of CACSCORE_RULES_FILE; see `cacscore rules`.

        Examples:

        - `cacscore dicom-node`
        - `CACSCORE_DICOM_HOST=0.0.0.0 CACSCORE_DICOM_PEERS=10.1.0.0/16 cacscore dicom-node`
        - `echoscu -aec CACSCORE 127.0.0.1 11112` (is it there?)

        {INTENDED_USE}
        """,
    )(dicom_node)


def dicom_node() -> None:
    """Receive series by C-STORE."""
    with needs_extra("dicom-network"):
        from service.cli.dicom_node import run_dicom_node  # noqa: PLC0415
    run_dicom_node()
