"""The report as a DICOM Structured Report: Comprehensive 3D SR, TID 1500 Measurement Report.

A measurement group for all coronary arteries together, one for each artery and one for each
lesion. Scores carry the codes of TID 3905 (calcium score, volume, mass). Groups of arteries and
lesions refer to their segments in the SEG objects and share their tracking UIDs. What has no code,
such as warnings and the score under other conventions, is text that people can read.

The same result written again is the same file, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from calcium_scoring.dicom import codes as our
from calcium_scoring.dicom.derived_objects import (
    MANUFACTURER,
    SERIES_NUMBER_OFFSET,
    Algorithm,
    date_by_series,
    origin_of,
    patient_and_study,
    series_number,
)
from calcium_scoring.dicom.headers import quiet_pydicom
from calcium_scoring.dicom.read_report import TOTAL_IDENTIFIER
from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.dicom.uids import derived_uid
from calcium_scoring.dicom.write_segmentation import (
    artery_tracking_uid,
    lesion_segmentation_uid,
    segment_labels,
    segmentation_series_uid,
    segmentation_uid,
)
from calcium_scoring.scoring.lesions import Lesion
from calcium_scoring.scoring.report import CalciumReport, CalciumScores
from calcium_scoring.scoring.tracking import lesion_tracking_id, lesion_tracking_uid
from calcium_scoring.version import __version__
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap

SERIES_DESCRIPTION: Final = "Coronary calcium report (research use only)"
_SERIES_NUMBER_OFFSET: Final = SERIES_NUMBER_OFFSET + 1


def write_report(
    report: CalciumReport,
    document: Mapping[str, Any],
    label_map: LabelMap,
    series: CtSeries,
    *,
    model: Algorithm,
    out: Path,
) -> Path:
    """Write a report as Comprehensive 3D SR and return the path.

    Parameters
    ----------
    report
        What was measured.
    document
        The same as JSON values (schema version 3): categories, percentiles, uncertainty,
        warnings, intended use.
    label_map, series, model
        What was measured, on what, and what found it; the SEG objects that the report refers to
        are those that ``write_segmentation`` and ``write_lesion_segmentation`` write of them.
    """
    header = series.instances[0]
    origin = origin_of(header, model)
    content_digest = hashlib.sha256(
        json.dumps(document, sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()
    with quiet_pydicom():
        masks = _Masks.of(report, label_map, series, model)
        content = MeasurementReport(
            observation_context=_observer(model),
            procedure_reported=our.CALCIUM_SCORING_CT,
            imaging_measurements=[
                _total_group(report, document, model, header),
                *_artery_groups(report, masks, series, model),
                *(_lesion_group(lesion, report, masks, series) for lesion in report.lesions),
            ],
        )
        content[0].ContentSequence.append(_evaluations(report, document))
        structured = Comprehensive3DSR(
            evidence=[*_evidence(series), *masks.evidence],
            content=content[0],
            series_instance_uid=derived_uid("SR series", *origin),
            series_number=series_number(header, _SERIES_NUMBER_OFFSET),
            sop_instance_uid=derived_uid("SR instance", *origin, content_digest),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=model.name[:64],
            software_versions=(f"cacscore {__version__}", f"model {model.version}"[:64]),
            device_serial_number=model.sha256[:64] or "0",
            is_complete=True,
            is_final=False,
            is_verified=False,
            specific_character_set="ISO_IR 192",
            coding_schemes=[
                CodingSchemeIdentificationItem(
                    designator=our.OWN_SCHEME,
                    name="cacscore: words of its glossary",
                    responsible_organization=MANUFACTURER,
                )
            ],
            series_description=SERIES_DESCRIPTION,
        )
        _take_over_study(structured, header)
        date_by_series(structured, header)
        structured.save_as(out)
    return out


@dataclass(frozen=True)
class _Masks:
    """The SEG objects that groups refer to: number of the segment by label and by lesion."""

    artery_object_uid: str
    number_of_label: Mapping[int, int]
    lesion_object_uid: str | None
    number_of_lesion: Mapping[int, int]
    evidence: tuple[Dataset, ...]

    @classmethod
    def of(
        cls, report: CalciumReport, label_map: LabelMap, series: CtSeries, model: Algorithm
    ) -> _Masks:
        header = series.instances[0]
        artery_object_uid = segmentation_uid(label_map, header, model)
        lesion_object_uid = (
            lesion_segmentation_uid(report.lesions, header, model) if report.lesions else None
        )
        evidence = []
        for uid in (artery_object_uid, lesion_object_uid):
            if uid is not None:
                reference = Dataset()
                reference.StudyInstanceUID = header.StudyInstanceUID
                reference.SeriesInstanceUID = segmentation_series_uid(header, model)
                reference.SOPInstanceUID = uid
                reference.SOPClassUID = SegmentationStorage
                evidence.append(reference)
        # The one segment of a map without calcium is empty: no group refers to it.
        labels = segment_labels(label_map) if label_map.labels.any() else []
        return cls(
            artery_object_uid,
            {label: number for number, label in enumerate(labels, start=1)},
            lesion_object_uid,
            {lesion.lesion_id: number for number, lesion in enumerate(report.lesions, start=1)},
            tuple(evidence),
        )


def _observer(model: Algorithm) -> ObservationContext:
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=derived_uid("device", MANUFACTURER, __version__, model.sha256),
                name=f"cacscore {__version__}",
                manufacturer_name=MANUFACTURER,
                model_name=model.name[:64],
                serial_number=model.sha256[:64] or "0",
            ),
        )
    )


def _total_group(
    report: CalciumReport, document: Mapping[str, Any], model: Algorithm, header: Dataset
) -> MeasurementsAndQualitativeEvaluations:
    category = document["categories"]["cac_drs"]["value"] or report.cac_drs_category
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid("total", *origin_of(header, model)),
            identifier=TOTAL_IDENTIFIER,
        ),
        algorithm_id=AlgorithmIdentification(
            name=model.name[:64],
            version=model.version,
            parameters=[f"model_sha256={model.sha256}"] if model.sha256 else None,
        ),
        finding_type=our.CALCIFIED_PLAQUE,
        finding_sites=[FindingSite(our.CORONARY_ARTERY)],
        measurements=[
            *_scores(report.total),
            _measurement(our.LESION_COUNT, report.total.lesion_count, our.NO_UNITS),
            _measurement(
                our.AGATSTON_THRESHOLD, report.protocol.threshold_hu, our.HOUNSFIELD_UNITS
            ),
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(our.CAC_DRS, our.own_code(category, category)),
            QualitativeEvaluation(
                our.RISK_CATEGORY,
                our.own_code(report.risk_category, f"Agatston score {report.risk_category}"),
            ),
        ],
    )


def _artery_groups(
    report: CalciumReport, masks: _Masks, series: CtSeries, model: Algorithm
) -> list[Any]:
    """Return a group for each artery with its score; with no arteries known, for all calcium."""
    header = series.instances[0]
    scores_of: dict[int, CalciumScores] = (
        {CORONARY: report.total}
        if report.arteries is None
        else {int(artery): scores for artery, scores in report.arteries.items()}
    )
    groups: list[Any] = []
    for label, scores in scores_of.items():
        name = "Coronary" if label == CORONARY else Artery(label).name
        group: dict[str, Any] = {
            "tracking_identifier": TrackingIdentifier(
                uid=artery_tracking_uid(header, model, label), identifier=f"{name} calcium"
            ),
            "finding_type": our.CALCIFIED_PLAQUE,
            "finding_sites": [FindingSite(our.ANATOMY_OF_LABEL[label])],
            "measurements": [
                *_scores(scores),
                _measurement(our.LESION_COUNT, scores.lesion_count, our.NO_UNITS),
            ],
        }
        number = masks.number_of_label.get(label)
        if number is None:
            groups.append(MeasurementsAndQualitativeEvaluations(**group))
        else:
            groups.append(
                VolumetricROIMeasurementsAndQualitativeEvaluations(
                    **group,
                    referenced_segment=_segment(masks.artery_object_uid, number, header),
                )
            )
    return groups


def _lesion_group(
    lesion: Lesion, report: CalciumReport, masks: _Masks, series: CtSeries
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    if masks.lesion_object_uid is None:
        raise ValueError("A lesion without the object of the lesions' segments.")
    header = series.instances[0]
    label = CORONARY if lesion.artery is None else lesion.artery
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=lesion_tracking_uid(lesion, str(header.SeriesInstanceUID)),
            identifier=lesion_tracking_id(lesion),
        ),
        referenced_segment=_segment(
            masks.lesion_object_uid, masks.number_of_lesion[lesion.lesion_id], header
        ),
        finding_type=our.CALCIFIED_PLAQUE,
        finding_sites=[FindingSite(our.ANATOMY_OF_LABEL[label])],
        measurements=[
            *_scores(report.scores_of([lesion])),
            _measurement(our.AREA, lesion.area_mm2, our.SQUARE_MILLIMETRES),
            _measurement(
                our.ATTENUATION, lesion.peak_hu, our.HOUNSFIELD_UNITS, derivation=our.MAXIMUM
            ),
            _measurement(
                our.ATTENUATION, lesion.mean_hu, our.HOUNSFIELD_UNITS, derivation=our.MEAN
            ),
        ],
    )


def _segment(object_uid: str, segment_number: int, header: Dataset) -> ReferencedSegment:
    return ReferencedSegment(
        sop_class_uid=SegmentationStorage,
        sop_instance_uid=object_uid,
        segment_number=segment_number,
        source_series=SourceSeriesForSegmentation(str(header.SeriesInstanceUID)),
    )


def _scores(scores: CalciumScores) -> list[Measurement]:
    measured = [
        _measurement(
            our.CALCIUM_SCORE, scores.agatston_score, our.NO_UNITS, method=our.AGATSTON_METHOD
        ),
        _measurement(
            our.CALCIUM_VOLUME,
            scores.volume_score_mm3,
            our.CUBIC_MILLIMETRES,
            method=our.VOLUME_METHOD,
        ),
    ]
    if scores.mass_score_mg is not None:
        measured.append(
            _measurement(
                our.CALCIUM_MASS, scores.mass_score_mg, our.MILLIGRAMS, method=our.MASS_METHOD
            )
        )
    return measured


def _measurement(
    name: Code,
    value: float,
    unit: Code,
    *,
    method: Code | None = None,
    derivation: Code | None = None,
) -> Measurement:
    return Measurement(
        name=CodedConcept(*name[:3]),
        value=value,
        unit=CodedConcept(*unit[:3]),
        method=method,
        derivation=derivation,
    )


def _evaluations(report: CalciumReport, document: Mapping[str, Any]) -> ContainerContentItem:
    """Return the Qualitative Evaluations of TID 1500: what people read first, as text."""
    texts = [
        (our.INTENDED_USE, document["intended_use"]),
        (our.SUMMARY, _summary(report, document)),
        *((our.PERCENTILE, sentence) for sentence in _percentiles(document)),
        *((our.UNCERTAINTY, sentence) for sentence in _uncertainty(document)),
        (our.CONVENTIONS, _conventions(document)),
        (our.PROTOCOL, _protocol(document)),
        *(
            (our.WARNING, f"{warning['message']} (code: {warning['code']})")
            for warning in document["warnings"]
        ),
    ]
    container = ContainerContentItem(
        name=CodedConcept(*our.EVALUATIONS[:3]), relationship_type=RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = ContentSequence(
        [
            TextContentItem(
                name=CodedConcept(*name[:3]),
                value=text,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
            for name, text in texts
            if text
        ]
    )
    return container


def _summary(report: CalciumReport, document: Mapping[str, Any]) -> str:
    total = report.total
    mass = "" if total.mass_score_mg is None else f", mass {total.mass_score_mg:.1f} mg"
    category = document["categories"]["cac_drs"]["value"] or report.cac_drs_category
    lesions = "1 lesion" if total.lesion_count == 1 else f"{total.lesion_count} lesions"
    stability = (
        "The same categories result under every convention."
        if report.category_stable
        else "Other conventions give another category."
    )
    return (
        f"Agatston score {total.agatston_score:.1f} ({report.risk_category}), CAC-DRS {category}, "
        f"volume {total.volume_score_mm3:.1f} mm3{mass}, {lesions}. {stability}"
    )


def _percentiles(document: Mapping[str, Any]) -> Sequence[str]:
    sentences = []
    for name, title in (("hoff_percentile", "Hoff 2001"), ("mesa_percentile", "MESA 2006")):
        entry = document["categories"][name]
        if entry["value"] is not None:
            sentences.append(f"{title}: {entry['value']} ({entry['reference_group']})")
    return sentences


def _uncertainty(document: Mapping[str, Any]) -> Sequence[str]:
    found = document["uncertainty"]
    if found is None or found["low"] is None:
        return []
    sentence = (
        f"{100 * found['level']:.0f} % of repeat scans of this patient would score between "
        f"{found['low']:.1f} and {found['high']:.1f}, from noise and voxel grid alone."
    )
    return [sentence]


def _conventions(document: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{one['name']} {one['agatston_score']:.1f} ({one['risk_category']}, "
        f"{one['cac_drs_category']})"
        for one in document["conventions"]
    )


def _protocol(document: Mapping[str, Any]) -> str:
    protocol = document["protocol"]
    source = f" Source: {protocol['source']}." if protocol["source"] else ""
    return (
        f"{protocol['name']}: from {protocol['threshold_hu']:g} HU, smallest lesion "
        f"{protocol['min_lesion_area_mm2']:g} mm2 and {protocol['min_lesion_pixel_count']} pixels, "
        f"tube voltage table {protocol['tube_voltage_table']}.{source}"
    )


def _evidence(series: CtSeries) -> list[Dataset]:
    """Return what a report takes over of its source instances; each object once."""
    found: dict[str, Dataset] = {}
    for header in series.instances:
        uid = str(header.SOPInstanceUID)
        if uid in found:
            continue
        instance = patient_and_study(header) if not found else Dataset()
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
            instance.add_new(keyword, "UI", str(header[keyword].value))
        instance.add_new("SOPInstanceUID", "UI", uid)
        found[uid] = instance
    return list(found.values())


def _take_over_study(structured: Dataset, header: Dataset) -> None:
    """Add what the library does not take over: whose study it is, in full."""
    for element in patient_and_study(header):
        if element.keyword not in structured:
            structured[element.keyword] = element
