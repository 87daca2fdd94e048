"""Asks an archive over the DICOM network: is it there, keep this, what has it, give it back."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pynetdicom import AE, _config, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import PresentationContext

from calcium_scoring.dicom.acceptance import (
    ACCEPTED_SOP_CLASSES,
    ACCEPTED_TRANSFER_SYNTAXES,
    WRITTEN_SOP_CLASSES,
    uid_name,
)
from calcium_scoring.dicom.queries import (
    FoundSeries,
    found_series,
    series_of_study,
    whole_series,
)
from calcium_scoring.upload.file_head import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from service.adapters.dicom_network.storage_scp import STORAGE_COMMITMENT, SUCCESS, VERIFICATION
from service.application.errors import ArchiveUnavailable

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model - FIND (PS3.4 table C.6.2.1)."""

STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
"""The same information model - MOVE and GET."""

ANSWER_S: Final = 30.0
"""How long an archive may take to answer; our choice."""

_PENDING: Final = frozenset({0xFF00, 0xFF01})
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
_UNCOMPRESSED: Final = [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN]
_WRITTEN: Final = tuple(uid for _, uid in WRITTEN_SOP_CLASSES)
_NEITHER_SENT_NOR_TAKEN: Final = 0xA700


_ASKED: Final = (
    (VERIFICATION, _UNCOMPRESSED),
    (ACCEPTED_SOP_CLASSES[0], ACCEPTED_TRANSFER_SYNTAXES),
    *((uid, _UNCOMPRESSED) for uid in _WRITTEN),
    (STORAGE_COMMITMENT, _UNCOMPRESSED),
    *((uid, _UNCOMPRESSED) for uid in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET)),
)
"""What a way through a site may need, and in which transfer syntaxes."""

_REFUSALS: Final = {
    1: "refused by its user",
    2: "refused without a reason",
    3: "SOP class is not supported",
    4: "transfer syntaxes are not supported",
}
"""Results of a presentation context (PS3.8 table 9-18)."""


@dataclass(frozen=True)
class OfferedService:
    """Whether a SOP class is accepted: in these transfer syntaxes, or why in none."""

    name: str
    sop_class_uid: str
    transfer_syntaxes: tuple[str, ...]
    refusal: str | None


@dataclass(frozen=True)
class PeerOffer:
    """What a node answered when it was asked for everything at once.

    ``max_pdu_bytes`` 0 means that it sets no limit.
    """

    max_pdu_bytes: int
    implementation_class_uid: str | None
    implementation_version_name: str | None
    services: tuple[OfferedService, ...]


@dataclass(frozen=True)
class Archive:
    """Where an archive listens, what it is called, and what we call ourselves."""

    host: str
    port: int
    ae_title: str
    calling_ae_title: str

    def echo(self) -> None:
        """Ask whether it is there; ArchiveUnavailable where it is not."""
        with self._association([VERIFICATION]) as association:
            self._check(association.send_c_echo().get("Status"), "C-ECHO")

    def offer(self) -> PeerOffer:
        """Ask which services it offers, each transfer syntax by itself; nothing is sent."""
        contexts = [build_context(uid, one) for uid, syntaxes in _ASKED for one in syntaxes]
        with self._open(contexts) as association:
            peer = association.acceptor
            version = peer.implementation_version_name
            return PeerOffer(
                peer.maximum_length or 0,
                None
                if peer.implementation_class_uid is None
                else str(peer.implementation_class_uid),
                None if version is None else str(version),
                tuple(_offered(association, uid) for uid, _ in _ASKED),
            )

    def store(self, files: Sequence[Path]) -> None:
        """Send CT files; ArchiveUnavailable unless each one is taken."""
        with self._association(ACCEPTED_SOP_CLASSES[:1]) as association:
            for file in files:
                self._check(association.send_c_store(file).get("Status"), "C-STORE")

    def series(self, study_instance_uid: str) -> list[FoundSeries]:
        """Return the series that it has of a study."""
        found = []
        with self._association([STUDY_ROOT_FIND]) as association:
            question = series_of_study(study_instance_uid)
            for status, answer in association.send_c_find(question, STUDY_ROOT_FIND):
                code = status.get("Status")
                if code in _PENDING and answer is not None:
                    found.append(found_series(answer))
                else:
                    self._check(code, "C-FIND")
        return [one for one in found if one is not None]

    def offers_get(self) -> bool:
        """Tell whether results can be fetched by C-GET."""
        try:
            with self._association([STUDY_ROOT_GET]):
                return True
        except ArchiveUnavailable:
            return False

    def fetch(self, study_instance_uid: str, series: Iterable[FoundSeries], folder: Path) -> None:
        """Fetch results by C-GET into files of a folder, named by number.

        Raises
        ------
        ArchiveUnavailable
            It does not offer C-GET, or answers it with something else than success.
        """
        failed: list[OSError] = []

        def keep(event: evt.Event) -> int:
            try:
                number = sum(1 for _ in folder.iterdir())
                _write_object(event, folder / f"{number}.dcm")
            except OSError as error:
                failed.append(error)
                return _NEITHER_SENT_NOR_TAKEN
            return SUCCESS

        contexts = [build_context(one, _UNCOMPRESSED) for one in (STUDY_ROOT_GET, *_WRITTEN)]
        with self._open(contexts, [(evt.EVT_C_STORE, keep)], roles=_WRITTEN) as association:
            if STUDY_ROOT_GET not in _classes(association.accepted_contexts):
                raise ArchiveUnavailable(f"{self.ae_title} does not offer C-GET.")
            for one in series:
                question = whole_series(study_instance_uid, one.series_instance_uid)
                for status, _ in association.send_c_get(question, STUDY_ROOT_GET):
                    if status.get("Status") not in _PENDING:
                        self._check(status.get("Status"), f"C-GET of {one.modality}")
        if failed:
            raise failed[0]

    @contextmanager
    def _association(self, sop_classes: Sequence[str]) -> Iterator[Association]:
        """Give an association on which every one of these SOP classes can be used."""
        contexts = [build_context(one, EXPLICIT_LITTLE_ENDIAN) for one in sop_classes]
        with self._open(contexts) as association:
            missing = set(sop_classes) - _classes(association.accepted_contexts)
            if missing:
                named = ", ".join(sorted(map(uid_name, missing)))
                raise ArchiveUnavailable(f"{self.ae_title} does not offer {named}.")
            yield association

    @contextmanager
    def _open(
        self,
        contexts: list[PresentationContext],
        handlers: list[EventHandlerType] | None = None,
        *,
        roles: Sequence[str] = (),
    ) -> Iterator[Association]:
        # It quotes the peer, and what goes wrong is said by the exception.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        ae = AE(self.calling_ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = ANSWER_S
        association = ae.associate(
            self.host,
            self.port,
            contexts=contexts,
            ae_title=self.ae_title,
            ext_neg=[build_role(one, scp_role=True) for one in roles],
            evt_handlers=handlers or [],
        )
        if not association.is_established:
            raise ArchiveUnavailable(
                f"{self.ae_title} at {self.host} port {self.port} {_why_not(association)} "
                f"(called by {self.calling_ae_title})."
            )
        try:
            yield association
        finally:
            association.release()

    def _check(self, status: int | None, request: str) -> None:
        if status is None:
            raise ArchiveUnavailable(
                f"{self.ae_title} ends the association at {request}, or does not answer it in "
                f"{ANSWER_S:g} s: may {self.calling_ae_title} ask it for that?"
            )
        if status != SUCCESS:
            raise ArchiveUnavailable(f"{self.ae_title} answers {request} with status {status:04X}.")


def _offered(association: Association, sop_class: str) -> OfferedService:
    accepted, rejected = (
        [one for one in contexts if one.abstract_syntax == sop_class]
        for contexts in (association.accepted_contexts, association.rejected_contexts)
    )
    return OfferedService(
        uid_name(sop_class),
        sop_class,
        tuple(str(one.transfer_syntax[0]) for one in accepted),
        None if accepted else _REFUSALS.get(rejected[0].result or 0, "no answer"),
    )


def _write_object(event: evt.Event, path: Path) -> None:
    if _config.STORE_RECV_CHUNKED_DATASET:
        # For the whole process: a node that runs in it has all that arrives written to files.
        shutil.copyfile(event.dataset_path, path)
    else:
        path.write_bytes(event.encoded_dataset())


def _classes(contexts: Iterable[PresentationContext]) -> set[str]:
    return {str(one.abstract_syntax) for one in contexts}


def _why_not(association: Association) -> str:
    if not association.is_rejected:
        return "does not answer"
    answer = association.acceptor.primitive
    reason = "" if answer is None else f": {answer.reason_str}"
    return f"rejects the association{reason}"
