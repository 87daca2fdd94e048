"""The commands of docs/how-to/back-up-and-restore.md bring everything back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.application.jobs import JobStatus
from service.application.reap import reap_jobs
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.fakes import RecordingJobQueue, write_study_zip
from tests.integration.conftest import Service, running_gateway
from tests.integration.postgresql import PostgresqlServer


def commands(repository: Path, name: str) -> str:
    page = (repository / "docs" / "how-to" / "back-up-and-restore.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```sh {name}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return str(found)


def run(script: str, **environment: str) -> None:
    ended = subprocess.run(
        ["bash", "-euc", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_scored_and_waiting_studies_come_back(
    kind: str,
    settings: Settings,
    study_zip: Path,
    repository: Path,
    request: pytest.FixtureRequest,
) -> None:
    tmp_path = settings.data_dir.parent
    before, after = settings, settings.model_copy(update={"data_dir": tmp_path / "restored"})
    old_database = new_database = ""
    tools = os.environ["PATH"]
    if kind == "postgresql":
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        old_database, new_database = server.new_database(), server.new_database()
        before = before.model_copy(update={"database_url": SecretStr(old_database)})
        after = after.model_copy(update={"database_url": SecretStr(new_database)})
        tools = f"{server.binaries}:{tools}"
    backup = tmp_path / "backup"
    backup.mkdir()

    with running_gateway(before) as client:
        service = Service(client, before, worker_parts(before))
        scored = client.post("/studies", files={"file": study_zip.read_bytes()}).json()["id"]
        service.work()
        waiting_zip = write_study_zip(tmp_path / "waiting.zip", seed=2, plaque_slices=4)
        waiting = client.post("/studies", files={"file": waiting_zip.read_bytes()}).json()["id"]
        report = client.get(f"/studies/{scored}/score").json()
        mask = client.get(f"/studies/{scored}/mask").content
        # While the service runs.
        run(
            commands(repository, f"back-up-{kind}"),
            PATH=tools,
            BACKUP=str(backup),
            CACSCORE_DATA_DIR=str(before.data_dir),
            DATABASE=old_database.replace("+psycopg", ""),
        )
    shutil.rmtree(before.data_dir)

    run(
        commands(repository, f"restore-{kind}"),
        PATH=tools,
        BACKUP=str(backup),
        CACSCORE_DATA_DIR=str(after.data_dir),
        DATABASE=new_database.replace("+psycopg", ""),
    )

    with running_gateway(after) as client:
        service = Service(client, after, worker_parts(after))
        assert client.get(f"/studies/{scored}/score").json() == report
        assert client.get(f"/studies/{scored}/mask").content == mask
        assert client.get(f"/studies/{waiting}").json()["status"] == JobStatus.QUEUED
        queue = RecordingJobQueue()
        reap_jobs(store=service.parts.store, queue=queue)
        assert queue.announced == [service.parts.store.find(waiting).job_id]
        service.work_on(queue.announced)
        # 4 slices of 25 mm2 x weight 2, 3 mm apart
        score = client.get(f"/studies/{waiting}/score").json()["agatston_score"]
        assert score == pytest.approx(200.0)
