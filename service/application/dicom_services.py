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


DICOMWEB_SERVICES: Final[tuple[DicomWebService, ...]] = (
    DicomWebService(
        "STOW-RS",
        "origin server",
        "POST /dicomweb/studies, /dicomweb/studies/{study}",
        ("multipart/related; type=application/dicom", "application/dicom+json"),
        "A complete request is a complete study. Failure reasons C000H and 0110H.",
    ),
    DicomWebService(
        "QIDO-RS",
        "origin server",
        "GET /dicomweb/studies, series, instances, and those of a study or series",
        ("application/dicom+json", "application/json"),
        "Results only; limit, offset; no fuzzy matching.",
    ),
    DicomWebService(
        "WADO-RS",
        "origin server",
        "GET /dicomweb/studies/{study}, series and instances below it, and metadata",
        ("multipart/related; type=application/dicom", "application/dicom+json"),
        "Results only, in the transfer syntax in which they are stored; no frames, bulk data or "
        "rendered pictures.",
    ),
    DicomWebService(
        "STOW-RS",
        "user agent",
        "POST {url of the destination}/studies",
        ("multipart/related; type=application/dicom", "application/dicom+json"),
        "Results to destinations of the kind stow-rs.",
    ),
)
"""Transactions over HTTP."""

SENT_SERVICES: Final[tuple[SentService, ...]] = (
    SentService(
        "Storage",
        (
            "Segmentation Storage",
            "Comprehensive 3D SR Storage",
            "Secondary Capture Image Storage",
            "Encapsulated PDF Storage",
        ),
        "Results to destinations of the kind c-store; Explicit and Implicit VR Little Endian.",
    ),
    SentService(
        "Storage Commitment Push Model",
        ("Storage Commitment Push Model SOP Class",),
        "Where the destination is set so; reports are heard on the same association or by the "
        "node.",
    ),
)
"""What is asked of others over associations in daily work."""
