"""Which series of an upload is the calcium scan, and why not the others.

First, files that hold no CT slice are left out, each with its reason. Then the slices are
grouped into series, and the series are ranked by the first of these rules that tells two apart:

1. axial slices before any other orientation;
2. rows that run from side to side before slices rotated in their plane;
3. at least :data:`MIN_SLICE_COUNT` slices before fewer;
4. an upright gantry before a tilted one;
5. no contrast agent in the header before contrast agent;
6. no contrast agent in the series' name before one (angiography, venous phase); where the name
   is that of a calcium scan, only plain words for contrast agent count;
7. images of the examination itself before those derived from them afterwards;
8. a description or protocol that names calcium scoring;
9. ECG-gated, or a field of view of the heart (:data:`HEART_FIELD_OF_VIEW_MM`);
10. 120 kVp;
11. a kernel that is not known to be sharp;
12. spacing between slices nearest to the 2.5 to 3 mm of calcium scoring;
13. original images before derived ones;
14. more slices;
15. the order of the Series Instance UIDs, so that the same upload always gives the same choice.

A candidate is never passed over because it turns out to be unmeasurable: the reader then says so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from calcium_scoring.dicom.enhanced_ct import ENHANCED_CT, frames_of, is_enhanced_ct
from calcium_scoring.dicom.headers import (
    ImageFile,
    NotReadable,
    has_items,
    number,
    numbers,
    quiet_pydicom,
    read_image_file,
    sop_class,
    text,
    texts,
)
from calcium_scoring.errors import NoCtSeries, NoDicomFound, UploadTooLarge
from calcium_scoring.upload.archive import UnpackedFile

MIN_SLICE_COUNT: Final = 8
"""Fewer slices cannot cover a heart, at 5 mm not even half of one; our choice."""

HEART_FIELD_OF_VIEW_MM: Final = 300.0
"""A field of view up to this width was reconstructed for the heart, not the chest; our choice."""

AXIAL_TOLERANCE_DEGREES: Final = 5.0
"""Slice normals further from the body axis are not axial; our choice."""

IN_PLANE_TOLERANCE_DEGREES: Final = 10.0
"""Patients lie a little askew; rows further from left-right than this are rotated. Our choice."""

TILT_TOLERANCE_DEGREES: Final = 0.5
"""Scanners write small values for an upright gantry; our choice."""

CALCIUM_SPACING_MM: Final = (2.5, 3.0)
"""Spacings between slices at which calcium scoring is defined and done."""

LARGEST_HEADERS_BYTES: Final = 256 * 1024 * 1024
"""Of all files of an upload together: 5,000 of 50 KiB. They are kept while a series is chosen; our
choice."""

LARGEST_HEADERS_ELEMENT_COUNT: Final = 1_500_000
"""Of all files of an upload together: 5,000 of 300. Each takes some hundred bytes; our choice."""

_CALCIUM_WORDS: Final = re.compile(
    r"calc|agatston|smart ?score|\bca?cs\b|\bcac\b|\bca[ _-]*sc|score", re.IGNORECASE
)
_GATING_WORDS: Final = re.compile(r"\becg|\bekg|gated|cardiac|prospective", re.IGNORECASE)
_UNGATED_WORDS: Final = re.compile(r"non[ _-]*gated|ungated|no gating", re.IGNORECASE)
_NO_CONTRAST: Final = re.compile(
    r"no|none|off|0|n/?a|native?|unenhanced|plain|without|w/?o|not (applied|given|used)"
    r"|(no|non|without|w/?o)[ -]?(iv |i\.v\. )?(contrast|c\.?m\.?|agent|kontrast).*",
    re.IGNORECASE,
)
"""What scanners and people write for "no contrast agent". "NON IONIC" is an agent."""

_NEGATED_CONTRAST_WORDS: Final = re.compile(
    r"\b(no|non|without|w/?o|pre|before|ohne|o\.|keine?|vor)[ -]*(iv |i\.v\. )?"
    r"(contrast|enhanced|kontrast\w*|km)\b|\bunenhanced\b",
    re.IGNORECASE,
)
_CONTRAST_WORDS: Final = re.compile(
    r"arterial|venous|\bc\+|\benhanced\b|\bkm\b(?![ -]*frei)|"
    r"\b(w|with|post|after|iv|mit|nach)[ /-]*(iv |i\.v\. )?(contrast|kontrast)|\+ ?kontrast",
    re.IGNORECASE,
)
"""Plain words for contrast agent; KM is German for it (Kontrastmittel)."""

_ANGIOGRAPHY_WORDS: Final = re.compile(r"\bcta\b|\bccta\b|angio", re.IGNORECASE)
"""Name the examination as often as the series: "Angio Heart CaSc" is a calcium scan."""

_PROJECTION_NAMES: Final = re.compile(r"\b(mip|minip|vrt|ssd)\b", re.IGNORECASE)
_PROJECTION_IMAGE_TYPES: Final = frozenset(
    {"MIP", "MAXIP", "MINIP", "MINIMUM", "MAXIMUM", "PROJECTION IMAGE", "VRT", "SSD"}
)
_SCREEN_IMAGE_TYPES: Final = frozenset({"SCREEN SAVE", "SCREEN CAPTURE", "DOSE_INFO", "REPORT"})
_SECONDARY_CAPTURES: Final = frozenset(
    {
        SecondaryCaptureImageStorage,
        MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        MultiFrameSingleBitSecondaryCaptureImageStorage,
        MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
_CT_KINDS: Final = ENHANCED_CT | {CTImageStorage}


@dataclass(frozen=True)
class LeftOutFile:
    """A file of the upload that holds no slice of the series, or a frame of one, and why.

    ``name`` is the sender's own and may hold a patient's name: it is for whoever sent the files and
    stays out of reports. ``number`` counts the files of the upload from 1: those of an archive in
    its own order, those of a folder by name. ``kind`` is the name of its SOP class, None where that
    is not known; ``frame_number`` counts from 1 and is None where all of the file was left out.
    """

    name: str
    reason: str
    number: int
    kind: str | None = None
    frame_number: int | None = None

    @classmethod
    def of(cls, image: ImageFile, reason: str) -> LeftOutFile:
        """Return the entry of an image that was read."""
        uid = sop_class(image.header)
        kind = None if uid is None else UID(uid).name
        return cls(
            image.name,
            reason,
            image.file_number,
            # Only the name of a registered class: a text of the sender's own may be anything.
            kind if kind != uid else None,
            image.frame_index + 1 if image.frame_count > 1 else None,
        )


@dataclass(frozen=True)
class OtherSeries:
    """A series of the upload that was not chosen, and why."""

    series_instance_uid: str | None
    series_description: str | None
    slice_count: int
    reason: str


@dataclass(frozen=True, eq=False)
class SeriesSelection:
    """The series to score and what else the upload held.

    ``images`` are in the order of the upload; UIDs may be missing.
    """

    images: tuple[ImageFile, ...]
    other_series: tuple[OtherSeries, ...]
    left_out_files: tuple[LeftOutFile, ...]


def select_series(files: Iterable[UnpackedFile]) -> SeriesSelection:
    """Read the headers of all files and choose the series to score by the rules above.

    Raises
    ------
    NoDicomFound
        Not one file is DICOM.
    NoCtSeries
        There is DICOM, but no CT slice.
    UploadTooLarge
        The headers alone would take too much memory.
    """
    with quiet_pydicom():
        images, left_out, found_dicom = _ct_images(files)
    if not found_dicom:
        raise NoDicomFound(
            f"None of the {len(left_out)} files of the upload is DICOM; send the DICOM files of "
            "one CT study as a zip archive or a folder.",
            file_count=len(left_out),
        )
    groups: defaultdict[tuple[str, ...], list[ImageFile]] = defaultdict(list)
    for image in images:
        groups[_series_key(image.header)].append(image)
    if not groups:
        raise NoCtSeries(
            f"Among the {len(left_out)} files of the upload is DICOM but no CT slice that could "
            "be scored: they are localizers, secondary captures, projections or other modalities. "
            "Send the axial images of a CT series.",
            left_out_file_count=len(left_out),
        )
    ranked = sorted((_Candidate.of(key, group) for key, group in groups.items()), key=_rank)
    chosen, others = ranked[0], ranked[1:]
    return SeriesSelection(
        tuple(chosen.images),
        tuple(
            OtherSeries(
                series_instance_uid=text(other.header, "SeriesInstanceUID"),
                series_description=text(other.header, "SeriesDescription"),
                slice_count=len(other.images),
                reason=_why_not(other, chosen),
            )
            for other in others
        ),
        tuple(left_out),
    )


def is_contrast_enhanced(header: Dataset) -> bool | None:
    """Tell whether the header says that contrast agent was given; None if it does not say."""
    agent = text(header, "ContrastBolusAgent")
    if agent is not None:
        return _NO_CONTRAST.fullmatch(agent) is None
    if has_items(header, "ContrastBolusAgentSequence") or number(header, "ContrastBolusVolume"):
        return True
    return None


def is_ecg_gated(header: Dataset) -> bool | None:
    """Tell whether the header says that the scan was gated; None if it does not say."""
    technique = text(header, "CardiacSynchronizationTechnique")
    if technique is not None:
        return technique.upper() not in {"NONE", "REALTIME"}
    words = " ".join(
        [
            *texts(header, "ScanOptions"),
            *texts(header, "SeriesDescription"),
            *texts(header, "ProtocolName"),
        ]
    )
    if _UNGATED_WORDS.search(words):
        return False
    phase = number(header, "NominalPercentageOfCardiacPhase")
    if phase is not None or number(header, "TriggerTime") or _GATING_WORDS.search(words):
        return True
    return None


def slice_normal(header: Dataset) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    """Return the unit normal of the slice plane in LPS; None without a usable orientation."""
    orientation = numbers(header, "ImageOrientationPatient", 6)
    if orientation is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if length > 0.5 else None


def angle_to_axis_degrees(normal: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Return the angle between a slice normal and the body axis, 0 to 90 degrees."""
    return float(np.degrees(np.arccos(min(1.0, abs(float(normal[2]))))))


def in_plane_rotation_degrees(header: Dataset) -> float:
    """Return the angle between the rows of an axial slice and left-right, 0 to 90 degrees.

    Rows that run from left to right, as in flipped slices, have the same angle as others; so
    has a header without orientation, whose angle is 0.
    """
    orientation = numbers(header, "ImageOrientationPatient", 6)
    if orientation is None:
        return 0.0
    return float(np.degrees(np.arctan2(abs(orientation[1]), abs(orientation[0]))))


_KNOWN_SHARP_KERNELS: Final = (
    # Siemens: letter(s) and a number that grows with sharpness; 50 and more are lung and bone.
    re.compile(r"[A-Z][a-z]?[5-9]\d[a-z]*", re.ASCII),
    # GE names its sharp ones.
    re.compile(r"LUNG|BONE(PLUS)?|EDGE|ULTRA|DETAIL", re.IGNORECASE),
    # Canon / Toshiba: FC30 to FC39 bone, FC50 to FC59 lung, FC80 to FC89 high resolution.
    re.compile(r"FC[358]\d", re.IGNORECASE),
    # Philips: L lung, D and E detail, Y bone.
    re.compile(r"L|D|E|EC|Y[A-D]?", re.IGNORECASE),
)


def is_sharp_kernel(convolution_kernel: Sequence[str]) -> bool:
    """Tell whether a kernel is known to be made for lung or bone; unknown ones are not."""
    return any(
        pattern.fullmatch(name.strip())
        for name in convolution_kernel[:1]
        for pattern in _KNOWN_SHARP_KERNELS
    )


def _ct_images(
    files: Iterable[UnpackedFile],
) -> tuple[list[ImageFile], list[LeftOutFile], bool]:
    images: list[ImageFile] = []
    left_out: list[LeftOutFile] = []
    found_dicom = False
    header_bytes = element_count = 0
    for file_number, file in enumerate(files, start=1):
        try:
            image = read_image_file(file.path, file.name, file_number)
            found_dicom = True
            found = frames_of(image) if is_enhanced_ct(image.header) else [image]
        except NotReadable as error:
            left_out.append(LeftOutFile(file.name, str(error), file_number))
            continue
        header_bytes += image.header_bytes
        element_count += sum(len(one.header) for one in found)
        if header_bytes > LARGEST_HEADERS_BYTES or element_count > LARGEST_HEADERS_ELEMENT_COUNT:
            raise UploadTooLarge(
                f"The headers of the upload have more than {LARGEST_HEADERS_BYTES} bytes or "
                f"{LARGEST_HEADERS_ELEMENT_COUNT} elements, without their pixels. Send one study "
                "at a time.",
                file_number=file_number,
            )
        reasons = [why_no_ct_slice(one.header) for one in found]
        images += [one for one, reason in zip(found, reasons, strict=True) if reason is None]
        left_out += [
            LeftOutFile.of(one, reason)
            for one, reason in zip(found, reasons, strict=True)
            if reason is not None
        ]
    return images, left_out, found_dicom


def why_no_ct_slice(header: Dataset) -> str | None:
    """Return why an image is no slice of a CT scan; None where it is one."""
    kind = sop_class(header)
    image_type = {one.upper() for one in texts(header, "ImageType")}
    # Siemens puts two words into one value: "CT_SOM5 MIP".
    image_words = image_type | {word for one in image_type for word in one.split()}
    is_ct = kind in _CT_KINDS or (kind is None and text(header, "Modality") == "CT")
    reasons = (
        (kind in _SECONDARY_CAPTURES or image_type & _SCREEN_IMAGE_TYPES, "is a secondary capture"),
        (not is_ct or text(header, "Modality") != "CT", "is no CT image"),
        ("LOCALIZER" in image_type, "is a localizer"),
        (
            image_words & _PROJECTION_IMAGE_TYPES
            or _PROJECTION_NAMES.search(text(header, "SeriesDescription") or ""),
            "is a projection, not a slice",
        ),
        (number(header, "Rows") is None or number(header, "Columns") is None, "holds no image"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def _series_key(header: Dataset) -> tuple[str, ...]:
    """Return what the slices of one series have in common: its UID, or all that stands for it."""
    uid = text(header, "SeriesInstanceUID")
    if uid is not None:
        return ("uid", uid, *texts(header, "StackID"))
    return (
        "attributes",
        *(
            "/".join(texts(header, keyword))
            for keyword in (
                "StudyInstanceUID",
                "FrameOfReferenceUID",
                "PatientID",
                "StudyDate",
                "SeriesNumber",
                "AcquisitionNumber",
                "SeriesDescription",
                "ImageType",
                "ConvolutionKernel",
                "KVP",
                "SliceThickness",
                "Rows",
                "Columns",
                "PixelSpacing",
                "ImageOrientationPatient",
            )
        ),
    )


@dataclass(frozen=True, eq=False)
class _Candidate:
    key: tuple[str, ...]
    images: list[ImageFile]
    is_axial: bool
    is_rotated: bool
    spacing_mm: float

    @property
    def header(self) -> Dataset:
        return self.images[0].header

    @classmethod
    def of(cls, key: tuple[str, ...], images: list[ImageFile]) -> _Candidate:
        with quiet_pydicom():
            normal = slice_normal(images[0].header)
            is_axial = (
                normal is not None and angle_to_axis_degrees(normal) <= AXIAL_TOLERANCE_DEGREES
            )
            is_rotated = in_plane_rotation_degrees(images[0].header) > IN_PLANE_TOLERANCE_DEGREES
            return cls(key, images, is_axial, is_axial and is_rotated, _spacing_mm(images))


def _spacing_mm(images: Sequence[ImageFile]) -> float:
    """Return the median distance of neighbouring slices; the thickness where that is unknown."""
    normal = slice_normal(images[0].header)
    positions = [numbers(image.header, "ImagePositionPatient", 3) for image in images]
    if normal is not None and all(positions):
        heights = sorted({round(float(np.dot(normal, one)), 3) for one in positions if one})
        if len(heights) > 1:
            return float(np.median([above - below for below, above in pairwise(heights)]))
    return number(images[0].header, "SliceThickness") or 0.0


_RULES: Final = (
    "is not axial",
    "is rotated in the plane of its slices",
    f"has fewer than {MIN_SLICE_COUNT} slices",
    "was acquired with a tilted gantry",
    "is contrast-enhanced",
    "is named as a series with contrast agent",
    "was derived from other images after the examination",
    "is not named a calcium scan, as the chosen one is",
    "is neither gated nor limited to the heart, as the chosen one is",
    "was not acquired at 120 kVp, as the chosen one was",
    "has a sharper kernel than the chosen one",
    "has a slice spacing further from 2.5 to 3 mm than the chosen one",
    "is derived from other images, the chosen one is original",
    "has fewer slices than the chosen one",
    "ranks like the chosen one, which was taken by the order of UIDs",
)


def _rank(candidate: _Candidate) -> tuple[float | tuple[str, ...], ...]:
    """Return the sort key of a candidate, one entry for each of ``_RULES``; low is good."""
    header = candidate.header
    with quiet_pydicom():
        name, protocol = _words(header, "SeriesDescription"), _words(header, "ProtocolName")
        pixel_spacing = numbers(header, "PixelSpacing", 2)
        field_of_view_mm = (number(header, "Columns") or 0.0) * (
            pixel_spacing[1] if pixel_spacing else 1.0
        )
        low_mm, high_mm = CALCIUM_SPACING_MM
        image_type = tuple(one.upper() for one in texts(header, "ImageType"))
        return (
            not candidate.is_axial,
            candidate.is_rotated,
            len(candidate.images) < MIN_SLICE_COUNT,
            abs(number(header, "GantryDetectorTilt") or 0.0) > TILT_TOLERANCE_DEGREES,
            is_contrast_enhanced(header) is True,
            _names_contrast(name),
            image_type[:2] == ("DERIVED", "SECONDARY"),
            _CALCIUM_WORDS.search(f"{name} {protocol}") is None,
            not is_ecg_gated(header) and field_of_view_mm > HEART_FIELD_OF_VIEW_MM,
            number(header, "KVP") != 120,
            is_sharp_kernel(texts(header, "ConvolutionKernel")),
            round(max(low_mm - candidate.spacing_mm, candidate.spacing_mm - high_mm, 0.0), 3),
            image_type[:1] == ("DERIVED",),
            -len(candidate.images),
            candidate.key,
        )


def _words(header: Dataset, keyword: str) -> str:
    """Return a description with spaces between its words."""
    return " ".join(texts(header, keyword)).replace("_", " ")


def _names_contrast(name: str) -> bool:
    """Tell whether a series is named as one with contrast agent; never enough to refuse it."""
    said = _NEGATED_CONTRAST_WORDS.sub(" ", name)
    if _CONTRAST_WORDS.search(said):
        return True
    return _ANGIOGRAPHY_WORDS.search(said) is not None and _CALCIUM_WORDS.search(said) is None


def telling_words(header: Dataset, keyword: str) -> str:
    """Return of a description only what the rules above read in it, ``;`` between its parts.

    The rules find the same in what is returned as in the whole: a name that somebody typed into a
    description cannot be part of it.
    """
    raw = " ".join(texts(header, keyword))
    plain = raw.replace("_", " ")
    telling = [False] * len(raw)
    for source, patterns in (
        (raw, (_UNGATED_WORDS, _GATING_WORDS, _PROJECTION_NAMES)),
        (
            plain,
            (_CALCIUM_WORDS, _NEGATED_CONTRAST_WORDS, _CONTRAST_WORDS, _ANGIOGRAPHY_WORDS),
        ),
    ):
        for pattern in patterns:
            for found in pattern.finditer(source):
                telling[found.start() : found.end()] = [True] * len(found[0])
    parts = "".join(
        letter if is_telling else ";" for letter, is_telling in zip(plain, telling, strict=True)
    )
    words = ";".join(one for one in parts.split(";") if one)
    # The one pattern that takes any ending.
    return re.sub(r"(kontrast)\w*", r"\1", words, flags=re.IGNORECASE)


def _why_not(other: _Candidate, chosen: _Candidate) -> str:
    ranks = zip(_rank(other), _rank(chosen), _RULES, strict=True)
    return next(reason for mine, its, reason in ranks if mine != its)
