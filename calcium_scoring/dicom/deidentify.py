"""De-identification of CT images: what scoring needs is kept, everything else is not.

PS3.15 annex E, Basic Application Level Confidentiality Profile, lists attributes to remove. A list
of what is removed says nothing of what it does not name, so this module has the opposite list:
only attributes that are named here are written again, on every level of sequences. Private
attributes, overlays, free texts, people, places, devices' serial numbers and whatever follows the
pixels are thereby gone. Of the profile's options these are taken:

- Clean Descriptors: of Series Description and Protocol Name remain the words by which a calcium
  scan is chosen ("CaSc", "gated"); of a contrast agent, whether one was given.
- Retain Patient Characteristics, if asked for: age, over 89 years as 90, and sex.
- Retain Longitudinal Temporal Information with Modified Dates, if asked for: all dates of a
  patient are moved into the past by the same secret number of days; times of day go.

Files that hold no CT slice (dose reports, screen shots, localizers, documents) are left out, and
so are images that say that text is burnt into their pixels. Faces are not removed: the scan of a
heart has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from calcium_scoring.dicom.enhanced_ct import frames_of, is_enhanced_ct
from calcium_scoring.dicom.headers import (
    PARSER_ERRORS,
    ImageFile,
    NotReadable,
    quiet_pydicom,
    read_image_file,
    sop_class,
    text,
    transfer_syntax,
)
from calcium_scoring.dicom.patient import patient_facts
from calcium_scoring.dicom.pixels import read_pixel_data
from calcium_scoring.dicom.pseudonyms import Pseudonyms
from calcium_scoring.dicom.select_series import (
    is_contrast_enhanced,
    select_series,
    telling_words,
    why_no_ct_slice,
)
from calcium_scoring.errors import BurnedInAnnotation, UnreadablePixels
from calcium_scoring.upload.archive import UnpackedFile

KEPT: Final = frozenset(
    {
        # The image and its pixels.
        "ImageType",
        "FrameType",
        "Modality",
        "SOPClassUID",
        "NumberOfFrames",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
        "BurnedInAnnotation",
        # Where it lies.
        "PixelSpacing",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "SliceThickness",
        "SpacingBetweenSlices",
        "SliceLocation",
        "GantryDetectorTilt",
        "PatientPosition",
        "ReconstructionDiameter",
        # How it was made.
        "KVP",
        "XRayTubeCurrent",
        "XRayTubeCurrentInmA",
        "Exposure",
        "ExposureTime",
        "ConvolutionKernel",
        "ScanOptions",
        "Manufacturer",
        "ManufacturerModelName",
        "CardiacSynchronizationTechnique",
        "NominalPercentageOfCardiacPhase",
        "TriggerTime",
        "ContrastBolusVolume",
        "ContrastBolusAgentAdministered",
        "CalciumScoringMassFactorDevice",
        "CalciumScoringMassFactorPatient",
        # Its place among others.
        "SeriesNumber",
        "AcquisitionNumber",
        "InstanceNumber",
        "StackID",
        "InStackPositionNumber",
        "TemporalPositionIndex",
        "DimensionIndexValues",
        # Units of real world values.
        "CodeValue",
        "CodingSchemeDesignator",
    }
)
"""Keywords whose values are written as they are."""

KEPT_SEQUENCES: Final = frozenset(
    {
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "UnassignedSharedConvertedAttributesSequence",
        "UnassignedPerFrameConvertedAttributesSequence",
        "CTAcquisitionTypeSequence",
        "CTAcquisitionDetailsSequence",
        "CTXRayDetailsSequence",
        "CTReconstructionSequence",
        "CTImageFrameTypeSequence",
        "CardiacSynchronizationSequence",
        "ContrastBolusUsageSequence",
        # Its items become empty: that there is an agent matters, not which.
        "ContrastBolusAgentSequence",
        "FrameContentSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
        "PlaneOrientationSequence",
        "PlanePositionSequence",
        "RealWorldValueMappingSequence",
        "MeasurementUnitsCodeSequence",
    }
)
"""Sequences whose items are treated like the image itself."""

PSEUDONYMOUS_UIDS: Final = frozenset(
    {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"}
)
"""UIDs that are replaced; SOP classes and transfer syntaxes are not anybody's."""

DESCRIPTORS: Final = frozenset({"SeriesDescription", "ProtocolName"})
"""Texts of which only known words remain."""

DATES: Final = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
"""Dates that may be kept, moved; all others go."""

EMPTY: Final = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientSex",
    "PositionReferenceIndicator",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
"""Attributes that PS3.3 wants to be there, empty where there is nothing to say."""

OLDEST_AGE_YEARS: Final = 90
"""Stands for all ages over 89 (45 CFR 164.514(b)(2)(i)(C))."""

_CONTRAST_GIVEN, _NO_CONTRAST = "AGENT", "NONE"
_METHOD: Final = "PS3.15 annex E basic profile, by a list of what is kept"


@dataclass(frozen=True)
class DeidentificationOptions:
    """What is kept of patient and time."""

    retains_age_and_sex: bool = True
    shifts_dates: bool = False


@dataclass(frozen=True)
class DeidentifiedFiles:
    """Files without identity, and who they were about.

    ``originals`` leads from a pseudonym to its kind (a DICOM keyword in snake case) and original;
    it must be kept apart from the files. ``left_out_count`` files hold nothing to score.
    """

    paths: tuple[Path, ...]
    originals: Mapping[str, tuple[str, str]]
    left_out_count: int


def deidentify_files(
    files: Iterable[UnpackedFile],
    folder: Path,
    pseudonyms: Pseudonyms,
    options: DeidentificationOptions,
) -> DeidentifiedFiles:
    """Write the CT images among these files into a folder, without anybody's identity.

    The files are named ``00001.dcm``, ``00002.dcm`` in the order of the upload. Pixels are copied
    as they are, compressed or not.

    Raises
    ------
    NoDicomFound, NoCtSeries, UploadTooLarge
        As :func:`select_series`, where there is nothing to keep.
    BurnedInAnnotation
        Every CT image says that text is burnt into its pixels.
    """
    asked = list(files)
    paths: list[Path] = []
    originals: dict[str, tuple[str, str]] = {}
    burned_in = 0
    with quiet_pydicom():
        for number, file in enumerate(asked, start=1):
            try:
                image = read_image_file(file.path, file.name, number)
                is_slice = _holds_a_slice(image)
            except NotReadable:
                continue
            if not is_slice:
                continue
            if text(image.header, "BurnedInAnnotation") == "YES":
                burned_in += 1
                continue
            path = folder / f"{len(paths) + 1:05d}.dcm"
            _write(image, path, pseudonyms, options)
            _note_originals(image.header, pseudonyms, originals)
            paths.append(path)
    if not paths and burned_in:
        raise BurnedInAnnotation(
            f"All {burned_in} CT images say that text is burnt into their pixels (Burned In "
            "Annotation is YES); it may name the patient, and cannot be removed. Send the "
            "original images.",
            image_count=burned_in,
        )
    if not paths:
        # Says in its own words why nothing is left, or fails as it would without a profile.
        select_series(asked)
    return DeidentifiedFiles(tuple(paths), originals, len(asked) - len(paths))


def deidentified_header(
    header: Dataset, pseudonyms: Pseudonyms, options: DeidentificationOptions
) -> Dataset:
    """Return a new header with what scoring needs and nothing that names anybody."""
    result = _kept(header, pseudonyms)
    for keyword in EMPTY:
        setattr(result, keyword, "")
    patient = text(header, "PatientID") or text(header, "StudyInstanceUID") or ""
    if text(header, "PatientID") is not None:
        result.PatientID = pseudonyms.patient_id(patient)
        result.PatientName = result.PatientID
    else:
        result.PatientID = result.PatientName = ""
    methods = [
        codes.DCM.BasicApplicationConfidentialityProfile,
        codes.DCM.CleanDescriptorsOption,
    ]
    if options.retains_age_and_sex:
        methods.append(codes.DCM.RetainPatientCharacteristicsOption)
        facts = patient_facts(header)
        if facts.age_years is not None:
            result.PatientAge = f"{min(facts.age_years, OLDEST_AGE_YEARS):03d}Y"
        if facts.sex is not None:
            result.PatientSex = text(header, "PatientSex")
    if options.shifts_dates:
        methods.append(codes.DCM.RetainLongitudinalTemporalInformationModifiedDatesOption)
        _move_dates(header, result, pseudonyms.days_back(patient))
    result.PatientIdentityRemoved = "YES"
    result.LongitudinalTemporalInformationModified = (
        "MODIFIED" if options.shifts_dates else "REMOVED"
    )
    result.DeidentificationMethod = _METHOD
    result.DeidentificationMethodCodeSequence = DicomSequence(
        _code_item(one.value, one.scheme_designator, one.meaning) for one in methods
    )
    return result


def _holds_a_slice(image: ImageFile) -> bool:
    frames = frames_of(image) if is_enhanced_ct(image.header) else [image]
    return any(why_no_ct_slice(one.header) is None for one in frames)


def _kept(source: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    """Return what is kept of a data set or of an item of a sequence."""
    result = Dataset()
    for tag in tuple(source.keys()):
        # A damaged attribute is left out, like one that is not there.
        with suppress(*PARSER_ERRORS):
            element = source[tag]
            keyword = element.keyword
            if keyword in KEPT:
                result.add(element)
            elif keyword in KEPT_SEQUENCES:
                items = DicomSequence(_kept(item, pseudonyms) for item in element.value)
                setattr(result, keyword, items)
            elif keyword in PSEUDONYMOUS_UIDS and (uid := text(source, keyword)) is not None:
                setattr(result, keyword, pseudonyms.uid(uid))
            elif keyword in DESCRIPTORS:
                words = telling_words(source, keyword)
                if words:
                    setattr(result, keyword, words)
            elif keyword == "ContrastBolusAgent" and text(source, keyword) is not None:
                is_given = is_contrast_enhanced(source)
                result.ContrastBolusAgent = _CONTRAST_GIVEN if is_given else _NO_CONTRAST
    return result


def _move_dates(header: Dataset, result: Dataset, days: int) -> None:
    for keyword in DATES:
        original = _date(text(header, keyword) or "")
        if original is not None:
            setattr(result, keyword, f"{original - timedelta(days=days):%Y%m%d}")


def _date(written: str) -> date | None:
    try:
        return datetime.strptime(written, "%Y%m%d").date()  # noqa: DTZ007 - DICOM dates have no zone
    except ValueError:
        return None


def _code_item(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _note_originals(
    header: Dataset, pseudonyms: Pseudonyms, originals: dict[str, tuple[str, str]]
) -> None:
    patient_id = text(header, "PatientID")
    if patient_id is not None:
        originals[pseudonyms.patient_id(patient_id)] = ("patient_id", patient_id)
    for keyword, kind in (
        ("StudyInstanceUID", "study_instance_uid"),
        ("SeriesInstanceUID", "series_instance_uid"),
    ):
        uid = text(header, keyword)
        if uid is not None:
            originals[pseudonyms.uid(uid)] = (kind, uid)


def _write(
    image: ImageFile, path: Path, pseudonyms: Pseudonyms, options: DeidentificationOptions
) -> None:
    result = deidentified_header(image.header, pseudonyms, options)
    syntax = UID(transfer_syntax(image.header))
    if syntax == DeflatedExplicitVRLittleEndian:
        syntax = ExplicitVRLittleEndian
    result.preamble = bytes(128)
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = syntax
    kind = sop_class(image.header)
    if kind is not None:
        result.file_meta.MediaStorageSOPClassUID = UID(kind)
    instance = text(result, "SOPInstanceUID")
    if instance is not None:
        result.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    # Without pixels the reader refuses it as it would have refused the original.
    with suppress(UnreadablePixels):
        element = read_pixel_data(image.path)
        element.is_undefined_length = syntax.is_compressed
        result.add(element)
    # Part 10 demands identifiers that some senders strip; what is missing stays missing.
    result.save_as(
        path,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        enforce_file_format=False,
    )
