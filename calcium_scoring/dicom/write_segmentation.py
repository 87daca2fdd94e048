"""Label maps as DICOM SEG.

BINARY, one segment for each artery with calcium, or one for coronary calcium whose artery is
not known, on the grid of the source and with a reference to each of its instances. UIDs are
derived from the series, the model and the mask, dates are those of the scan: writing the same
result again gives the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import highdicom as hd
import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DSfloat

from calcium_scoring.dicom.codes import (
    ANATOMY_OF_LABEL,
    ARTIFICIAL_INTELLIGENCE,
    CALCIFIED_PLAQUE,
    MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
)
from calcium_scoring.dicom.headers import PARSER_ERRORS, number, quiet_pydicom, text
from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.dicom.uids import derived_uid
from calcium_scoring.version import __version__
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap

MANUFACTURER: Final = "cacscore"
CONTENT_LABEL: Final = "CORONARY_CALCIUM"
CONTENT_DESCRIPTION: Final = "Coronary calcium. Research use only; not for diagnosis."
SERIES_DESCRIPTION: Final = "Coronary calcium mask (research use only)"

SERIES_NUMBER_OFFSET: Final = 9000
"""Added to the number of the source series, so that masks are listed behind the images."""

UNKNOWN_DATE: Final = "19000101"
MIDNIGHT: Final = "000000"
"""Content date and time (type 1: never empty) of a scan whose header has none. Our choice."""

COLOR_OF_LABEL: Final[dict[int, tuple[int, int, int]]] = {
    Artery.LM: (255, 214, 10),
    Artery.LAD: (255, 69, 58),
    Artery.LCX: (50, 215, 75),
    Artery.RCA: (10, 132, 255),
    CORONARY: (255, 69, 58),
}
"""Recommended display colours, sRGB; our choice, as in the overlay pictures."""

_SOURCE_KEYWORDS: Final = (
    # what places the frames
    "Columns",
    "FrameOfReferenceUID",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "Modality",
    "PixelSpacing",
    "PositionReferenceIndicator",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SliceThickness",
    "StudyInstanceUID",
    # whose it is: patient and study as an archive matches them
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
    "StudyTime",
)
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
_VALUE_PATTERNS: Final = {
    "PatientAge": r"\d{3}[DWMY]",
    "PatientBirthDate": r"(1[6-9]|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "PatientID": r"[^\\]{1,64}",
    "PatientSex": r"[MFO]",
    "StudyDate": r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
    "StudyID": r"[^\\]{1,16}",
    "AccessionNumber": r"[^\\]{1,16}",
    "StudyTime": r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
}
"""Values that do not have the form of their VR are left out of what we write."""


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


def write_segmentation(label_map: LabelMap, series: CtSeries, model: Algorithm, out: Path) -> Path:
    """Write a label map on the grid of its series as DICOM SEG and return the path.

    A map without calcium gives one segment of empty frames: "looked, found none" is a result.
    """
    if not label_map.geometry.is_same_grid(series.volume.geometry):
        raise ValueError("The label map must lie on the grid of its series.")
    labels = [int(label) for label in np.unique(label_map.labels) if label] or [CORONARY]
    segment_numbers = np.zeros(CORONARY + 1, dtype=np.uint8)
    segment_numbers[labels] = np.arange(1, len(labels) + 1)
    made_from = (
        str(series.instances[0].SeriesInstanceUID),
        model.name,
        model.version,
        model.sha256,
    )
    mask_digest = hashlib.sha256(label_map.labels.tobytes()).hexdigest()
    with quiet_pydicom():
        sources = [_source(header, series.volume.geometry) for header in series.instances]
        frames = _frames_as_instances(sources, series)
        segmentation = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=segment_numbers[label_map.labels],
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _segment(segment_number, label, model, made_from)
                for segment_number, label in enumerate(labels, start=1)
            ],
            series_instance_uid=derived_uid("SEG series", *made_from),
            series_number=_series_number(series.instances[0]),
            sop_instance_uid=derived_uid("SEG instance", *made_from, mask_digest),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=model.name[:64],
            software_versions=(
                f"cacscore {__version__}",
                f"model {model.version}"[:64],
            ),  # type: ignore[arg-type] # meant as tuple[str, ...]
            device_serial_number=model.sha256[:64] or "0",
            content_label=CONTENT_LABEL,
            content_description=CONTENT_DESCRIPTION,
            # A SEG must have a frame: without calcium the empty ones stay.
            omit_empty_frames=bool(label_map.labels.any()),
            series_description=SERIES_DESCRIPTION,
        )
        _refer_to_frames(segmentation, frames)
        _date_by_scan(segmentation, series.instances[0], made_from)
        segmentation.save_as(out)
    return out


def _date_by_scan(segmentation: Dataset, header: Dataset, made_from: tuple[str, ...]) -> None:
    """Replace what tells when the object was written by what tells which scan it shows.

    A second writing of the same result must not be another object under the same SOP Instance UID.
    """
    date, time = _scan_date_and_time(header)
    segmentation.ContentDate, segmentation.ContentTime = date, time
    # Optional (type 3): left out rather than invented.
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in segmentation:
            del segmentation[keyword]
    for equipment in segmentation.get("ContributingEquipmentSequence") or ():
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime
    organization_uid = derived_uid("SEG dimensions", *made_from)
    for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in segmentation.get(sequence) or ():
            item.DimensionOrganizationUID = organization_uid


def _scan_date_and_time(header: Dataset) -> tuple[str, str]:
    """Return when the scan was made, of the first pair of attributes that says it."""
    for prefix in ("Acquisition", "Content", "Series", "Study"):
        date, time = (text(header, f"{prefix}{what}") for what in ("Date", "Time"))
        if date is not None and re.fullmatch(_VALUE_PATTERNS["StudyDate"], date):
            has_time = time is not None and re.fullmatch(_VALUE_PATTERNS["StudyTime"], time)
            return date, time if has_time and time else MIDNIGHT
    return UNKNOWN_DATE, MIDNIGHT


@dataclass(frozen=True)
class _FrameReference:
    """Where a slice really lies: which frame (from 1) of which instance."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int


def _frames_as_instances(
    sources: Sequence[Dataset], series: CtSeries
) -> dict[str, _FrameReference]:
    """Give frames of one object UIDs of their own, as highdicom wants one instance a slice.

    Returned are the references that must take the place of these UIDs; none for single frames.
    """
    identity = series.volume.identity
    if identity is None or identity.frame_numbers is None:
        return {}
    references = {}
    for source, frame_number in zip(sources, identity.frame_numbers, strict=True):
        real = _FrameReference(source.SOPClassUID, source.SOPInstanceUID, frame_number)
        stand_in = derived_uid("frame", real.sop_instance_uid, str(frame_number))
        # New elements: those of the source belong to the header that it was taken from.
        source.add_new("SOPClassUID", "UI", CTImageStorage)
        source.add_new("SOPInstanceUID", "UI", stand_in)
        references[stand_in] = real
    return references


def _refer_to_frames(segmentation: Dataset, frames: Mapping[str, _FrameReference]) -> None:
    """Replace references to frames as instances by references to frames of their object."""
    if not frames:
        return
    for groups in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in groups.get("DerivationImageSequence") or ():
            for source in derivation.SourceImageSequence:
                real = frames[str(source.ReferencedSOPInstanceUID)]
                source.ReferencedSOPClassUID = real.sop_class_uid
                source.ReferencedSOPInstanceUID = real.sop_instance_uid
                source.ReferencedFrameNumber = real.frame_number
    for referenced in segmentation.ReferencedSeriesSequence:
        instances = {}
        for instance in referenced.ReferencedInstanceSequence:
            real = frames[str(instance.ReferencedSOPInstanceUID)]
            instance.ReferencedSOPClassUID = real.sop_class_uid
            instance.ReferencedSOPInstanceUID = real.sop_instance_uid
            instances[real.sop_instance_uid] = instance
        referenced.ReferencedInstanceSequence = list(instances.values())


def _series_number(header: Dataset) -> int:
    source_number = int(number(header, "SeriesNumber") or 0)
    return SERIES_NUMBER_OFFSET + (source_number if 0 < source_number < 10**6 else 0)


def _segment(
    segment_number: int, label: int, model: Algorithm, made_from: tuple[str, ...]
) -> hd.seg.SegmentDescription:
    name = f"{Artery(label).name} calcium" if label != CORONARY else "Coronary calcium"
    return hd.seg.SegmentDescription(
        segment_number=segment_number,
        segment_label=name,
        segmented_property_category=MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
        segmented_property_type=CALCIFIED_PLAQUE,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=model.name[:64],
            family=ARTIFICIAL_INTELLIGENCE,
            version=model.version[:64],
            source=MANUFACTURER,
            parameters={"model_sha256": model.sha256} if model.sha256 else None,
        ),
        tracking_uid=derived_uid("SEG segment", *made_from, str(label)),
        tracking_id=name,
        anatomic_regions=[ANATOMY_OF_LABEL[label]],
        display_color=hd.color.CIELabColor.from_rgb(*COLOR_OF_LABEL[label]),
    )


def _source(header: Dataset, geometry: VolumeGeometry) -> Dataset:
    """Return what a derived object takes over from its source, in values that are valid."""
    source = Dataset()
    for keyword in _SOURCE_KEYWORDS:
        # A damaged attribute is left out, like one that is not there.
        with suppress(*PARSER_ERRORS):
            element = header[keyword]
            if dictionary_VR(keyword) == element.VR:
                source[keyword] = element
    for keyword, pattern in _VALUE_PATTERNS.items():
        value = text(source, keyword)
        if value is not None and re.fullmatch(pattern, value) is None:
            del source[keyword]
    for keyword in _REQUIRED_MAYBE_EMPTY:
        if keyword not in source:
            setattr(source, keyword, "")
    # Values are decoded by now, whatever their character set was.
    source.SpecificCharacterSet = "ISO_IR 192"
    spacing_mm = geometry.spacing_between_slices_mm
    source.SpacingBetweenSlices = DSfloat(spacing_mm, auto_format=True)
    # A mask needs a thickness (type 1C); where the source has none, slices are taken to touch.
    thickness_mm = number(source, "SliceThickness") or spacing_mm
    source.SliceThickness = DSfloat(thickness_mm, auto_format=True)
    return source
