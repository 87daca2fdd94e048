"""What a run leaves: nothing of a patient in logs, file names, answers about failures.

The record holds what QIDO-RS answers with (ADR 0038), and only while the result is there.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from pydicom import dcmread
from structlog.stdlib import ProcessorFormatter as LogFormat

from calcium_scoring.dicom.write_series import SeriesAttributes, write_ct_series
from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.ended_studies import SqlEndedStudies
from service.adapters.database.engine import open_engine
from service.adapters.database.tables import metadata
from service.application.retention import RetentionTerms, remove_old_studies
from tests.fakes import plaque_volume
from tests.integration.conftest import Service

NAME, PATIENT_ID, BIRTH_DATE = "Grauenhorst^Wilhelmine", "PID-7734-XQ", "19431107"
ZIP = {"Content-Type": "application/zip"}


def series_of_a_patient(folder: Path, *, seed: int, **header: object) -> tuple[bytes, set[str]]:
    """Return a zip whose entries are named after the patient, and every word that must not leak."""
    attributes = SeriesAttributes(
        patient_name=NAME, patient_id=PATIENT_ID, patient_birth_date=BIRTH_DATE
    )
    paths = write_ct_series(plaque_volume(), folder, seed=seed, attributes=attributes)
    words = {*NAME.split("^"), PATIENT_ID, BIRTH_DATE}
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(paths):
            instance = dcmread(path)
            for keyword, value in header.items():
                setattr(instance, keyword, value)
            instance.save_as(path)
            words |= {
                str(instance.StudyInstanceUID),
                str(instance.SeriesInstanceUID),
                str(instance.SOPInstanceUID),
                str(instance.FrameOfReferenceUID),
            }
            archive.write(path, f"{NAME}/{PATIENT_ID}_{number}.dcm")
        archive.writestr(f"{NAME}/broken.dcm", bytes(128) + b"DICM" + NAME.encode())
    return out.getvalue(), words


@pytest.fixture
def log(service: Service) -> Iterator[StringIO]:  # noqa: ARG001 - it sets logging up
    """What gateway and worker log from here on, as they write it."""
    root = logging.getLogger()
    formats = [one.formatter for one in root.handlers if isinstance(one.formatter, LogFormat)]
    text = StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formats[0])
    root.addHandler(handler)
    yield text
    root.removeHandler(handler)


@pytest.fixture
def run(
    service: Service,
    log: StringIO,  # noqa: ARG001 - it listens from before the run
    tmp_path: Path,
) -> tuple[list[str], set[str]]:
    """Studies that were scored, refused and sent twice; ids and words that must not leak."""
    ids, words = [], set[str]()
    cases: list[dict[str, object]] = [{}, {"ContrastBolusAgent": NAME}, {"Rows": 8}]
    for seed, header in enumerate(cases, start=1):
        content, own = series_of_a_patient(tmp_path / str(seed), seed=seed, **header)
        for _ in range(2):
            answer = service.client.post("/studies", content=content, headers=ZIP)
            assert answer.status_code == 202, answer.text
        ids.append(answer.json()["id"])
        words |= own
    service.client.post("/studies", content=b"PK" + NAME.encode(), headers=ZIP)
    service.client.get(f"/studies/{NAME}")
    service.work()
    return ids, words


def found(words: set[str], text: bytes) -> set[str]:
    return {word for word in words if word.encode() in text}


def test_nothing_of_a_patient_is_in_logs_file_names_or_refusals(
    service: Service, run: tuple[list[str], set[str]], log: StringIO
) -> None:
    ids, words = run
    statuses = [service.client.get(f"/studies/{one}").json()["status"] for one in ids]
    assert statuses == ["succeeded", "failed", "failed"]
    assert len(words) > 30

    said = log.getvalue().encode()
    assert b"attempt_succeeded" in said, "the log is there to be searched"
    # A path that somebody types is theirs; the client of this test logs it, the service does not.
    ours = b"\n".join(line for line in said.splitlines() if b'"httpx"' not in line)
    assert found(words, ours) == set()
    data = service.settings.data_dir
    engine = open_engine(service.settings.record_url)
    for table in sorted(set(metadata.tables) - {"result_instances"}):
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()  # noqa: S608
        assert found(words, repr(rows).encode()) == set(), table
    engine.dispose()
    assert found(words, "\n".join(map(str, data.rglob("*"))).encode()) == set()
    for study_id in ids:
        assert found(words, service.client.get(f"/studies/{study_id}").content) == set()
    for study_id in ids[1:]:
        refusal = service.client.get(f"/studies/{study_id}/score")
        assert refusal.status_code == 422
        assert found(words, refusal.content) == set()


def test_a_deleted_study_leaves_its_line_in_the_audit_log_and_nothing_else(
    service: Service, run: tuple[list[str], set[str]]
) -> None:
    ids, _ = run
    for study_id in ids:
        assert service.client.delete(f"/studies/{study_id}").status_code == 204
    assert service.files() == []
    engine = open_engine(service.settings.record_url)
    with engine.connect() as connection:
        for table in ("studies", "jobs", "results", "job_events", "result_instances", "pushes"):
            rows = connection.exec_driver_sql(f"SELECT count(*) FROM {table}")  # noqa: S608
            assert rows.scalar_one() == 0, table
    actions = [one.action for one in SqlAuditLog(engine).entries() if one.study_id in ids]
    assert actions.count("DELETE /studies/{study_id}") == len(ids)


def test_ended_studies_go_by_age_and_the_oldest_for_room(
    service: Service, run: tuple[list[str], set[str]]
) -> None:
    ids, _ = run
    engine = open_engine(service.settings.record_url)
    room = iter([0.05, 0.15])

    def remove(terms: RetentionTerms) -> int:
        return remove_old_studies(
            terms,
            ended=SqlEndedStudies(engine),
            store=service.parts.store,
            artefacts=service.parts.artefacts,
            audit=SqlAuditLog(engine),
            free_fraction=lambda: next(room),
        )

    def left() -> list[str]:
        return [one["id"] for one in service.client.get("/studies").json()["studies"]]

    assert remove(RetentionTerms(longest=timedelta(days=1))) == 0
    assert remove(RetentionTerms(free_fraction=0.1)) == 1, "5 % free, then 15 %"
    assert left() == ids[:0:-1], "the oldest is gone"
    assert remove(RetentionTerms(longest=timedelta(0))) == 2
    assert left() == []
    assert service.files() == []
    removals = [one.action for one in SqlAuditLog(engine).entries() if one.actor == "retention"]
    assert removals == ["removed for room", "removed by age", "removed by age"]


def test_a_study_that_waits_is_not_removed(service: Service, study_zip: Path) -> None:
    service.client.post("/studies", content=study_zip.read_bytes(), headers=ZIP)
    engine = open_engine(service.settings.record_url)
    assert SqlEndedStudies(engine).oldest(before=None, limit=10) == []
