"""The report as FHIR R4: a Bundle with a DiagnosticReport and its Observations.

One Observation for all coronary arteries, one for each artery and one for each lesion, coded as in
DICOM SR (``calcium_scoring.dicom.codes``). There is no LOINC code: none could be verified. Whose
report it is, is said by the Study Instance UID: the report holds no patient attribute but age and
sex. The same report gives the same bundle.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from calcium_scoring.dicom import codes
from calcium_scoring.volume.label_map import CORONARY, Artery
from service.application.report_terms import ReportDocument

FhirResource: TypeAlias = dict[str, Any]
"""A FHIR resource as JSON values."""

FHIR_VERSION: Final = "4.0"

_SYSTEMS: Final = {
    "DCM": "http://dicom.nlm.nih.gov/resources/ontology/DCM",
    "SCT": "http://snomed.info/sct",
    "UCUM": "http://unitsofmeasure.org",
}
"""URIs that FHIR R4 gives to these code systems (hl7.org/fhir/R4/terminologies-systems.html)."""

_UIDS: Final = "urn:dicom:uid"
_SERVICE_SECTIONS: Final = "http://terminology.hl7.org/CodeSystem/v2-0074"


def fhir_bundle(document: ReportDocument, *, study_date: str | None = None) -> FhirResource:
    """Return the bundle (type ``collection``) of a report; ``study_date`` is DICOM's YYYYMMDD."""
    writer = _Writer(document, study_date)
    lesions = {lesion["id"]: writer.lesion(lesion) for lesion in document["lesions"]}
    arteries = [
        writer.artery(
            name,
            scores,
            [lesions[one["id"]] for one in document["lesions"] if one["artery"] == name],
        )
        for name, scores in document["arteries"].items()
        if scores is not None
    ]
    total = writer.total(arteries or list(lesions.values()))
    observations = [total, *arteries, *lesions.values()]
    report = writer.report(observations)
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "identifier": {
            "system": "urn:ietf:rfc:3986",
            "value": f"urn:uuid:{writer.id_of('bundle')}",
        },
        "entry": [
            {"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource}
            for resource in (report, *observations)
        ],
    }


class _Writer:
    """Writes the resources of one report; their ids follow from its content."""

    def __init__(self, document: ReportDocument, study_date: str | None) -> None:
        self._document = document
        self._digest = hashlib.sha256(
            json.dumps(document, sort_keys=True, ensure_ascii=False).encode()
        ).hexdigest()
        self._effective = _fhir_date(study_date)

    def id_of(self, *parts: str) -> str:
        """Return the id of a resource of this report."""
        digest = hashlib.sha256("\x1f".join((self._digest, *parts)).encode()).digest()
        return str(uuid.UUID(bytes=digest[:16], version=5))

    def report(self, observations: Sequence[FhirResource]) -> FhirResource:
        """Return the DiagnosticReport; preliminary, as nobody has verified it."""
        document = self._document
        report: FhirResource = {
            "resourceType": "DiagnosticReport",
            "id": self.id_of("report"),
            "status": "preliminary",
            "category": [
                {"coding": [{"system": _SERVICE_SECTIONS, "code": "RAD", "display": "Radiology"}]}
            ],
            "code": _concept(codes.CALCIUM_SCORING_CT),
            "result": [_reference(one) for one in observations],
            "conclusion": _conclusion(document),
            **self._common(),
        }
        study_uid = document["series"]["study_instance_uid"]
        if study_uid is not None:
            report["imagingStudy"] = [
                {
                    "type": "ImagingStudy",
                    "identifier": {"system": _UIDS, "value": f"urn:oid:{study_uid}"},
                }
            ]
        return report

    def total(self, members: Sequence[FhirResource]) -> FhirResource:
        """Return the Observation of all coronary arteries, with what the score means."""
        document = self._document
        cac_drs = document["categories"]["cac_drs"]["value"] or document["cac_drs_category"]
        components = [
            *_score_components(document),
            {"code": {"text": "CAC-DRS"}, "valueString": cac_drs},
            {"code": {"text": "Agatston score category"}, "valueString": document["risk_category"]},
        ]
        for name, title in (
            ("hoff_percentile", "Percentile (Hoff 2001)"),
            ("mesa_percentile", "Percentile (MESA 2006)"),
        ):
            entry = document["categories"][name]
            if entry["value"] is not None:
                words = f"{entry['value']} of {entry['reference_group']}"
                components.append({"code": {"text": title}, "valueString": words})
        uncertainty = document["uncertainty"]
        if uncertainty is not None and uncertainty["low"] is not None:
            components.append(
                {
                    "code": {
                        "text": f"Score of {100 * uncertainty['level']:.0f} % of repeat scans"
                    },
                    "valueRange": {
                        "low": _quantity(uncertainty["low"], codes.NO_UNITS),
                        "high": _quantity(uncertainty["high"], codes.NO_UNITS),
                    },
                }
            )
        return self._observation(
            "total", codes.CORONARY_ARTERY, document["agatston_score"], components, members
        )

    def artery(
        self, name: str, scores: Mapping[str, Any], members: Sequence[FhirResource]
    ) -> FhirResource:
        """Return the Observation of one artery."""
        return self._observation(
            f"artery {name}",
            codes.ANATOMY_OF_LABEL[Artery[name]],
            scores["agatston_score"],
            _score_components(scores),
            members,
        )

    def lesion(self, lesion: Mapping[str, Any]) -> FhirResource:
        """Return the Observation of one lesion, with the tracking UID of SEG and SR."""
        label = CORONARY if lesion["artery"] is None else Artery[lesion["artery"]]
        observation = self._observation(
            f"lesion {lesion['id']}",
            codes.ANATOMY_OF_LABEL[label],
            lesion["agatston_score"],
            [
                *_score_components(lesion),
                _component(codes.AREA, lesion["area_mm2"], codes.SQUARE_MILLIMETRES),
                _component(
                    codes.ATTENUATION,
                    lesion["peak_hu"],
                    codes.HOUNSFIELD_UNITS,
                    text="Highest attenuation",
                ),
                _component(
                    codes.ATTENUATION,
                    lesion["mean_hu"],
                    codes.HOUNSFIELD_UNITS,
                    text="Mean attenuation",
                ),
            ],
            (),
        )
        if lesion["tracking_uid"] is not None:
            observation["identifier"] = [
                {"system": _UIDS, "value": f"urn:oid:{lesion['tracking_uid']}"}
            ]
        return observation

    def _observation(
        self,
        name: str,
        site: codes.CodedConcept,
        agatston_score: float,
        components: Sequence[FhirResource],
        members: Sequence[FhirResource],
    ) -> FhirResource:
        observation: FhirResource = {
            "resourceType": "Observation",
            "id": self.id_of(name),
            "status": "preliminary",
            "code": {
                "coding": [_coding(codes.CALCIUM_SCORE), _coding(codes.CALCIUM_SCORE_FINDING)],
                "text": "Coronary calcium score (Agatston)",
            },
            "valueQuantity": _quantity(agatston_score, codes.NO_UNITS),
            "note": [{"text": self._document["intended_use"]}],
            "bodySite": _concept(site),
            "method": _concept(codes.AGATSTON_METHOD),
            "component": list(components),
            **self._common(),
        }
        model = self._document["model"]
        if model is not None:
            observation["device"] = {"display": f"{model['name']} {model['version']}"}
        if members:
            observation["hasMember"] = [_reference(one) for one in members]
        return observation

    def _common(self) -> FhirResource:
        return {} if self._effective is None else {"effectiveDateTime": self._effective}


def _score_components(scores: Mapping[str, Any]) -> list[FhirResource]:
    components = [
        _component(codes.CALCIUM_VOLUME, scores["volume_score_mm3"], codes.CUBIC_MILLIMETRES)
    ]
    if scores["mass_score_mg"] is not None:
        components.append(_component(codes.CALCIUM_MASS, scores["mass_score_mg"], codes.MILLIGRAMS))
    if "lesion_count" in scores:
        components.append(_component(codes.LESION_COUNT, scores["lesion_count"], codes.NO_UNITS))
    return components


def _conclusion(document: ReportDocument) -> str:
    cac_drs = document["categories"]["cac_drs"]["value"] or document["cac_drs_category"]
    score = f"Agatston score {document['agatston_score']:.1f} ({document['risk_category']})"
    sentences = [
        f"{score}, CAC-DRS {cac_drs}.",
        document["intended_use"],
    ]
    sentences += [f"Warning: {one['message']} ({one['code']})" for one in document["warnings"]]
    return " ".join(sentences)


def _component(
    name: codes.CodedConcept, value: float, unit: codes.CodedConcept, *, text: str | None = None
) -> FhirResource:
    concept = _concept(name)
    if text is not None:
        concept["text"] = text
    return {"code": concept, "valueQuantity": _quantity(value, unit)}


def _quantity(value: float, unit: codes.CodedConcept) -> FhirResource:
    return {
        "value": value,
        "unit": unit.meaning,
        "system": _SYSTEMS[unit.scheme_designator],
        "code": unit.value,
    }


def _concept(code: codes.CodedConcept) -> FhirResource:
    return {"coding": [_coding(code)], "text": code.meaning}


def _coding(code: codes.CodedConcept) -> FhirResource:
    return {
        "system": _SYSTEMS[code.scheme_designator],
        "code": code.value,
        "display": code.meaning,
    }


def _reference(resource: FhirResource) -> FhirResource:
    return {"reference": f"urn:uuid:{resource['id']}"}


def _fhir_date(study_date: str | None) -> str | None:
    try:
        # A DICOM date has no zone, and FHIR wants none for a day.
        return datetime.strptime(study_date or "", "%Y%m%d").date().isoformat()  # noqa: DTZ007
    except ValueError:
        return None
