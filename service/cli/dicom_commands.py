"""Commands for the DICOM network."""

from __future__ import annotations

from typing import Annotated

import typer

from service.application.report_terms import INTENDED_USE
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
    app.command(
        epilog=EXIT_CODES_HELP,
        help=f"""Check the installation, or with `--pacs` or `--stow` the whole way of a scan.

        Without them: settings, record, broker, artefact store, model, worker, key and rules, as
        this machine sees them. With one of them a simulated patient is sent to the archive; the
        service must score it as this machine does, SEG and SR must come back to the archive, and
        what they say must be that score. The sheet ends with what the archive offers. The simulated
        patient stays there: remove it afterwards.

        Examples:

        - `cacscore doctor`
        - `cacscore doctor --pacs pacs.example.org:104 --aet ARCHIVE --url http://cacscore:8000`
        - `cacscore doctor --stow https://pacs.example.org/dicom-web --url http://cacscore:8000`
        - `cacscore doctor --pacs 127.0.0.1:11112 --aet CACSCORE --no-return` (straight to the node)

        {INTENDED_USE}
        """,
    )(doctor)


def dicom_node() -> None:
    """Receive series by C-STORE."""
    with needs_extra("dicom-network"):
        from service.cli.dicom_node import run_dicom_node  # noqa: PLC0415
    run_dicom_node()


def doctor(
    pacs: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Archive that a scan is sent to.")
    ] = None,
    aet: Annotated[str, typer.Option(help="AE title of the archive.")] = "ARCHIVE",
    calling_aet: Annotated[str, typer.Option(help="AE title of this program.")] = "CACSCORE",
    stow: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="DICOMweb service that the scan is sent to by STOW-RS, instead of --pacs. Its "
            "secret is in CACSCORE_STOW_TOKEN, or in CACSCORE_STOW_USERNAME and "
            "CACSCORE_STOW_PASSWORD.",
        ),
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="DICOMweb service that the results are fetched from, by QIDO-RS and WADO-RS; "
            "without it that of --stow, and with --pacs C-GET. Its secret is in "
            "CACSCORE_DICOMWEB_TOKEN, or in CACSCORE_DICOMWEB_USERNAME and "
            "CACSCORE_DICOMWEB_PASSWORD.",
        ),
    ] = None,
    url: Annotated[
        str, typer.Option(help="URL of the service; its key is in CACSCORE_API_KEY.")
    ] = "http://127.0.0.1:8000",
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for each of score and results.", min=1)
    ] = 600.0,
    expects_return: Annotated[
        bool, typer.Option("--return/--no-return", help="Must SEG and SR come to the archive?")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the sheet as JSON.")] = False,
) -> None:
    """Check the installation, or the way of a scan."""
    with needs_extra("embedded"):
        from service.cli.doctor import host_and_port, run_doctor  # noqa: PLC0415
        from service.cli.doctor_path import (  # noqa: PLC0415
            DicomNode,
            SitePath,
            dicomweb_place,
        )
    sent_by_stow = None if stow is None else dicomweb_place(stow, "CACSCORE_STOW")
    path = None
    if (pacs, stow, dicomweb) != (None, None, None):
        path = SitePath(
            url,
            timeout,
            expects_return,
            pacs=None if pacs is None else DicomNode(*host_and_port(pacs), aet, calling_aet),
            stow=sent_by_stow,
            dicomweb=(
                sent_by_stow if dicomweb is None else dicomweb_place(dicomweb, "CACSCORE_DICOMWEB")
            ),
        )
    with needs_extra("dicom-network"):
        run_doctor(path, wants_json=as_json)
