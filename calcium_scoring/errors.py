"""Why something cannot be scored, as one tree, and what a reader should know though it can.

```text
CacscoreError
├── UploadRejected           the container: archive or folder
│   ├── NotAZip
│   ├── UnsafeArchive
│   ├── UploadTooLarge
│   └── NoDicomFound
├── SeriesRejected           the series: cannot be measured as it is
│   ├── NoCtSeries
│   ├── TooFewSlices
│   ├── SeriesTooLarge
│   ├── IrregularGeometry
│   ├── DuplicatePositions
│   ├── InconsistentSeries
│   ├── InvalidGeometry
│   ├── MissingRescale
│   ├── UnreadablePixels
│   ├── UnsupportedImageType
│   ├── ContrastEnhanced
│   ├── BurnedInAnnotation
│   ├── HeartNotCovered
│   ├── GantryTilt
│   ├── NotAxial
│   └── RotatedInPlane
├── MaskRejected             a reader's mask that does not fit the series
├── ModelRejected            a model file whose specification is not understood
├── DecoderUnavailable       a fault of the installation, not of the series
└── (service.application.errors continues the tree)
```

A name says what happened; the message names the value, its unit and what would be accepted;
``code`` is stable and public; ``evidence`` holds the same facts for machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

Evidence: TypeAlias = Mapping[str, object]
"""Facts behind a refusal or warning; JSON values only, no patient attribute and no UID."""


class CacscoreError(Exception):
    """Anything that cacscore refuses or cannot do, with a stable public code."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "cacscore could not do this"

    def __init__(self, message: str, **evidence: object) -> None:
        super().__init__(message)
        self.message = message
        self.evidence: Evidence = evidence

    def __reduce__(self) -> tuple[object, ...]:
        """Keep message and evidence when the error crosses a process border."""
        return _rebuild, (type(self), self.message, dict(self.evidence))


def _rebuild(
    error_class: type[CacscoreError], message: str, evidence: dict[str, object]
) -> CacscoreError:
    error = error_class.__new__(error_class)
    CacscoreError.__init__(error, message, **evidence)
    return error


class UploadRejected(CacscoreError):
    """The container (archive or folder) was refused before any series was looked at."""

    code = "upload_rejected"
    title = "The upload was refused"


class NotAZip(UploadRejected):
    """The bytes are not a readable zip archive."""

    code = "not_a_zip"
    title = "The upload is not a zip archive"


class UnsafeArchive(UploadRejected):
    """The archive asks for something that no honest export needs (traversal, bomb, link)."""

    code = "unsafe_archive"
    title = "The archive is not safe to unpack"


class UploadTooLarge(UploadRejected):
    """A limit on bytes, entries or inflated size was exceeded."""

    code = "upload_too_large"
    title = "The upload exceeds a limit"


class NoDicomFound(UploadRejected):
    """Not one file of the upload is DICOM."""

    code = "no_dicom_found"
    title = "The upload holds no DICOM file"


class SeriesRejected(CacscoreError):
    """The series cannot be measured as it is; a score would be quietly wrong."""

    code = "series_rejected"
    title = "The series cannot be scored"


class NoCtSeries(SeriesRejected):
    """DICOM was found, but no series of axial CT images."""

    code = "no_ct_series"
    title = "The upload holds no CT series that could be scored"


class TooFewSlices(SeriesRejected):
    """Fewer slices than a heart needs."""

    code = "too_few_slices"
    title = "The series has too few slices"


class SeriesTooLarge(SeriesRejected):
    """More slices or voxels than any CT of a chest has."""

    code = "series_too_large"
    title = "The series is too large"


class IrregularGeometry(SeriesRejected):
    """Slices are missing, repeated or unevenly spaced."""

    code = "irregular_geometry"
    title = "The slices are not evenly spaced"

    def __init__(self, gaps_mm: tuple[float, ...], tolerance_mm: float) -> None:
        median_mm = sorted(gaps_mm)[len(gaps_mm) // 2]
        outliers = [gap for gap in gaps_mm if abs(gap - median_mm) > tolerance_mm]
        super().__init__(
            f"The distances between neighbouring slices range from {min(gaps_mm):.3f} to "
            f"{max(gaps_mm):.3f} mm ({len(outliers)} of {len(gaps_mm)} differ from the median "
            f"{median_mm:.3f} mm); they must agree within {tolerance_mm} mm. Send every slice of "
            "one reconstruction, once.",
            smallest_gap_mm=min(gaps_mm),
            median_gap_mm=median_mm,
            largest_gap_mm=max(gaps_mm),
            outlier_count=len(outliers),
            tolerance_mm=tolerance_mm,
        )
        self.gaps_mm = gaps_mm


class DuplicatePositions(SeriesRejected):
    """Several different slices lie at the same place."""

    code = "duplicate_positions"
    title = "Several different slices lie at the same place"


class InconsistentSeries(SeriesRejected):
    """Slices of one series disagree on what must be common to them (matrix, spacing, patient)."""

    code = "inconsistent_series"
    title = "The slices of the series do not belong together"


class InvalidGeometry(SeriesRejected):
    """An attribute that places the pixels in space is missing or impossible."""

    code = "invalid_geometry"
    title = "The position or spacing of the pixels is missing or impossible"


class MissingRescale(SeriesRejected):
    """Rescale Slope or Intercept is missing, so stored values cannot become HU."""

    code = "missing_rescale"
    title = "The pixel values cannot be converted to Hounsfield units"


class UnreadablePixels(SeriesRejected):
    """Pixel data is missing, cut short, or cannot be decoded."""

    code = "unreadable_pixels"
    title = "The pixel data cannot be decoded"


class UnsupportedImageType(SeriesRejected):
    """A kind of image object that is not read, such as one in colour."""

    code = "unsupported_image_type"
    title = "This kind of image object is not supported"


class ContrastEnhanced(SeriesRejected):
    """The header or the blood itself says that contrast agent was given; it counts as calcium."""

    code = "contrast_enhanced"
    title = "The series is contrast-enhanced"


class BurnedInAnnotation(SeriesRejected):
    """Text is burnt into the pixels, and the upload was to be de-identified."""

    code = "burned_in_annotation"
    title = "Text is burnt into the pixels"


class HeartNotCovered(SeriesRejected):
    """No heart is in the scan, or not enough of one."""

    code = "heart_not_covered"
    title = "The scan does not cover the heart"


class GantryTilt(SeriesRejected):
    """The slice planes are sheared against the table axis."""

    code = "gantry_tilt"
    title = "The gantry was tilted"


class NotAxial(SeriesRejected):
    """The slice planes are not axial."""

    code = "not_axial"
    title = "The slices are not axial"


class RotatedInPlane(SeriesRejected):
    """The slices are axial, but their rows do not run from side to side of the patient."""

    code = "rotated_in_plane"
    title = "The slices are rotated in their plane"


class MaskRejected(CacscoreError):
    """A mask cannot be read or does not lie on the grid of the series."""

    code = "mask_rejected"
    title = "The mask does not fit the series"


class StructuredReportRejected(CacscoreError):
    """A DICOM SR that should be a report of cacscore is damaged, or someone else's."""

    code = "structured_report_rejected"
    title = "The structured report cannot be read"


class ModelRejected(CacscoreError):
    """A model file is unreadable or carries a specification that this version does not know."""

    code = "model_rejected"
    title = "The model file cannot be used"


class DecoderUnavailable(CacscoreError):
    """What decodes compressed slices is missing or cannot start: nothing is said of the series."""

    code = "decoder_unavailable"
    title = "Compressed slices cannot be decoded here"


@dataclass(frozen=True)
class SeriesWarning:
    """Something a reader of the score should know; the series is scored all the same."""

    code: str
    message: str
    evidence: Evidence = field(default_factory=dict)
