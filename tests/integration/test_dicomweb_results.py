"""Results by QIDO-RS and WADO-RS, read by pydicom as a viewer would."""

from __future__ import annotations

import io
from collections.abc import Iterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread

from calcium_scoring.dicom.write_series import SeriesAttributes
from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.dicom_index import SqlDicomIndex
from service.adapters.database.engine import open_engine
from service.adapters.database.key_store import SqlKeyStore
from service.adapters.database.schema import upgrade_schema
from service.application.access import Scope, create_key
from service.application.result_instances import DicomQuery, QueryLevel
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.fakes import write_study_zip
from tests.integration.conftest import Service, running_gateway

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
PATIENTS = {
    1: SeriesAttributes("Curie^Marie", "A-1", study_date="20260105", study_time="093000"),
    2: SeriesAttributes("Franklin^Rosalind", "B_2", study_date="20260310", study_time="150000"),
}


@pytest.fixture(scope="module")
def study_zips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("patients")
    return [
        write_study_zip(folder / f"{seed}.zip", seed=seed, attributes=attributes)
        for seed, attributes in PATIENTS.items()
    ]


@pytest.fixture
def scored(service: Service, study_zips: list[Path]) -> Service:
    for one in study_zips:
        service.client.post("/studies", files={"file": one.read_bytes()})
        service.work()
    return service


def found(service: Service, path: str, **keys: str) -> list[Dataset]:
    answer = service.client.get(f"/dicomweb/{path}", params=keys)
    if answer.status_code == 204:
        assert answer.content == b""
        return []
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/dicom+json"
    return [Dataset.from_json(one) for one in answer.json()]


def names(service: Service, **keys: str) -> list[str]:
    return sorted(str(one.PatientName) for one in found(service, "studies", **keys))


BOTH = ["Curie^Marie", "Franklin^Rosalind"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, BOTH),
        ({"PatientID": "A-1"}, BOTH[:1]),
        # "_" is itself, not any character.
        ({"PatientID": "A_1"}, []),
        ({"PatientID": "?_2"}, BOTH[1:]),
        ({"00100020": "B*"}, BOTH[1:]),
        ({"PatientName": "curie*"}, BOTH[:1]),
        ({"PatientName": "*n*"}, BOTH[1:]),
        ({"StudyDate": "20260105"}, BOTH[:1]),
        ({"StudyDate": "20260106-"}, BOTH[1:]),
        ({"StudyDate": "-20260310"}, BOTH),
        ({"StudyDate": "20260101-20260131"}, BOTH[:1]),
        ({"StudyTime": "1200-1500"}, BOTH[1:]),
        ({"ModalitiesInStudy": "SEG"}, BOTH),
        ({"ModalitiesInStudy": "CT"}, []),
        ({"PatientID": ""}, BOTH),
        ({"includefield": "all", "PatientName": "Franklin^Rosalind"}, BOTH[1:]),
    ],
)
def test_studies_are_found_by_what_is_known_of_them(
    scored: Service, keys: dict[str, str], expected: list[str]
) -> None:
    assert names(scored, **keys) == expected


def test_a_study_says_how_many_series_and_objects_it_has(scored: Service) -> None:
    (study,) = found(scored, "studies", PatientID="A-1")

    # Masks of arteries and lesions, report, key image, printed page: a series each.
    assert study.NumberOfStudyRelatedInstances == 5
    series = found(scored, f"studies/{study.StudyInstanceUID}/series")
    assert study.NumberOfStudyRelatedSeries == len(series)
    assert sum(one.NumberOfSeriesRelatedInstances for one in series) == 5
    assert set(study.ModalitiesInStudy) == {one.Modality for one in series}
    root = f"http://127.0.0.1:{scored.client.base_url.port}/dicomweb"
    assert study.RetrieveURL == f"{root}/studies/{study.StudyInstanceUID}"


def test_objects_are_found_by_class_number_and_series(scored: Service) -> None:
    masks = found(scored, "instances", SOPClassUID=SEGMENTATION, PatientID="A-1")
    assert len(masks) == 2
    series = str(masks[0].SeriesInstanceUID)
    number = str(found(scored, "series", SeriesInstanceUID=series)[0].SeriesNumber)
    assert series in {one.SeriesInstanceUID for one in found(scored, "series", SeriesNumber=number)}
    study = masks[0].StudyInstanceUID
    inside = found(scored, f"studies/{study}/series/{series}/instances")
    assert str(masks[0].SOPInstanceUID) in {str(one.SOPInstanceUID) for one in inside}
    two = ",".join(str(one.SOPInstanceUID) for one in masks)
    assert len(found(scored, "instances", SOPInstanceUID=two)) == 2


def test_pages_of_matches_are_all_matches_once(scored: Service) -> None:
    whole = [str(one.SOPInstanceUID) for one in found(scored, "instances")]

    pages = [
        str(one.SOPInstanceUID)
        for offset in range(0, 12, 3)
        for one in found(scored, "instances", limit="3", offset=str(offset))
    ]

    assert len(whole) == 10
    assert pages == whole


def test_what_cannot_be_asked_is_refused_with_what_can(scored: Service) -> None:
    unknown = scored.client.get("/dicomweb/studies", params={"ShoeSize": "44"})
    broken = scored.client.get("/dicomweb/studies", params={"StudyDate": "yesterday"})

    assert (unknown.status_code, unknown.json()["code"]) == (400, "invalid_dicom_query")
    assert "PatientID" in unknown.json()["evidence"]["accepted"]
    assert broken.status_code == 400
    xml = scored.client.get("/dicomweb/studies", headers={"Accept": "application/dicom+xml"})
    assert xml.status_code == 406


def parts_of(answer: httpx.Response) -> Iterator[tuple[str, Dataset]]:
    """Read a multipart answer with the standard library; give transfer syntax and object."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + answer.content)
    for part in message.iter_parts():
        body = part.get_payload(decode=True)
        assert isinstance(body, bytes)
        assert part.get_content_type() == "application/dicom"
        yield str(part["Content-Type"].params["transfer-syntax"]), dcmread(io.BytesIO(body))


def test_objects_of_a_study_are_fetched_as_they_are_stored(scored: Service) -> None:
    (study,) = found(scored, "studies", PatientID="A-1")
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'

    answer = scored.client.get(
        f"/dicomweb/studies/{study.StudyInstanceUID}", headers={"Accept": accept}
    )

    assert answer.status_code == 200
    objects = list(parts_of(answer))
    # Explicit VR Little Endian
    assert {syntax for syntax, _ in objects} == {"1.2.840.10008.1.2.1"}
    assert len(objects) == 5
    metadata = scored.client.get(f"/dicomweb/studies/{study.StudyInstanceUID}/metadata").json()
    described = {str(one.SOPInstanceUID): one for one in map(Dataset.from_json, metadata)}
    for _, one in objects:
        said = described[str(one.SOPInstanceUID)]
        assert said.PatientName == "Curie^Marie"
        assert "PixelData" not in said
        # Everything else that is said of an object is as in the object.
        for element in said:
            if element.keyword != "AvailableTransferSyntaxUID":
                assert element == one[element.tag], element.keyword


def test_one_object_is_fetched_by_itself(scored: Service) -> None:
    (mask, _) = found(scored, "instances", SOPClassUID=SEGMENTATION, PatientID="A-1")

    answer = httpx.get(mask.RetrieveURL, headers={"Accept": "application/dicom"})

    assert answer.headers["Content-Type"] == "application/dicom"
    assert dcmread(io.BytesIO(answer.content)).SOPInstanceUID == mask.SOPInstanceUID
    entry = [
        one
        for one in SqlAuditLog(open_engine(scored.settings.record_url)).entries()
        if one.action == "results read by DICOMweb"
    ]
    assert len(entry) == 1
    assert entry[0].study_id is not None


def test_a_rerun_replaces_and_a_deletion_removes_what_is_found(scored: Service) -> None:
    before = {str(one.SOPInstanceUID) for one in found(scored, "instances")}
    study_ids = [one["id"] for one in scored.client.get("/studies").json()["studies"]]
    scored.client.post(f"/studies/{study_ids[0]}/rerun", json={})
    scored.work()
    assert {str(one.SOPInstanceUID) for one in found(scored, "instances")} == before

    for study_id in study_ids:
        scored.client.delete(f"/studies/{study_id}")

    assert found(scored, "studies") == []
    gone = scored.client.get("/dicomweb/studies/1.2.3")
    assert (gone.status_code, gone.json()["code"]) == (404, "dicom_object_not_found")


def test_another_tenant_finds_and_fetches_nothing(
    settings: Settings, study_zips: list[Path]
) -> None:
    guarded = settings.model_copy(update={"auth": "required"})
    guarded.data_dir.mkdir(parents=True)
    engine = open_engine(guarded.record_url)
    upgrade_schema(engine)
    own, other = (
        {
            "X-API-Key": create_key(
                SqlKeyStore(engine), name="t", tenant=tenant, scopes=(Scope.WRITE,), lifetime=None
            )[1]
        }
        for tenant in ("north", "south")
    )
    with running_gateway(guarded) as client:
        service = Service(client, guarded, worker_parts(guarded))
        client.post("/studies", files={"file": study_zips[0].read_bytes()}, headers=own)
        service.work()
        (mine,) = client.get("/dicomweb/studies", headers=own).json()
        url = f"/dicomweb/studies/{mine['0020000D']['Value'][0]}"
        assert client.get(url, headers=own).status_code == 200
        assert client.get("/dicomweb/studies", headers=other).status_code == 204
        for path in (url, f"{url}/metadata"):
            assert client.get(path, headers=other).status_code == 404
        assert client.get("/dicomweb/studies").status_code == 401
    index = SqlDicomIndex(engine)
    query = DicomQuery.of(QueryLevel.STUDY, [], limit=10, offset=0)
    assert len(index.search(query, tenant="north")) == 1
    assert index.search(query, tenant="south") == []
