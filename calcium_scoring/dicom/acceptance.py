"""Which objects in which encodings can be scored: what a node may accept."""

from __future__ import annotations

from typing import Final

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from calcium_scoring.dicom.decoder_process import DECODING_PLUGINS
from calcium_scoring.dicom.pixels import UNCOMPRESSED

ACCEPTED_SOP_CLASSES: Final = (
    str(CTImageStorage),
    str(EnhancedCTImageStorage),
    str(LegacyConvertedEnhancedCTImageStorage),
)
"""CT with one slice or many in an object."""


def _has_decoder(transfer_syntax_uid: UID) -> bool:
    """Tell whether the decoder that is meant for a compression is really there."""
    try:
        decoder = get_decoder(transfer_syntax_uid)
    except NotImplementedError:
        return False
    return DECODING_PLUGINS[transfer_syntax_uid] in decoder.available_plugins


_PREFERRED: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))

ACCEPTED_TRANSFER_SYNTAXES: Final = (
    *_PREFERRED,
    *sorted(
        {
            *map(str, UNCOMPRESSED),
            *(str(uid) for uid in DECODING_PLUGINS if _has_decoder(uid)),
        }
        - {*_PREFERRED}
    ),
)
"""Every encoding that can be read, those without compression first."""


LABEL_MAP_SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage (PS3.4 table B.5-1); newer than the names of pydicom."""

WRITTEN_SOP_CLASSES: Final = (
    ("calcium mask, lesions (BINARY)", str(SegmentationStorage)),
    ("calcium mask (LABELMAP, on request)", LABEL_MAP_SEGMENTATION),
    ("report, TID 1500", str(Comprehensive3DSRStorage)),
    ("report as PDF", str(EncapsulatedPDFStorage)),
    ("key images", str(SecondaryCaptureImageStorage)),
)
"""What becomes of a result in DICOM, and as what."""


def uid_name(uid: str) -> str:
    """Return what the standard calls a UID; the UID itself where it calls it nothing."""
    return "Label Map Segmentation Storage" if uid == LABEL_MAP_SEGMENTATION else UID(uid).name
