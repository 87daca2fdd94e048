"""What all objects that are made from a series have in common: whose they are, when, by whom.

Nothing here asks the clock. An object is dated by its series, and its UIDs follow from what it was
made from: the same result written again is the same file, byte for byte, so that an archive that
gets it twice keeps one.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final, Protocol

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from calcium_scoring.dicom.headers import PARSER_ERRORS, number, text
from calcium_scoring.dicom.uids import derived_uid
from calcium_scoring.version import __version__

MANUFACTURER: Final = "cacscore"

SERIES_NUMBER_OFFSET: Final = 9000
"""Added to the number of the source series, so that results are listed behind the images."""

UNDATED: Final = ("19700101", "000000")
"""Content date and time where the series has none: they must not be empty (PS3.3 C.7.6.16).
Our choice; the clock would make every rerun another file."""

_PATIENT_AND_STUDY: Final = (
    "AccessionNumber",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSponsorName",
    "ClinicalTrialSubjectID",
    "DeidentificationMethod",
    "PatientAge",
    "PatientBirthDate",
    "PatientID",
    "PatientIdentityRemoved",
    "PatientName",
    "PatientSex",
    "PatientSize",
    "PatientWeight",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyInstanceUID",
    "StudyTime",
)
"""Whose it is: patient and study as an archive matches them."""

_REQUIRED_MAYBE_EMPTY: Final = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
_DATE: Final = r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_TIME: Final = r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"
_VALUE_PATTERNS: Final = {
    "PatientAge": r"\d{3}[DWMY]",
    "PatientBirthDate": r"(1[6-9]|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "PatientID": r"[^\\]{1,64}",
    "PatientSex": r"[MFO]",
    "StudyDate": _DATE,
    "StudyID": r"[^\\]{1,16}",
    "AccessionNumber": r"[^\\]{1,16}",
    "StudyTime": _TIME,
}
"""Values that do not have the form of their VR are left out of what we write."""

_MOMENTS: Final = ("Content", "Acquisition", "Series", "Study")
"""Prefixes of Date and Time, the nearest to the images first."""


class Algorithm(Protocol):
    """What found the calcium; ``sha256`` is that of its file, in hex."""

    @property
    def name(self) -> str:
        """Name of the algorithm or of the network."""
        ...

    @property
    def version(self) -> str:
        """Version of the network."""
        ...

    @property
    def sha256(self) -> str:
        """Digest of the network's file; empty where there is none."""
        ...


def origin_of(header: Dataset, model: Algorithm) -> tuple[str, ...]:
    """Return what UIDs of results follow from: series and model."""
    return (str(header.SeriesInstanceUID), model.name, model.version, model.sha256)


def series_number(header: Dataset, offset: int = SERIES_NUMBER_OFFSET) -> int:
    """Return the number of a series of results, behind that of its source."""
    source_number = int(number(header, "SeriesNumber") or 0)
    return offset + (source_number if 0 < source_number < 10**6 else 0)


def copied(header: Dataset, keywords: tuple[str, ...]) -> Dataset:
    """Return these attributes as far as they are there, undamaged and of their own VR."""
    copy = Dataset()
    for keyword in keywords:
        # A damaged attribute is left out, like one that is not there.
        with suppress(*PARSER_ERRORS):
            element = header[keyword]
            if dictionary_VR(keyword) == element.VR:
                copy[keyword] = element
    return copy


def patient_and_study(header: Dataset) -> Dataset:
    """Return what a derived object takes over of patient and study, in values that are valid."""
    taken = copied(header, _PATIENT_AND_STUDY)
    for keyword, pattern in _VALUE_PATTERNS.items():
        value = text(taken, keyword)
        if value is not None and re.fullmatch(pattern, value) is None:
            del taken[keyword]
    for keyword in _REQUIRED_MAYBE_EMPTY:
        if keyword not in taken:
            setattr(taken, keyword, "")
    # Values are decoded by now, whatever their character set was.
    taken.SpecificCharacterSet = "ISO_IR 192"
    return taken


def moment_of(header: Dataset) -> tuple[str, str]:
    """Return date (DA) and time (TM) of the images: of content, acquisition, series or study."""
    for prefix in _MOMENTS:
        date, time = text(header, f"{prefix}Date"), text(header, f"{prefix}Time")
        if date is not None and re.fullmatch(_DATE, date):
            is_time = time is not None and re.fullmatch(_TIME, time)
            return date, time if time is not None and is_time else UNDATED[1]
    return UNDATED


def study_date(header: Dataset) -> str | None:
    """Return the date of the study (DA); None where there is none, or none that is a date."""
    date = text(header, "StudyDate")
    return date if date is not None and re.fullmatch(_DATE, date) else None


def new_object(
    header: Dataset,
    model: Algorithm,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    series_instance_uid: str,
    series_number: int,
    instance_number: int,
    modality: str,
    series_description: str,
) -> Dataset:
    """Return an object with all that is the same for each: patient, study, series, equipment.

    ``header`` is that of an instance of the source series. The object has a file meta information
    for Explicit VR Little Endian and is dated by its series; ``save_as`` writes it.
    """
    result = patient_and_study(header)
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.file_meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    result.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    result.SOPClassUID = sop_class_uid
    result.SOPInstanceUID = sop_instance_uid
    result.SeriesInstanceUID = series_instance_uid
    result.SeriesNumber = series_number
    result.InstanceNumber = instance_number
    result.Modality = modality
    result.SeriesDescription = series_description
    result.Manufacturer = MANUFACTURER
    result.ManufacturerModelName = model.name[:64]
    result.SoftwareVersions = [f"cacscore {__version__}", f"model {model.version}"[:64]]
    result.DeviceSerialNumber = model.sha256[:64] or "0"
    result.ContentDate, result.ContentTime = moment_of(header)
    return result


def reference_to(header: Dataset) -> Dataset:
    """Return an item that refers to an instance of the source."""
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def date_by_series(result: Dataset, header: Dataset) -> None:
    """Replace the dates of the clock in a result by those of its series."""
    date, time = moment_of(header)
    if "ContentDate" in result:
        result.ContentDate, result.ContentTime = date, time
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture"):
        result.pop(keyword, None)
    result.pop("TimeOfSecondaryCapture", None)
    for equipment in result.get("ContributingEquipmentSequence", None) or ():
        equipment.pop("ContributionDateTime", None)


def derive_dimension_uids(result: Dataset, *parts: str) -> None:
    """Replace the random UID of the organisation of a multi-frame object's dimensions."""
    uid = derived_uid("dimensions", *parts)
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in result.get(keyword, None) or ():
            if "DimensionOrganizationUID" in item:
                item.DimensionOrganizationUID = uid
