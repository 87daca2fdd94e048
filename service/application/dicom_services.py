"""What this release offers to DICOM peers beside C-STORE, as data of the conformance statement.

Whoever adds a service adds its row here; ``docs/dicom-conformance.md`` is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class DicomWebService:
    """One transaction of PS3.18 that the gateway answers, or asks of others."""

    name: str
    """As in PS3.18: ``STOW-RS`` and so on."""
    role: str
    """``origin server`` or ``user agent``."""
    request: str
    """Method and path, as in ``POST /dicomweb/studies``."""
    media_types: tuple[str, ...]
    remarks: str


@dataclass(frozen=True)
class SentService:
    """One service that is asked of a peer over an association."""

    name: str
    """As in PS3.4: ``Storage``, ``Storage Commitment Push Model``."""
    sop_classes: tuple[str, ...]
    """Names of the SOP classes."""
    remarks: str


DICOMWEB_SERVICES: Final[tuple[DicomWebService, ...]] = ()
"""Transactions over HTTP."""

SENT_SERVICES: Final[tuple[SentService, ...]] = ()
"""What is asked of others over associations in daily work."""
