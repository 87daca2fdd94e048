"""Settings come from the environment and have defaults for one machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from calcium_scoring.scoring.conventions import CONVENTIONS, SIEMENS, ConventionName
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.tube_voltage import TUBE_VOLTAGE_TABLES, TubeVoltageTableName
from service.application.webhooks import WebhookPolicy
from service.settings import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_DIR", "DATABASE_URL", "BROKER_URL", "MODEL_PATH", "ONNX_PROVIDERS"):
        monkeypatch.delenv(f"CACSCORE_{name}", raising=False)


def test_record_is_a_file_in_the_data_folder_by_default(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).record_url == f"sqlite:///{tmp_path / 'cacscore.sqlite3'}"


def test_environment_names_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "CACSCORE_DATABASE_URL", "postgresql+psycopg://u:pass-of-the-record@db/cacscore"
    )
    monkeypatch.setenv("CACSCORE_ONNX_PROVIDERS", "CUDAExecutionProvider, CPUExecutionProvider")
    monkeypatch.setenv("CACSCORE_LEASE_S", "30")
    settings = Settings()
    assert settings.record_url == "postgresql+psycopg://u:pass-of-the-record@db/cacscore"
    assert settings.onnx_providers == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert settings.lease_terms.duration == timedelta(seconds=30)
    assert "pass-of-the-record" not in repr(settings)


def test_rules_of_the_score_are_those_of_the_literature_unless_others_are_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PROTOCOL", "TUBE_VOLTAGE_TABLE", "MASS_CALIBRATION_FACTOR"):
        monkeypatch.delenv(f"CACSCORE_{name}", raising=False)
    assert Settings().scoring_protocol == LITERATURE
    assert Settings().mass_calibration_factor is None

    monkeypatch.setenv("CACSCORE_PROTOCOL", "siemens")
    monkeypatch.setenv("CACSCORE_TUBE_VOLTAGE_TABLE", "grani_2018")
    monkeypatch.setenv("CACSCORE_MASS_CALIBRATION_FACTOR", "0.78")
    settings = Settings()
    assert settings.scoring_protocol == replace(SIEMENS, tube_voltage_table="grani_2018")
    assert settings.mass_calibration_factor == 0.78


def test_every_convention_and_table_can_be_set() -> None:
    assert get_args(ConventionName) == tuple(CONVENTIONS)
    assert get_args(TubeVoltageTableName) == tuple(TUBE_VOLTAGE_TABLES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CACSCORE_UPLOAD_BYTES", "0"),
        ("CACSCORE_MAX_ATTEMPTS", "none"),
        ("CACSCORE_LOG_LEVEL", "LOUD"),
        ("CACSCORE_HEARTBEAT_S", "50"),
        ("CACSCORE_PROTOCOL", "own"),
        ("CACSCORE_TUBE_VOLTAGE_TABLE", "own"),
        ("CACSCORE_MASS_CALIBRATION_FACTOR", "0"),
        ("CACSCORE_MASS_CALIBRATION_FACTOR", "750"),
        ("CACSCORE_TASK_SOFT_TIME_LIMIT_S", "1000"),
    ],
)
def test_impossible_setting_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_callbacks_are_off_until_the_operator_says_where_they_may_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Settings().webhook_policy == WebhookPolicy((), None)
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of a published example
    monkeypatch.setenv("CACSCORE_WEBHOOK_URLS", "https://ris.example/hooks, http://10.0.0.5:8080")
    monkeypatch.setenv("CACSCORE_WEBHOOK_SECRET", secret)
    monkeypatch.setenv("CACSCORE_WEBHOOK_NETWORKS", "10.0.0.0/8,fd00::/8")
    settings = Settings()
    assert settings.webhook_policy == WebhookPolicy(
        ("https://ris.example/hooks", "http://10.0.0.5:8080"), secret
    )
    assert [str(network) for network in settings.webhook_networks] == ["10.0.0.0/8", "fd00::/8"]
    assert secret not in repr(settings)
    assert secret not in repr(settings.webhook_policy)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_URLS", "ris.example"),
        ("WEBHOOK_SECRET", "short"),
        ("WEBHOOK_NETWORKS", "10.0.0.0/99"),
    ],
)
def test_impossible_webhook_setting_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CACSCORE_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_the_signing_key_lies_with_the_data_unless_a_folder_is_named(tmp_path: Path) -> None:
    data, keys = tmp_path / "data", tmp_path / "keys"
    assert Settings(data_dir=data).signing_key_path == data / "signing-key.pem"
    assert Settings(data_dir=data, key_dir=keys).signing_key_path == keys / "signing-key.pem"
