"""Names of the files that a study leaves in the artefact store."""

from __future__ import annotations

from typing import Final

UPLOAD: Final = "upload.zip"
REPORT: Final = "report.json"
MASK_DICOM: Final = "mask.dcm"
MASK_NIFTI: Final = "mask.nii.gz"
PREVIEW: Final = "preview.zip"

RESULT_FILES: Final = (REPORT, MASK_DICOM, MASK_NIFTI, PREVIEW)
