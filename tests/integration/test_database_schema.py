"""How the schema of the record is made and upgraded: SQLite, and PostgreSQL if there is one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from service.adapters.database import schema
from service.adapters.database.engine import open_engine
from service.adapters.database.schema import (
    BASELINE_TABLES,
    require_current_schema,
    schema_state,
    upgrade_schema,
)
from service.adapters.database.tables import metadata
from service.application.errors import RecordSchemaUnknown, RecordUnavailable
from service.cli.main import run
from service.settings import Settings
from service.worker.wiring import wait_for_schema
from tests.records import drop_everything

POSTGRESQL_URL = os.environ.get("CACSCORE_TEST_POSTGRESQL_URL")

OLD_RELEASE = """
CREATE TABLE studies (id VARCHAR(26) NOT NULL PRIMARY KEY, folder VARCHAR(64) NOT NULL UNIQUE,
  sha256 VARCHAR(64) NOT NULL, size_bytes BIGINT NOT NULL, created_at TIMESTAMP NOT NULL);
CREATE INDEX ix_studies_created_at_id ON studies (created_at, id);
CREATE TABLE jobs (id VARCHAR(32) NOT NULL PRIMARY KEY,
  study_id VARCHAR(26) NOT NULL REFERENCES studies (id) ON DELETE CASCADE, number INTEGER NOT NULL,
  status VARCHAR(16) NOT NULL, stage VARCHAR(16) NOT NULL, progress FLOAT NOT NULL,
  attempt INTEGER NOT NULL, lease_expires_at TIMESTAMP, available_at TIMESTAMP NOT NULL,
  announced_at TIMESTAMP, created_at TIMESTAMP NOT NULL, updated_at TIMESTAMP NOT NULL,
  started_at TIMESTAMP, finished_at TIMESTAMP, problem JSON, UNIQUE (study_id, number));
CREATE INDEX ix_jobs_status_available_at ON jobs (status, available_at);
CREATE TABLE results (job_id VARCHAR(32) NOT NULL PRIMARY KEY
  REFERENCES jobs (id) ON DELETE CASCADE, attempt INTEGER NOT NULL,
  result_key VARCHAR(128) NOT NULL, model_name VARCHAR(128) NOT NULL,
  model_version VARCHAR(64) NOT NULL, model_sha256 VARCHAR(64) NOT NULL,
  model_is_provisional BOOLEAN NOT NULL, agatston_score FLOAT NOT NULL,
  slice_count INTEGER NOT NULL, created_at TIMESTAMP NOT NULL);
INSERT INTO studies VALUES ('s', 'studies/s-1', '00', 5, '2026-03-01 12:00:00.000000');
INSERT INTO jobs VALUES ('j', 's', 1, 'succeeded', 'finished', 1.0, 1, NULL,
  '2026-03-01 12:00:00.000000', NULL, '2026-03-01 12:00:00.000000', '2026-03-01 12:00:00.000000',
  NULL, '2026-03-01 12:01:00.000000', NULL);
INSERT INTO results VALUES ('j', 1, 'studies/s-1/j-1', 'DenseRAUnet', '0.3.0', '00', TRUE, 100.0,
  10, '2026-03-01 12:01:00.000000');
"""
"""What a release without Alembic left: its three tables and one scored study."""


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRESQL_URL else [])])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'record.sqlite3'}"
    if request.param == "postgresql" and POSTGRESQL_URL:
        url = POSTGRESQL_URL
    engine = open_engine(url)
    yield engine
    drop_everything(engine)
    engine.dispose()


def _run_script(engine: Engine, script: str) -> None:
    with engine.begin() as connection:
        for statement in script.split(";"):
            if statement.strip():
                connection.execute(text(statement))


def test_empty_database_gets_the_tables_that_the_code_uses(engine: Engine) -> None:
    assert schema_state(engine).found is None
    assert upgrade_schema(engine).found is None
    require_current_schema(engine)
    with engine.connect() as connection:
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )
    assert differences == []


def test_upgrading_again_changes_nothing(engine: Engine) -> None:
    upgrade_schema(engine)
    assert upgrade_schema(engine).is_current


def test_record_of_an_old_release_is_taken_over_with_its_studies(engine: Engine) -> None:
    _run_script(engine, OLD_RELEASE)
    assert schema_state(engine).found == "0001"

    upgrade_schema(engine)

    require_current_schema(engine)
    with engine.connect() as connection:
        score = connection.execute(
            text(
                "SELECT agatston_score FROM results JOIN jobs ON jobs.id = results.job_id "
                "JOIN studies ON studies.id = jobs.study_id WHERE studies.id = 's'"
            )
        ).scalar_one()
    assert score == 100.0


def test_gateways_that_start_at_once_upgrade_once(engine: Engine) -> None:
    _run_script(engine, OLD_RELEASE)
    url = engine.url.render_as_string(hide_password=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: upgrade_schema(open_engine(url)), range(4)))
    require_current_schema(engine)


def test_record_of_a_newer_release_is_left_alone(engine: Engine) -> None:
    upgrade_schema(engine)
    _run_script(engine, "UPDATE alembic_version SET version_num = '9999'")
    for use in (upgrade_schema, require_current_schema):
        with pytest.raises(RecordSchemaUnknown, match=r"9999.*newer release"):
            use(engine)


def test_upgrade_that_fails_in_the_middle_leaves_the_schema_it_found(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def upgrade_and_die(config: Config, revision: str) -> None:
        real_upgrade(config, revision)
        raise KeyboardInterrupt

    real_upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", upgrade_and_die)
    with pytest.raises(KeyboardInterrupt):
        upgrade_schema(engine)
    assert inspect(engine).get_table_names() == []


def test_references_are_checked_again_after_an_upgrade(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'record.sqlite3'}")
    _run_script(engine, OLD_RELEASE)
    upgrade_schema(engine)
    _run_script(engine, "DELETE FROM studies")
    with sqlite3.connect(tmp_path / "record.sqlite3") as connection:
        assert connection.execute("SELECT count(*) FROM results").fetchone() == (0,)
    connection.close()


def test_revisions_are_one_line_that_begins_with_the_baseline() -> None:
    scripts = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    assert len(scripts.get_heads()) == 1
    assert scripts.get_bases() == ["0001"]
    assert set(metadata.tables) >= BASELINE_TABLES


def test_worker_waits_for_its_schema_and_then_says_what_is_missing(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with pytest.raises(RecordSchemaUnknown, match="cacscore db upgrade"):
        wait_for_schema(settings, patience_s=0.0)
    upgrade_schema(open_engine(settings.record_url))
    wait_for_schema(settings, patience_s=0.0)


def test_database_that_is_away_is_said_without_its_password() -> None:
    with pytest.raises(RecordUnavailable) as caught:
        schema_state(open_engine("postgresql+psycopg://u:secret@127.0.0.1:1/none"))
    assert "secret" not in caught.value.message


def test_command_line_shows_and_upgrades_the_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CACSCORE_DATA_DIR", str(tmp_path / "data"))
    assert run(["db", "upgrade"]) == 0
    assert "had schema none" in capsys.readouterr().err
    assert run(["db", "upgrade"]) == 0
    assert "already" in capsys.readouterr().err
    assert run(["db", "current"]) == 0
    assert run(["db", "current", "--json"]) == 0
    assert '"is_current": true' in capsys.readouterr().out
