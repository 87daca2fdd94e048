"""A whole run with de-identification on: nobody's identity anywhere, and the same scores."""

from __future__ import annotations

import base64
import json
import logging
import zipfile
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydicom import dcmread
from sqlalchemy import Engine
from structlog.stdlib import ProcessorFormatter as LogFormat
from typer.testing import CliRunner

from calcium_scoring.dicom.pseudonyms import Pseudonyms
from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.crosswalk import SqlCrosswalk
from service.adapters.database.engine import open_engine
from service.adapters.database.study_store import SqlStudyStore
from service.application.artefact_names import DEIDENTIFIED, UPLOAD
from service.application.crosswalk import CrosswalkEntry, key_bytes, new_key
from service.application.errors import ArtefactUnavailable, CrosswalkSealed
from service.application.jobs import LeaseTerms
from service.cli.main import app
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.integration.conftest import Service
from tests.integration.test_privacy import PATIENT_ID, ZIP, found, series_of_a_patient

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"deidentify": True, "deidentify_key": SecretStr(KEY)})


@pytest.fixture
def log(service: Service) -> Iterator[StringIO]:  # noqa: ARG001 - it sets logging up
    root = logging.getLogger()
    formats = [one.formatter for one in root.handlers if isinstance(one.formatter, LogFormat)]
    text = StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formats[0])
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)


def submit(service: Service, content: bytes) -> str:
    answer = service.client.post("/studies", content=content, headers=ZIP)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def all_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Give every file below a folder, those within archives unpacked."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        yield path.name, path.read_bytes()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield f"{path.name}/{name}", name.encode() + archive.read(name)


def test_nothing_of_a_patient_is_left_after_a_whole_run(
    service: Service, log: StringIO, tmp_path: Path
) -> None:
    words, ids = set[str](), []
    for seed, header in enumerate([{}, {"ContrastBolusAgent": "Grauenhorst"}], start=1):
        content, own = series_of_a_patient(tmp_path / str(seed), seed=seed, **header)
        words |= own
        ids.append(submit(service, content))
    service.work()

    statuses = [service.client.get(f"/studies/{one}").json()["status"] for one in ids]
    assert statuses == ["succeeded", "failed"]
    assert len(words) > 20
    files = dict(all_files(service.settings.data_dir))
    assert {"report.json", "report.dcm", "mask.dcm", "deidentified.zip/00001.dcm"} <= set(files)
    assert UPLOAD not in files
    for name, data in files.items():
        assert found(words, name.encode() + data) == set(), name
    assert found(words, log.getvalue().encode()) == set()
    assert found(words, service.client.get(f"/studies/{ids[0]}/score").content) == set()
    assert found(words, service.client.get(f"/studies/{ids[1]}/score").content) == set()


def test_results_carry_the_pseudonyms(service: Service, tmp_path: Path) -> None:
    content, _ = series_of_a_patient(tmp_path / "1", seed=1)
    original = dcmread(next((tmp_path / "1").glob("*.dcm")))
    study_id = submit(service, content)
    service.work()

    names = Pseudonyms(key_bytes(KEY), tenant="default")
    report = service.client.get(f"/studies/{study_id}/score").json()
    assert report["series"]["study_instance_uid"] == names.uid(original.StudyInstanceUID)
    for name in ("mask.dcm", "report.dcm"):
        path = next(service.settings.data_dir.rglob(name))
        result = dcmread(path)
        assert result.PatientID == names.patient_id(PATIENT_ID), name
        assert result.StudyInstanceUID == names.uid(original.StudyInstanceUID), name
        assert result.PatientIdentityRemoved == "YES", name


def test_scores_are_those_of_a_service_without(service: Service, study_zip: Path) -> None:
    study_id = submit(service, study_zip.read_bytes())
    service.work()
    report = service.client.get(f"/studies/{study_id}/score").json()
    # two slices of 25 mm2 x weight 2
    assert report["agatston_score"] == pytest.approx(100.0)


def test_a_study_can_be_scored_again_without_its_upload(service: Service, study_zip: Path) -> None:
    study_id = submit(service, study_zip.read_bytes())
    service.work()
    answer = service.client.post(f"/studies/{study_id}/rerun", json={})
    assert answer.status_code == 202, answer.text
    service.work()
    assert service.client.get(f"/studies/{study_id}").json()["status"] == "succeeded"
    assert service.client.get(f"/studies/{study_id}/score?version=2").status_code == 200


def test_an_attempt_that_was_killed_before_the_upload_was_removed_leaves_none(
    service: Service, study_zip: Path
) -> None:
    study_id = submit(service, study_zip.read_bytes())
    service.work()
    folder = next(service.settings.data_dir.rglob(DEIDENTIFIED)).parent
    (folder / UPLOAD).write_bytes(study_zip.read_bytes())

    service.client.post(f"/studies/{study_id}/rerun", json={})
    service.work()

    assert not (folder / UPLOAD).exists()


def test_a_worker_without_the_setting_scores_what_was_deidentified(
    service: Service, study_zip: Path
) -> None:
    study_id = submit(service, study_zip.read_bytes())
    service.work()
    service.client.post(f"/studies/{study_id}/rerun", json={})
    plain = service.settings.model_copy(update={"deidentify": False})
    Service(service.client, plain, worker_parts(plain)).work()
    assert service.client.get(f"/studies/{study_id}/score?version=2").status_code == 200


def test_a_deleted_study_takes_its_crosswalk_along(service: Service, study_zip: Path) -> None:
    study_id = submit(service, study_zip.read_bytes())
    service.work()
    crosswalk = SqlCrosswalk(open_engine(service.settings.record_url), key_bytes(KEY))
    pseudonym = Pseudonyms(key_bytes(KEY), tenant="default").patient_id("PHANTOM-0001")
    assert [one.study_id for one in crosswalk.find(pseudonym)] == [study_id]

    assert service.client.delete(f"/studies/{study_id}").status_code == 204

    assert crosswalk.find(pseudonym) == []
    assert service.files() == []


def test_the_crosswalk_leads_back_by_command_and_says_so_in_the_audit_log(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, _ = series_of_a_patient(tmp_path / "1", seed=1)
    study_id = submit(service, content)
    service.work()
    monkeypatch.setenv("CACSCORE_DATA_DIR", str(service.settings.data_dir))
    monkeypatch.setenv("CACSCORE_DEIDENTIFY_KEY", KEY)
    runner = CliRunner()

    made = runner.invoke(app, ["crosswalk", "pseudonym", PATIENT_ID])
    answer = runner.invoke(app, ["crosswalk", "find", made.stdout.strip(), "--json"])

    assert json.loads(answer.stdout) == {
        "pseudonym": made.stdout.strip(),
        "kind": "patient_id",
        "original": PATIENT_ID,
        "tenant": "default",
        "study_ids": [study_id],
    }
    entries = list(SqlAuditLog(open_engine(service.settings.record_url)).entries())
    assert [one.study_id for one in entries if one.action == "crosswalk find"] == [study_id]
    assert runner.invoke(app, ["crosswalk", "find", "PAAAAAAAAAAAAAAAA"]).exit_code != 0


def test_the_crosswalk_is_sealed_and_adding_twice_is_adding_once(engine: Engine) -> None:
    SqlStudyStore(engine, terms=LeaseTerms()).add(
        study_id="s" * 26, folder="f", sha256="0" * 64, size_bytes=1
    )
    crosswalk = SqlCrosswalk(engine, bytes(32))
    entry = CrosswalkEntry("P1", "patient_id", "Grauenhorst")
    crosswalk.add("s" * 26, [entry])
    crosswalk.add("s" * 26, [entry])

    assert [one.entry for one in crosswalk.find("P1")] == [entry]
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT sealed_original FROM crosswalk_entries").all()
    assert len(rows) == 1
    assert b"Grauenhorst" not in bytes(rows[0][0])
    with pytest.raises(CrosswalkSealed):
        SqlCrosswalk(engine, bytes(31) + b"x").find("P1")


def test_the_setting_needs_a_key() -> None:
    with pytest.raises(ValidationError, match="needs CACSCORE_DEIDENTIFY_KEY"):
        Settings(deidentify=True)
    with pytest.raises(ValidationError, match="has 3 bytes and needs at least 32"):
        Settings(deidentify_key=SecretStr("AAAA"))
    assert len(key_bytes(new_key())) == 32


def test_a_refused_upload_leaves_neither_form(service: Service) -> None:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("a.dcm", bytes(128) + b"DICM" + b"\x08\x00\x60\x00CS\x02\x00MR")
    study_id = submit(service, archive.getvalue())
    service.work()
    assert service.client.get(f"/studies/{study_id}").json()["status"] == "failed"
    assert service.files() == []
    with pytest.raises(ArtefactUnavailable):
        service.parts.artefacts.open(f"studies/{study_id}/{UPLOAD}")
