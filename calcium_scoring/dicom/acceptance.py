"""Which objects in which encodings can be scored: what a node may accept."""

from __future__ import annotations

from typing import Final

from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)

from calcium_scoring.dicom.decoder_process import DECODING_PLUGINS
from calcium_scoring.dicom.pixels import UNCOMPRESSED

ACCEPTED_SOP_CLASSES: Final = (
    str(CTImageStorage),
    str(EnhancedCTImageStorage),
    str(LegacyConvertedEnhancedCTImageStorage),
)
"""CT with one slice or many in an object."""

_PREFERRED: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))

ACCEPTED_TRANSFER_SYNTAXES: Final = (
    *_PREFERRED,
    *sorted({str(uid) for uid in (*UNCOMPRESSED, *DECODING_PLUGINS)} - {*_PREFERRED}),
)
"""Every encoding that can be read, those without compression first."""


def uid_name(uid: str) -> str:
    """Return what the standard calls a UID; the UID itself where it calls it nothing."""
    return UID(uid).name
