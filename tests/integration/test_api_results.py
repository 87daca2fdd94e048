"""Results as standard objects over HTTP: what each media type is, and that digests are true."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pypdfium2
import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage

from service.adapters.signing.ed25519 import is_signature
from service.adapters.signing.key_file import KEY_FILE
from service.application.provenance import canonical_json
from tests.integration.conftest import Service


def scored(service: Service, study_zip: Path) -> str:
    response = service.client.post("/studies", files={"file": study_zip.read_bytes()})
    service.work()
    return str(response.json()["id"])


def test_the_report_is_what_accept_asks_for(service: Service, study_zip: Path) -> None:
    path = f"/studies/{scored(service, study_zip)}/report"

    def fetched(accept: str) -> bytes:
        response = service.client.get(path, headers={"Accept": accept})
        assert response.status_code == 200
        assert response.headers["Content-Type"].split(";")[0] == accept
        return response.content

    # 2 slices x 25 mm2 x weight 2
    assert json.loads(fetched("application/json"))["agatston_score"] == 100.0
    structured = dcmread(BytesIO(fetched("application/dicom")))
    assert structured.SOPClassUID == Comprehensive3DSRStorage
    page = pypdfium2.PdfDocument(fetched("application/pdf"))
    assert len(page) == 1
    words = page[0].get_textpage().get_text_range()
    assert "100.0" in words
    assert "Research use only" in words
    bundle = json.loads(fetched("application/fhir+json"))
    Bundle.model_validate(bundle)
    assert bundle["entry"][1]["resource"]["valueQuantity"]["value"] == 100.0
    (row,) = csv.DictReader(io.StringIO(fetched("text/csv").decode()))
    assert float(row["agatston_score"]) == 100.0


def test_a_report_in_no_accepted_type_is_refused_with_those_that_there_are(
    service: Service, study_zip: Path
) -> None:
    study_id = scored(service, study_zip)

    response = service.client.get(f"/studies/{study_id}/report", headers={"Accept": "image/png"})

    assert response.status_code == 406
    assert response.json()["evidence"]["available"] == [
        "application/json",
        "application/dicom",
        "application/pdf",
        "application/fhir+json",
        "text/csv",
    ]


def test_format_overrides_accept(service: Service, study_zip: Path) -> None:
    study_id = scored(service, study_zip)

    response = service.client.get(f"/studies/{study_id}/report", params={"format": "pdf"})

    assert response.content.startswith(b"%PDF-")


def test_every_listed_file_has_the_size_and_digest_that_the_list_says(
    service: Service, study_zip: Path
) -> None:
    study_id = scored(service, study_zip)

    files = service.client.get(f"/studies/{study_id}/artifacts").json()["artifacts"]

    assert [one["name"] for one in files] == [
        "report.json",
        "mask.dcm",
        "mask.nii.gz",
        "lesions.dcm",
        "lesions.nii.gz",
        "report.dcm",
        "report.pdf",
        "report-pdf.dcm",
        "report.fhir.json",
        "report.csv",
        "key-image-1.dcm",
        "provenance.json",
    ]
    for one in files:
        response = service.client.get(one["href"])
        assert response.headers["Content-Type"].split(";")[0] == one["media_type"]
        assert len(response.content) == one["size_bytes"]
        assert hashlib.sha256(response.content).hexdigest() == one["sha256"]


@pytest.mark.parametrize("name", ["preview.zip", "upload.zip", "..%2Fupload.zip", "x"])
def test_what_is_not_in_the_list_is_not_given_out(
    service: Service, study_zip: Path, name: str
) -> None:
    response = service.client.get(f"/studies/{scored(service, study_zip)}/artifacts/{name}")

    assert response.status_code == 404


def test_a_result_of_an_older_version_lists_the_files_that_it_has(
    service: Service, study_zip: Path
) -> None:
    study_id = scored(service, study_zip)
    key = service.parts.store.result(study_id).result_key
    service.parts.artefacts.remove(f"{key}/provenance.json")

    files = service.client.get(f"/studies/{study_id}/artifacts").json()["artifacts"]

    assert [one["name"] for one in files] == ["report.json", "mask.dcm", "mask.nii.gz"]
    mask = service.client.get(files[1]["href"]).content
    assert hashlib.sha256(mask).hexdigest() == files[1]["sha256"]


def test_the_record_is_signed_with_a_key_that_only_its_owner_can_read(
    service: Service, study_zip: Path
) -> None:
    study_id = scored(service, study_zip)

    record = service.client.get(f"/studies/{study_id}/artifacts/provenance.json").json()

    key = service.settings.data_dir / KEY_FILE
    assert key.stat().st_mode & 0o777 == 0o600
    signature = record.pop("signature")
    assert is_signature(
        base64.b64decode(signature["public_key"]),
        canonical_json(record),
        base64.b64decode(signature["value"]),
    )
    assert len(record["inputs"]) == 10


def test_the_export_has_a_row_for_each_scored_study(service: Service, study_zip: Path) -> None:
    study_id = scored(service, study_zip)

    table = service.client.get("/studies/export")
    parquet = service.client.get("/studies/export", params={"format": "parquet"})

    assert table.headers["Content-Type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(table.text))
    assert row["study_id"] == study_id
    assert float(row["agatston_score"]) == 100.0
    assert row["kvp"] == "120.0"
    (other,) = pq.read_table(BytesIO(parquet.content)).to_pylist()
    assert other["agatston_score"] == 100.0
    assert other["lm_agatston_score"] is None
    assert list(other) == list(row)


def test_the_export_of_nothing_is_a_heading(service: Service) -> None:
    (heading,) = service.client.get("/studies/export").text.splitlines()

    assert heading.startswith("study_id,study_instance_uid,")
