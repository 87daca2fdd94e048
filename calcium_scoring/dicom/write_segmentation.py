"""Label maps and lesions as DICOM SEG.

One segment for each artery with calcium, or one for coronary calcium whose artery is not known, on
the grid of the source and with a reference to each of its instances; BINARY by default, or LABELMAP
(PS3.3 A.51, since 2024). A second object has one segment for each lesion, for its own tracking UID.
Writing the same result again gives the same file, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DSfloat

from calcium_scoring.dicom.codes import (
    ANATOMY_OF_LABEL,
    ARTIFICIAL_INTELLIGENCE,
    CALCIFIED_PLAQUE,
    MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
)
from calcium_scoring.dicom.derived_objects import (
    MANUFACTURER,
    Algorithm,
    copied,
    date_by_series,
    derive_dimension_uids,
    origin_of,
    patient_and_study,
    series_number,
)
from calcium_scoring.dicom.headers import number, quiet_pydicom
from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.dicom.uids import derived_uid
from calcium_scoring.scoring.lesions import Lesion
from calcium_scoring.scoring.tracking import lesion_tracking_id, lesion_tracking_uid
from calcium_scoring.version import __version__
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import BACKGROUND, CORONARY, Artery, LabelMap
from calcium_scoring.volume.segmentation_kind import SegmentationKind

CONTENT_LABEL: Final = "CORONARY_CALCIUM"
CONTENT_DESCRIPTION: Final = "Coronary calcium. Research use only; not for diagnosis."
LESIONS_CONTENT_LABEL: Final = "CALCIUM_LESIONS"
LESIONS_CONTENT_DESCRIPTION: Final = "Calcified lesions. Research use only; not for diagnosis."
SERIES_DESCRIPTION: Final = "Coronary calcium mask (research use only)"

COLOR_OF_LABEL: Final[dict[int, tuple[int, int, int]]] = {
    Artery.LM: (255, 214, 10),
    Artery.LAD: (255, 69, 58),
    Artery.LCX: (50, 215, 75),
    Artery.RCA: (10, 132, 255),
    CORONARY: (255, 69, 58),
}
"""Recommended display colours, sRGB; our choice, as in the overlay pictures."""

_PLACE_KEYWORDS: Final = (
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
)
"""What places the frames."""


def write_segmentation(
    label_map: LabelMap,
    series: CtSeries,
    model: Algorithm,
    out: Path,
    *,
    kind: SegmentationKind = SegmentationKind.BINARY,
) -> Path:
    """Write a label map on the grid of its series as DICOM SEG and return the path.

    A map without calcium gives one segment of empty frames: "looked, found none" is a result.
    """
    if not label_map.geometry.is_same_grid(series.volume.geometry):
        raise ValueError("The label map must lie on the grid of its series.")
    labels = segment_labels(label_map)
    segment_numbers = np.zeros(CORONARY + 1, dtype=np.uint8)
    segment_numbers[labels] = np.arange(1, len(labels) + 1)
    origin = origin_of(series.instances[0], model)
    return _write(
        _numbered(label_map, segment_numbers),
        [
            _segment(
                number,
                label,
                model,
                tracking_uid=artery_tracking_uid(series.instances[0], model, label),
                tracking_id=_calcium_of(label),
                segment_label=_calcium_of(label),
            )
            for number, label in enumerate(labels, start=1)
        ],
        series,
        model,
        out,
        kind=kind,
        sop_instance_uid=segmentation_uid(label_map, series.instances[0], model, kind),
        series_instance_uid=segmentation_series_uid(series.instances[0], model, kind),
        instance_number=1,
        content_label=CONTENT_LABEL,
        content_description=CONTENT_DESCRIPTION,
        uid_parts=("SEG", kind, *origin),
    )


def write_lesion_segmentation(
    lesions: Sequence[Lesion], series: CtSeries, model: Algorithm, out: Path
) -> Path:
    """Write lesions as a BINARY SEG, one segment each with its tracking UID; return the path.

    It belongs to the series of the arteries' SEG. ValueError where there is no lesion: a segment
    says that something is there.
    """
    if not lesions:
        raise ValueError("Without a lesion there is no segment to write.")
    numbers = np.zeros(series.volume.geometry.shape, dtype=np.uint16)
    for segment_number, lesion in enumerate(lesions, start=1):
        for part in lesion.slice_lesions:
            numbers[part.slice_index, part.pixels[0], part.pixels[1]] = segment_number
    header = series.instances[0]
    origin = origin_of(header, model)
    return _write(
        numbers if len(lesions) > np.iinfo(np.uint8).max else numbers.astype(np.uint8),
        [
            _segment(
                number,
                CORONARY if lesion.artery is None else lesion.artery,
                model,
                tracking_uid=lesion_tracking_uid(lesion, str(header.SeriesInstanceUID)),
                tracking_id=lesion_tracking_id(lesion),
                segment_label=lesion_tracking_id(lesion),
            )
            for number, lesion in enumerate(lesions, start=1)
        ],
        series,
        model,
        out,
        kind=SegmentationKind.BINARY,
        sop_instance_uid=lesion_segmentation_uid(lesions, header, model),
        series_instance_uid=segmentation_series_uid(header, model),
        instance_number=2,
        content_label=LESIONS_CONTENT_LABEL,
        content_description=LESIONS_CONTENT_DESCRIPTION,
        uid_parts=("lesion SEG", *origin),
    )


def segment_labels(label_map: LabelMap) -> list[int]:
    """Return the labels of the segments of a map, in the order of their numbers from 1."""
    return _labels_of(label_map) or [CORONARY]


def artery_tracking_uid(header: Dataset, model: Algorithm, label: int) -> str:
    """Return the tracking UID of the calcium of an artery, as SEG and SR give it."""
    return derived_uid("SEG segment", *origin_of(header, model), str(int(label)))


def segmentation_series_uid(
    header: Dataset, model: Algorithm, kind: SegmentationKind = SegmentationKind.BINARY
) -> str:
    """Return the UID of the series in which masks are written."""
    return derived_uid("SEG series", *origin_of(header, model), *_unless_binary(kind))


def segmentation_uid(
    label_map: LabelMap,
    header: Dataset,
    model: Algorithm,
    kind: SegmentationKind = SegmentationKind.BINARY,
) -> str:
    """Return the UID of the SEG of a label map."""
    mask_digest = hashlib.sha256(np.ascontiguousarray(label_map.labels).data).hexdigest()
    return derived_uid(
        "SEG instance", *origin_of(header, model), mask_digest, *_unless_binary(kind)
    )


def lesion_segmentation_uid(lesions: Sequence[Lesion], header: Dataset, model: Algorithm) -> str:
    """Return the UID of the SEG of these lesions."""
    series_uid = str(header.SeriesInstanceUID)
    return derived_uid(
        "lesion SEG instance",
        *origin_of(header, model),
        *(lesion_tracking_uid(lesion, series_uid) for lesion in lesions),
    )


def _unless_binary(kind: SegmentationKind) -> tuple[str, ...]:
    """Return what sets the UIDs of another kind apart; those of BINARY stay what they were."""
    return () if kind is SegmentationKind.BINARY else (kind.value,)


def _write(
    segment_numbers: NDArray[np.uint8] | NDArray[np.uint16],
    segments: Sequence[hd.seg.SegmentDescription],
    series: CtSeries,
    model: Algorithm,
    out: Path,
    *,
    kind: SegmentationKind,
    sop_instance_uid: str,
    series_instance_uid: str,
    instance_number: int,
    content_label: str,
    content_description: str,
    uid_parts: tuple[str, ...],
) -> Path:
    header = series.instances[0]
    with quiet_pydicom():
        sources = _sources(series)
        frames = _frames_as_instances(sources, series)
        segmentation = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=segment_numbers,
            segmentation_type=hd.seg.SegmentationTypeValues(kind.value),
            segment_descriptions=segments,
            series_instance_uid=series_instance_uid,
            series_number=series_number(header),
            sop_instance_uid=sop_instance_uid,
            instance_number=instance_number,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=model.name[:64],
            software_versions=(
                f"cacscore {__version__}",
                f"model {model.version}"[:64],
            ),  # type: ignore[arg-type] # meant as tuple[str, ...]
            device_serial_number=model.sha256[:64] or "0",
            content_label=content_label,
            content_description=content_description,
            # A SEG must have a frame: without calcium the empty ones stay.
            omit_empty_frames=bool(segment_numbers.any()),
            series_description=SERIES_DESCRIPTION,
        )
        _refer_to_frames(segmentation, frames)
        date_by_series(segmentation, header)
        derive_dimension_uids(segmentation, *uid_parts)
        segmentation.save_as(out)
    return out


def _labels_of(label_map: LabelMap) -> list[int]:
    """Return the labels that occur, ascending; slice by slice, as most hold none."""
    found: set[int] = set()
    for labels in label_map.labels:
        if labels.any():
            found.update(np.unique(labels).tolist())
    return sorted(found - {BACKGROUND})


def _numbered(label_map: LabelMap, segment_numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return segment numbers instead of labels; memory is taken for slices with calcium only."""
    numbered = np.zeros(label_map.labels.shape, dtype=np.uint8)
    for index, labels in enumerate(label_map.labels):
        if labels.any():
            numbered[index] = segment_numbers[labels]
    return numbered


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


def _calcium_of(label: int) -> str:
    return f"{Artery(label).name} calcium" if label != CORONARY else "Coronary calcium"


def _segment(
    segment_number: int,
    label: int,
    model: Algorithm,
    *,
    tracking_uid: str,
    tracking_id: str,
    segment_label: str,
) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=segment_number,
        segment_label=segment_label,
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
        tracking_uid=tracking_uid,
        tracking_id=tracking_id,
        anatomic_regions=[ANATOMY_OF_LABEL[label]],
        display_color=hd.color.CIELabColor.from_rgb(*COLOR_OF_LABEL[label]),
    )


def _sources(series: CtSeries) -> list[Dataset]:
    """Return what a mask takes over from each instance of its source, in values that are valid.

    Patient and study are those of the first instance: a series has one of each.
    """
    patient = patient_and_study(series.instances[0])
    geometry = series.volume.geometry
    return [_source(header, patient, geometry) for header in series.instances]


def _source(header: Dataset, patient: Dataset, geometry: VolumeGeometry) -> Dataset:
    # A copy: `Dataset(patient)` would share its elements.
    source = Dataset(dict(patient.items()))
    source.update(copied(header, _PLACE_KEYWORDS))
    spacing_mm = geometry.spacing_between_slices_mm
    source.SpacingBetweenSlices = DSfloat(spacing_mm, auto_format=True)
    # A mask needs a thickness (type 1C); where the source has none, slices are taken to touch.
    thickness_mm = number(source, "SliceThickness") or spacing_mm
    source.SliceThickness = DSfloat(thickness_mm, auto_format=True)
    return source
