"""The same attacks through the real gateway: never a 500, each refusal typed, nothing left."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from io import BytesIO

from calcium_scoring.errors import CacscoreError, SeriesRejected, UploadRejected
from service.application.errors import GIVEN_UP_CODES
from tests.hostile.dicom_attacks import DICOM_ATTACKS, SCORED
from tests.hostile.zip_attacks import ZIP_ATTACKS
from tests.integration.conftest import Service

HEAVY = ("MiB", "million", "16 GB", "200,000", "20,000", "Enhanced")
"""Attacks that take long to make; the reading path alone sees them."""

PROBLEM = "application/problem+json"
ZIP = {"Content-Type": "application/zip"}


def codes_of(kind: type[CacscoreError]) -> Iterator[str]:
    yield kind.code
    for branch in kind.__subclasses__():
        yield from codes_of(branch)


def packed(files: dict[str, bytes]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_hostile_archives_are_refused_at_the_door_and_leave_nothing(service: Service) -> None:
    refusals = set(codes_of(UploadRejected))
    for attack in ZIP_ATTACKS:
        response = service.client.post("/studies", content=attack.build(), headers=ZIP)
        assert 400 <= response.status_code < 500, (attack.name, response.text)
        assert response.headers["Content-Type"] == PROBLEM, attack.name
        assert response.json()["code"] in attack.codes & refusals, (attack.name, response.text)
        assert service.files() == [], attack.name
    assert service.client.get("/studies").json()["studies"] == []


def test_hostile_series_end_in_a_typed_refusal_or_a_score(service: Service) -> None:
    attacks = [one for one in DICOM_ATTACKS if not any(word in one.name for word in HEAVY)]
    refusals = set(codes_of(UploadRejected)) | set(codes_of(SeriesRejected))
    sent = {}
    for attack in attacks[::4]:
        response = service.client.post("/studies", content=packed(attack.build()), headers=ZIP)
        if response.status_code == 202:
            sent[response.json()["id"]] = attack
        else:
            assert response.json()["code"] in attack.outcomes & refusals, attack.name
    service.work()
    for study_id, attack in sent.items():
        study = service.client.get(f"/studies/{study_id}").json()
        code = SCORED if study["problem"] is None else study["problem"]["code"]
        assert study["status"] in {"succeeded", "failed"}, attack.name
        assert code not in GIVEN_UP_CODES, (attack.name, study)
        assert code in attack.outcomes, (attack.name, study)
        for path in ("score", "mask", "slices/0.png", "mask?format=nifti"):
            answer = service.client.get(f"/studies/{study_id}/{path}")
            assert answer.status_code < 500, (attack.name, path, answer.text)
        assert service.client.delete(f"/studies/{study_id}").status_code == 204
    assert service.files() == []
