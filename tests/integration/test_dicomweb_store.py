"""Series by STOW-RS into our gateway: by a client of another make, and by hand."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread

from tests.integration.conftest import Service

CT = "1.2.840.10008.5.1.4.1.1.2"
BOUNDARY = "cut-here"
TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def instances_of(study_zip: Path) -> list[bytes]:
    with zipfile.ZipFile(study_zip) as archive:
        return [archive.read(name) for name in sorted(archive.namelist())]


def multipart(*instances: bytes, kind: str = "application/dicom") -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n".encode()
    return b"".join(head + one + b"\r\n" for one in instances) + f"--{BOUNDARY}--".encode()


def stored(service: Service, body: bytes, path: str = "", kind: str = TYPE) -> httpx.Response:
    return service.client.post(
        f"/dicomweb/studies{path}", content=body, headers={"Content-Type": kind}
    )


def references(answer: httpx.Response, keyword: str) -> list[str]:
    said = Dataset.from_json(answer.json())
    return [str(one.ReferencedSOPInstanceUID) for one in said.get(keyword, None) or ()]


def test_a_complete_request_is_a_complete_study(service: Service, study_zip: Path) -> None:
    instances = instances_of(study_zip)
    uids = [str(dcmread(io.BytesIO(one)).SOPInstanceUID) for one in instances]

    answer = stored(service, multipart(*instances))

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/dicom+json")
    assert references(answer, "ReferencedSOPSequence") == uids
    assert references(answer, "FailedSOPSequence") == []
    (link,) = answer.headers["Link"].split(", ")
    path = link.split(">")[0].removeprefix("<")
    service.work()
    # 2 slices x 25 mm2 x weight 2
    assert service.client.get(f"{path}/score").json()["agatston_score"] == 100.0


def test_the_same_instances_in_another_order_are_the_same_study(
    service: Service, study_zip: Path
) -> None:
    instances = instances_of(study_zip)
    study = str(dcmread(io.BytesIO(instances[0])).StudyInstanceUID)

    first = stored(service, multipart(*instances))
    again = stored(service, multipart(*reversed(instances)), path=f"/{study}")

    assert again.status_code == 200
    assert again.headers["Link"] == first.headers["Link"]
    assert len(service.client.get("/studies").json()["studies"]) == 1


def test_instances_of_another_study_fail_and_the_others_are_taken(
    service: Service, study_zip: Path
) -> None:
    instances = instances_of(study_zip)
    stranger = dcmread(io.BytesIO(instances[0]))
    study = str(stranger.StudyInstanceUID)
    stranger.StudyInstanceUID = "1.2.3"
    other = io.BytesIO()
    stranger.save_as(other)

    some = stored(service, multipart(*instances[1:], other.getvalue()), path=f"/{study}")
    none = stored(service, multipart(other.getvalue()), path=f"/{study}")

    assert some.status_code == 202
    assert references(some, "FailedSOPSequence") == [str(stranger.SOPInstanceUID)]
    assert len(references(some, "ReferencedSOPSequence")) == len(instances) - 1
    assert none.status_code == 409
    (failed,) = Dataset.from_json(none.json()).FailedSOPSequence
    assert (failed.ReferencedSOPClassUID, failed.FailureReason) == (CT, 0x0110)


def test_what_is_no_dicom_is_a_failure_without_a_name(service: Service, study_zip: Path) -> None:
    answer = stored(service, multipart(instances_of(study_zip)[0], b"no DICOM at all"))

    assert answer.status_code == 202
    (other,) = Dataset.from_json(answer.json()).OtherFailuresSequence
    assert other.FailureReason == 0xC000


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (multipart(b"x")[:-4], TYPE, 400),
        (b"", TYPE, 400),
        (f"--{BOUNDARY}--".encode(), TYPE, 400),
        (multipart(b"x"), 'multipart/related; type="application/dicom"', 400),
        (multipart(b"x"), "application/dicom", 415),
        (multipart(b"x"), f'multipart/related; type="image/jpeg"; boundary={BOUNDARY}', 415),
        (multipart(b"x", kind="application/dicom+json"), TYPE, 415),
        (multipart(bytes(5 * 1024 * 1024)), TYPE, 413),
    ],
)
def test_what_cannot_be_taken_is_refused_and_leaves_nothing(
    service: Service, body: bytes, kind: str, status: int
) -> None:
    answer = stored(service, body, kind=kind)

    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert service.files() == []
