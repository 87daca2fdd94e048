"""The PDF report as a DICOM object: Encapsulated PDF Storage.

The same document written again is the same file, byte for byte.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from calcium_scoring.dicom.derived_objects import (
    SERIES_NUMBER_OFFSET,
    Algorithm,
    new_object,
    origin_of,
    reference_to,
    series_number,
)
from calcium_scoring.dicom.headers import quiet_pydicom, text
from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.dicom.uids import derived_uid

DOCUMENT_TITLE: Final = "Coronary calcium report (research use only)"
_SERIES_NUMBER_OFFSET: Final = SERIES_NUMBER_OFFSET + 3


def write_encapsulated_pdf(pdf: bytes, series: CtSeries, *, model: Algorithm, out: Path) -> Path:
    """Write a PDF as DICOM with a reference to every source instance, and return the path."""
    header = series.instances[0]
    origin = origin_of(header, model)
    digest = hashlib.sha256(pdf).hexdigest()
    with quiet_pydicom():
        result = new_object(
            header,
            model,
            sop_class_uid=EncapsulatedPDFStorage,
            sop_instance_uid=derived_uid("PDF instance", *origin, digest),
            series_instance_uid=derived_uid("PDF series", *origin),
            series_number=series_number(header, _SERIES_NUMBER_OFFSET),
            instance_number=1,
            modality="DOC",
            series_description=DOCUMENT_TITLE,
        )
        result.ConversionType = "WSD"
        result.BurnedInAnnotation = "YES"
        result.AcquisitionDateTime = _acquired(header)
        result.DocumentTitle = DOCUMENT_TITLE
        result.ConceptNameCodeSequence = []
        result.MIMETypeOfEncapsulatedDocument = "application/pdf"
        sources = {str(one.SOPInstanceUID): one for one in series.instances}
        result.SourceInstanceSequence = [reference_to(one) for one in sources.values()]
        result.EncapsulatedDocument = pdf + b"\x00" * (len(pdf) % 2)
        result.EncapsulatedDocumentLength = len(pdf)
        result.save_as(out, enforce_file_format=True)
    return out


def _acquired(header: Dataset) -> str:
    """Return when the images were acquired (DT); empty, as type 2 may be, where nothing says so."""
    date = text(header, "AcquisitionDate")
    return "" if date is None else f"{date}{text(header, 'AcquisitionTime') or ''}"
