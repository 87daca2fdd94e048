"""Names of the files that a study leaves in the artefact store, and what they are."""

from __future__ import annotations

from typing import Final

UPLOAD: Final = "upload.zip"
DEIDENTIFIED: Final = "deidentified.zip"
"""Stands in the place of the upload where uploads are de-identified."""

REPORT: Final = "report.json"
REPORT_SR: Final = "report.dcm"
REPORT_PDF: Final = "report.pdf"
REPORT_PDF_DICOM: Final = "report-pdf.dcm"
REPORT_FHIR: Final = "report.fhir.json"
REPORT_CSV: Final = "report.csv"
MASK_DICOM: Final = "mask.dcm"
MASK_NIFTI: Final = "mask.nii.gz"
LESIONS_DICOM: Final = "lesions.dcm"
LESIONS_NIFTI: Final = "lesions.nii.gz"
PROVENANCE: Final = "provenance.json"
KEY_IMAGE_PREFIX: Final = "key-image-"
DICOM_METADATA: Final = "dicom-metadata.json"
"""Attributes of the DICOM files as DICOM JSON, by name; what DICOMweb answers from."""
PREVIEW: Final = "preview.zip"
"""What the gateway draws slices from; nobody else reads it."""

DICOM: Final = "application/dicom"
FHIR: Final = "application/fhir+json"
GZIP: Final = "application/gzip"
JSON: Final = "application/json"
PDF: Final = "application/pdf"
CSV: Final = "text/csv"

_MEDIA_TYPES: Final = (
    (".fhir.json", FHIR),
    (".json", JSON),
    (".dcm", DICOM),
    (".nii.gz", GZIP),
    (".pdf", PDF),
    (".csv", CSV),
    (".zip", "application/zip"),
)


def key_image(number: int) -> str:
    """Return the name of a key image; they are numbered from 1."""
    return f"{KEY_IMAGE_PREFIX}{number}.dcm"


def media_type(name: str) -> str:
    """Return the media type of an artefact."""
    for suffix, kind in _MEDIA_TYPES:
        if name.endswith(suffix):
            return kind
    raise ValueError(f"{name} is the name of no artefact.")
