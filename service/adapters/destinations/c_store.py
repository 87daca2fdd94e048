"""Results to a DICOM node: C-STORE, then storage commitment where the node offers it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from calcium_scoring.dicom.storage_commitment import (
    REQUEST_ACTION_TYPE,
    commitment_request,
    read_commitment_report,
)
from calcium_scoring.upload.file_head import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    FileHead,
    read_file_head,
)
from service.adapters.destinations.places import CStoreDestination, pinned_address
from service.adapters.pinned_connection import Network
from service.application.pushes import Commitment, Push, PushOutcome, commitment_uid

# What it logs quotes what was sent; everything that matters is said by our own lines.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

CONNECT_TIMEOUT_S: Final = 10.0

COMMITMENT_PATIENCE_S: Final = 3.0
"""How long an association is kept for the report of a commitment. A node that decides later sends
it over an association of its own, to our node. Our choice."""

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"

SUCCESS: Final = 0x0000
DUPLICATE: Final = 0x0111
"""The node has an object of this UID already (PS3.7 C.5.7): ours, as its UID follows from it."""

_WARNINGS: Final = range(0xB000, 0xC000)
_REFUSALS: Final = (
    range(0x0117, 0x0118),  # invalid object instance
    range(0x0122, 0x0123),  # SOP class not supported
    range(0xA900, 0xAA00),  # data set does not match SOP class
    range(0xC000, 0xD000),  # cannot understand
)
"""Failures that the same object would meet again (PS3.4 table B.2-1, PS3.7 annex C)."""


class CStoreSender:
    """A PushSender to one DICOM node."""

    def __init__(self, place: CStoreDestination, networks: Sequence[Network] = ()) -> None:
        self._place = place
        self._networks = tuple(networks)

    def send(
        self, push: Push, objects: Sequence[Path], is_still_ours: Callable[[], bool]
    ) -> PushOutcome:
        """Send these DICOM files over one association."""

        def store(
            association: Association, heads: Sequence[FileHead], report: _ReportWaiter
        ) -> PushOutcome:
            outcome = self._store(association, objects, heads, is_still_ours)
            if outcome.is_sent and self._place.storage_commitment:
                return self._commit(association, push, heads, report, outcome.words)
            return outcome

        return self._within_association(objects, store)

    def ask_for_commitment(self, push: Push, objects: Sequence[Path]) -> PushOutcome:
        """Ask for the storage commitment of files that the node took before."""
        if not self._place.storage_commitment:
            return _not_sent("the settings do not ask for storage commitment any more")

        def ask(
            association: Association, heads: Sequence[FileHead], report: _ReportWaiter
        ) -> PushOutcome:
            stored = f"{len(heads)} objects stored before"
            return self._commit(association, push, heads, report, stored)

        return self._within_association(objects, ask)

    def _within_association(
        self,
        objects: Sequence[Path],
        do: Callable[[Association, Sequence[FileHead], _ReportWaiter], PushOutcome],
    ) -> PushOutcome:
        heads = [read_file_head(path) for path in objects]
        known = [head for head in heads if head is not None]
        if len(known) < len(objects):
            return _not_sent("an object of the result has no file meta information", final=True)
        report = _ReportWaiter()
        try:
            association = self._associate(known, report)
        except (OSError, ValueError) as error:
            return _not_sent(str(error) or type(error).__name__)
        try:
            if not association.is_established:
                return _not_sent(_why_not(association))
            return do(association, known, report)
        finally:
            if association.is_established:
                association.release()
            else:
                association.abort()

    def _associate(self, heads: Sequence[FileHead], report: _ReportWaiter) -> Association:
        place = self._place
        address = pinned_address(place.host, place.port, self._networks)
        entity = AE(place.our_ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.connection_timeout = CONNECT_TIMEOUT_S
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = place.timeout_s
        for sop_class, syntax in sorted({(h.sop_class_uid, h.transfer_syntax_uid) for h in heads}):
            # Each by itself: a node may take the one and not the other.
            for one in dict.fromkeys((syntax, IMPLICIT_VR_LITTLE_ENDIAN)):
                entity.add_requested_context(sop_class, one)
        if place.storage_commitment:
            entity.add_requested_context(StorageCommitmentPushModel)
        return entity.associate(
            str(address),
            place.port,
            ae_title=place.ae_title,
            tls_args=None if place.tls is None else (place.tls.context(), place.host),
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, report.hear)],
        )

    def _store(
        self,
        association: Association,
        objects: Sequence[Path],
        heads: Sequence[FileHead],
        is_still_ours: Callable[[], bool],
    ) -> PushOutcome:
        accepted = {str(one.abstract_syntax) for one in association.accepted_contexts}
        refusals: list[str] = []
        for path, head in zip(objects, heads, strict=True):
            if not is_still_ours():
                return _not_sent("another sender has taken the push over")
            if head.sop_class_uid not in accepted:
                refusals.append(f"{path.name}: SOP class {head.sop_class_uid} is not accepted")
                continue
            try:
                answer = association.send_c_store(path)
            except (RuntimeError, OSError) as error:
                return _not_sent(f"{path.name}: the association ended ({type(error).__name__})")
            except ValueError:
                refusals.append(f"{path.name}: no transfer syntax is accepted")
                continue
            status: int | None = getattr(answer, "Status", None)
            if status is None:
                return _not_sent(f"{path.name}: no answer")
            if status in {SUCCESS, DUPLICATE} or status in _WARNINGS:
                continue
            words = f"{path.name}: status {status:04X}H"
            if not any(status in one for one in _REFUSALS):
                return _not_sent(words)
            refusals.append(words)
        if refusals:
            stored = len(objects) - len(refusals)
            return _not_sent(
                f"{stored} of {len(objects)} objects stored; {'; '.join(refusals)}", final=True
            )
        return PushOutcome(is_sent=True, words=f"{len(objects)} objects stored")

    def _commit(
        self,
        association: Association,
        push: Push,
        heads: Sequence[FileHead],
        report: _ReportWaiter,
        stored: str,
    ) -> PushOutcome:
        """Ask for commitment; that it is not to be had takes nothing from what was stored."""
        uid = commitment_uid(push.id, push.attempt)
        request = commitment_request(
            uid, [(head.sop_class_uid, head.sop_instance_uid) for head in heads]
        )
        try:
            answer, _ = association.send_n_action(
                request,
                REQUEST_ACTION_TYPE,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
        except (RuntimeError, ValueError, OSError):
            return _sent(f"{stored}; storage commitment is not offered")
        status: int | None = getattr(answer, "Status", None)
        if status != SUCCESS:
            shown = "no answer" if status is None else f"status {status:04X}H"
            return _sent(f"{stored}; storage commitment: {shown}")
        return PushOutcome(
            is_sent=True,
            words=f"{stored}; storage commitment is waited for",
            commitment_uid=uid,
            commitment=report.wait_for(uid),
        )


class _ReportWaiter:
    """Hears the report of a commitment over the association that asked for it."""

    def __init__(self) -> None:
        self._heard = threading.Event()
        self._commitment: Commitment | None = None

    def hear(self, event: evt.Event) -> tuple[int, Any]:
        """Answer an N-EVENT-REPORT."""
        commitment = commitment_of(event)
        if commitment is None:
            return PROCESSING_FAILURE, None
        self._commitment = commitment
        self._heard.set()
        return SUCCESS, None

    def wait_for(self, uid: str) -> Commitment | None:
        """Return what was said within the patience; None where nothing was."""
        self._heard.wait(COMMITMENT_PATIENCE_S)
        one = self._commitment
        return one if one is not None and one.transaction_uid == uid else None


PROCESSING_FAILURE: Final = 0x0110


def commitment_of(event: evt.Event) -> Commitment | None:
    """Return what an N-EVENT-REPORT says of a storage commitment; None where it cannot be read."""
    try:
        uid, failed_count = read_commitment_report(event.event_type or 0, event.event_information)
    except Exception:  # noqa: BLE001 - whatever a peer sent, its parser may fail in any way
        return None
    return Commitment(uid, failed_count)


def commitment_handler(
    settle: Callable[[Commitment], bool],
) -> Callable[[evt.Event], tuple[int, Any]]:
    """Return a handler of ``evt.EVT_N_EVENT_REPORT`` for a node that hears of commitments.

    ``settle`` is that of the outbox. A report that nobody waits for is answered with success: the
    push was asked for again since, or its study is gone.
    """

    def handle(event: evt.Event) -> tuple[int, Any]:
        commitment = commitment_of(event)
        if commitment is None:
            return PROCESSING_FAILURE, None
        settle(commitment)
        return SUCCESS, None

    return handle


def _why_not(association: Association) -> str:
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = "" if answer is None else f" ({answer.reason_str})"
        return f"the association was rejected{reason}"
    return "no association: the node does not answer, or not in DICOM"


def _sent(words: str) -> PushOutcome:
    return PushOutcome(is_sent=True, words=words)


def _not_sent(words: str, *, final: bool = False) -> PushOutcome:
    return PushOutcome(is_sent=False, words=words, is_refused=final)
