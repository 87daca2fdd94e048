"""Asks an archive over the DICOM network: is it there, keep this, what is there of a study."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pynetdicom import AE, build_context
from pynetdicom.association import Association

from calcium_scoring.dicom.acceptance import ACCEPTED_SOP_CLASSES
from calcium_scoring.dicom.queries import modality_of, series_of_study
from calcium_scoring.upload.file_head import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from service.adapters.dicom_network.storage_scp import VERIFICATION
from service.application.errors import ArchiveUnavailable

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
"""Study Root Query/Retrieve Information Model - FIND (PS3.4 table C.6.2.1)."""

ANSWER_S: Final = 30.0
"""How long an archive may take to answer; our choice."""

_PENDING: Final = frozenset({0xFF00, 0xFF01})
_EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"


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

    def store(self, files: Sequence[Path]) -> None:
        """Send CT files; ArchiveUnavailable unless each one is taken."""
        with self._association(ACCEPTED_SOP_CLASSES[:1]) as association:
            for file in files:
                self._check(association.send_c_store(file).get("Status"), "C-STORE")

    def modalities(self, study_instance_uid: str) -> frozenset[str]:
        """Return the modalities of the series that it has of a study."""
        found = set()
        with self._association([STUDY_ROOT_FIND]) as association:
            question = series_of_study(study_instance_uid)
            for status, answer in association.send_c_find(question, STUDY_ROOT_FIND):
                code = status.get("Status")
                if code in _PENDING and answer is not None:
                    found.add(modality_of(answer))
                else:
                    self._check(code, "C-FIND")
        return frozenset(one for one in found if one is not None)

    @contextmanager
    def _association(self, sop_classes: Sequence[str]) -> Iterator[Association]:
        # It quotes the peer, and what goes wrong is said by the exception.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        ae = AE(self.calling_ae_title)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = ANSWER_S
        association = ae.associate(
            self.host,
            self.port,
            contexts=[build_context(one, _EXPLICIT_LITTLE_ENDIAN) for one in sop_classes],
            ae_title=self.ae_title,
        )
        if not association.is_established:
            how = "rejects the association" if association.is_rejected else "does not answer"
            raise ArchiveUnavailable(
                f"{self.ae_title} at {self.host} port {self.port} {how} "
                f"(called by {self.calling_ae_title})."
            )
        try:
            if len(association.accepted_contexts) < len(sop_classes):
                raise ArchiveUnavailable(f"{self.ae_title} does not offer what is asked of it.")
            yield association
        finally:
            association.release()

    def _check(self, status: int | None, request: str) -> None:
        if status != 0:
            said = "nothing" if status is None else f"status {status:04X}"
            raise ArchiveUnavailable(f"{self.ae_title} answers {request} with {said}.")
