"""How an archive is asked to take over the responsibility for objects (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydicom.dataset import Dataset

REQUEST_ACTION_TYPE: Final = 1
"""Action Type ID of "Request Storage Commitment" (PS3.4 table J.3-1)."""

COMMITTED_EVENT_TYPE: Final = 1
FAILURES_EVENT_TYPE: Final = 2
"""Event Type IDs: all objects are kept, or some are not (PS3.4 table J.3-2)."""


def commitment_request(transaction_uid: str, instances: Iterable[tuple[str, str]]) -> Dataset:
    """Return the action information of a request (PS3.4 table J.3-1).

    Parameters
    ----------
    transaction_uid
        Names the request in the answer.
    instances
        SOP class UID and SOP instance UID of each object.
    """
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = []
    for sop_class_uid, sop_instance_uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class_uid
        item.ReferencedSOPInstanceUID = sop_instance_uid
        request.ReferencedSOPSequence.append(item)
    return request


def read_commitment_report(event_type: int, report: Dataset) -> tuple[str, int]:
    """Return transaction UID and number of objects that are not kept, of an event report.

    A report of failures that names none counts as one. Raises ValueError where there is no
    transaction UID.
    """
    uid = report.get("TransactionUID")
    if not uid:
        raise ValueError("The report names no Transaction UID.")
    failed = len(report.get("FailedSOPSequence", None) or ())
    return str(uid), max(failed, int(event_type != COMMITTED_EVENT_TYPE))
