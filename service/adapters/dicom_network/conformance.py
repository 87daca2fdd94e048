"""Write docs/dicom-conformance.md: `python -m service.adapters.dicom_network.conformance`.

The statement says what the code does because it is made from it: SOP classes, transfer syntaxes,
limits and statuses are those that the node uses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pynetdicom import build_context

from calcium_scoring.dicom.acceptance import (
    ACCEPTED_SOP_CLASSES,
    ACCEPTED_TRANSFER_SYNTAXES,
    WRITTEN_SOP_CLASSES,
    uid_name,
)
from calcium_scoring.upload.file_head import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from service.adapters.dicom_network.storage_scp import (
    ASSOCIATE_S,
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH,
    LARGEST_PDU_BYTES,
    OUT_OF_RESOURCES,
    SUCCESS,
    VERIFICATION,
    ScpTerms,
)
from service.application.dicom_services import DICOMWEB_SERVICES, SENT_SERVICES
from service.application.incoming_studies import IncomingTerms

STATEMENT_FILE: Final = Path(__file__).parents[3] / "docs" / "dicom-conformance.md"

_STATUSES: Final = (
    (SUCCESS, "Success", "the instance is on the disk of the node"),
    (
        OUT_OF_RESOURCES,
        "Refused: Out of Resources",
        "the disk is full, or the instance or its study is larger than is taken",
    ),
    (
        DOES_NOT_MATCH,
        "Error: Data Set does not match SOP Class",
        "the data set is of another SOP class or instance than the request says",
    ),
    (
        CANNOT_UNDERSTAND,
        "Error: Cannot understand",
        "the data set cannot be read, or has no SOP Class, SOP Instance or Study Instance UID",
    ),
)


def conformance_text() -> str:
    """Return the statement as it is committed."""
    node, incoming = ScpTerms(), IncomingTerms()
    verification = build_context(VERIFICATION).transfer_syntax
    return "\n".join(
        (
            "# DICOM conformance statement",
            "",
            (
                "Made from the code by `make conformance`; a test holds it to that. It follows the "
                "order of PS3.2. Research use only. Not a medical device."
            ),
            "",
            "## Overview",
            "",
            (
                "cacscore receives CT series, scores coronary calcium, and writes the results as "
                "DICOM objects. Over associations it is reached at the node (`cacscore "
                "dicom-node`); over HTTP at the gateway."
            ),
            "",
            *_table(
                ("Service", "SOP class", "Role"),
                (
                    ("Verification", f"{uid_name(VERIFICATION)} `{VERIFICATION}`", "SCP"),
                    *(
                        ("Storage", f"{uid_name(uid)} `{uid}`", "SCP")
                        for uid in ACCEPTED_SOP_CLASSES
                    ),
                    *(
                        (service.name, name, "SCU")
                        for service in SENT_SERVICES
                        for name in service.sop_classes
                    ),
                ),
            ),
            "",
            "## Node: association policy",
            "",
            *_table(
                ("", "Value"),
                (
                    ("Application context", "`1.2.840.10008.3.1.1.1`"),
                    ("Implementation class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
                    ("Implementation version name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
                    (
                        "AE title",
                        f"`{node.ae_title}` (CACSCORE_DICOM_AE_TITLE)",
                    ),
                    ("Port", f"{node.port} (CACSCORE_DICOM_PORT)"),
                    ("Longest PDU received", f"{LARGEST_PDU_BYTES} bytes"),
                    (
                        "Associations at the same time",
                        f"{node.most_associations} (CACSCORE_DICOM_ASSOCIATIONS)",
                    ),
                    ("Asynchronous operations", "none: one operation at a time"),
                    ("Time to ask for an association", f"{ASSOCIATE_S:g} s"),
                    (
                        "Idle association",
                        f"aborted after {node.idle_s:g} s",
                    ),
                    ("Association as initiator", "none"),
                ),
            ),
            "",
            (
                "The called AE title must be that of the node. Calling AE titles "
                "(CACSCORE_DICOM_CALLING_AE_TITLES) and networks (CACSCORE_DICOM_PEERS) can be "
                "limited; "
                "an address that other machines reach needs one of these lists, or certificates of "
                "clients."
            ),
            "",
            "## Node: accepted presentation contexts",
            "",
            (
                "Each of the SOP classes above in each of these transfer syntaxes; Verification in "
                f"{', '.join(map(uid_name, verification))}. Instances are "
                "stored in the transfer syntax in which they were sent."
            ),
            "",
            *_table(
                ("Transfer syntax", "UID"),
                ((uid_name(uid), f"`{uid}`") for uid in ACCEPTED_TRANSFER_SYNTAXES),
            ),
            "",
            "## Node: answers to C-STORE",
            "",
            *_table(
                ("Status", "Meaning", "When"),
                ((f"`{code:04X}`", meaning, when) for code, meaning, when in _STATUSES),
            ),
            "",
            (
                f"A study is complete when nothing of it has come for {incoming.quiet.seconds} s "
                "(CACSCORE_DICOM_QUIET_S), or, with CACSCORE_DICOM_ENDS_WITH_ASSOCIATION, when the "
                "associations that sent it were released. One of more than "
                f"{incoming.study_instances} instances or {incoming.study_bytes} bytes is not "
                "scored. The same instance sent again replaces the one that is there; the same "
                "study sent again is the same study."
            ),
            "",
            "## Node: security",
            "",
            (
                "TLS 1.2 or later with a certificate of the node (CACSCORE_DICOM_TLS_CERTIFICATE, "
                "CACSCORE_DICOM_TLS_KEY), and, with CACSCORE_DICOM_TLS_CLIENT_CA, of its peers. "
                "User identity negotiation is not supported. Received attributes are neither "
                "coerced nor logged."
            ),
            "",
            "## Objects that are written",
            "",
            *_table(
                ("Object", "SOP class"),
                ((what, f"{uid_name(uid)} `{uid}`") for what, uid in WRITTEN_SOP_CLASSES),
            ),
            "",
            (
                "All are in the study of the scored series, with UIDs that follow from series, "
                "network and rules: the same result is never there twice. See "
                "[results](how-to/results.md)."
            ),
            "",
            "## Sending results",
            "",
            *_sent(),
            "",
            "## DICOMweb (PS3.18)",
            "",
            *_dicomweb(),
            "",
        )
    )


def _sent() -> Sequence[str]:
    if not SENT_SERVICES:
        return ("Results are not sent over associations; they are fetched from the gateway.",)
    return _table(
        ("Service", "SOP classes", "Remarks"),
        (
            (service.name, "; ".join(service.sop_classes), service.remarks)
            for service in SENT_SERVICES
        ),
    )


def _dicomweb() -> Sequence[str]:
    if not DICOMWEB_SERVICES:
        return ("No transaction of PS3.18 is offered.",)
    return _table(
        ("Transaction", "Role", "Request", "Media types", "Remarks"),
        (
            (
                service.name,
                service.role,
                f"`{service.request}`",
                ", ".join(f"`{one}`" for one in service.media_types),
                service.remarks,
            )
            for service in DICOMWEB_SERVICES
        ),
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(headings)} |",
        f"|{'---|' * len(headings)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def main() -> int:
    """Write the file, or with ``--check`` say whether it is up to date."""
    parser = argparse.ArgumentParser(description="Write docs/dicom-conformance.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where it differs")
    parser.add_argument("file", nargs="?", type=Path, default=STATEMENT_FILE)
    arguments = parser.parse_args()
    file: Path = arguments.file
    if not arguments.check:
        file.write_text(conformance_text(), encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == conformance_text():
        return 0
    sys.stderr.write(f"{file} is not what the code says; run `make conformance`.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
