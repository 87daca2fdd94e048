"""What an archive offers, as it was measured: the conformance part of the doctor's sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from calcium_scoring.dicom.acceptance import uid_name
from service.cli.doctor_path import SiteSheet

NAMES_SHOWN: Final = 2
"""Further transfer syntaxes are counted only; ``--json`` has all of them. Our choice."""


def offer_document(site: SiteSheet) -> dict[str, Any]:
    """Return as JSON values what the node and the DICOMweb services offer."""
    offer = site.offer
    return {
        "node": None
        if offer is None
        else {
            "implementation_class_uid": offer.implementation_class_uid,
            "implementation_version_name": offer.implementation_version_name,
            "max_pdu_bytes": offer.max_pdu_bytes or None,
            "services": [
                {
                    "name": one.name,
                    "sop_class_uid": one.sop_class_uid,
                    "is_accepted": one.refusal is None,
                    "refusal": one.refusal,
                    "transfer_syntaxes": [
                        {"uid": uid, "name": uid_name(uid)} for uid in one.transfer_syntaxes
                    ],
                }
                for one in offer.services
            ],
        },
        "dicomweb": [{"url": url, **transactions} for url, transactions in site.web.items()],
    }


def print_offer(site: SiteSheet, console: Console) -> None:
    """Print the same as tables."""
    offer = site.offer
    if offer is not None:
        longest = f"{offer.max_pdu_bytes} bytes" if offer.max_pdu_bytes else "no limit"
        console.print("\nWhat the archive offers over associations", style="bold")
        console.print(
            f"Implementation {offer.implementation_version_name or '-'} "
            f"({offer.implementation_class_uid or '-'}); longest PDU: {longest}",
            markup=False,
        )
        table = _table("", "SOP class", "Transfer syntaxes")
        for one in offer.services:
            if one.refusal is None:
                table.add_row("yes", _short(one.name), _named(one.transfer_syntaxes))
            else:
                table.add_row("[yellow]no[/]", _short(one.name), one.refusal)
        console.print(table)
    for url, transactions in site.web.items():
        console.print(f"\nWhat {url} offers", style="bold", markup=False)
        table = _table("", "Transaction")
        for name, found in transactions.items():
            table.add_row(found, name)
        console.print(table)
    if offer is not None or site.web:
        console.print()


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _short(name: str) -> str:
    return name.replace(" Information Model", "").replace(" SOP Class", "")


def _named(uids: Sequence[str]) -> str:
    """Return the names of the first transfer syntaxes, and how many more there are."""
    shown = ", ".join(uid_name(uid) for uid in uids[:NAMES_SHOWN])
    hidden = len(uids) - NAMES_SHOWN
    return f"{shown} and {hidden} more" if hidden > 0 else shown
