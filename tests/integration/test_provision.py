"""What a first start prepares, held against a real Redis and a real record."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from service.adapters.database.engine import open_engine
from service.adapters.database.key_store import SqlKeyStore
from service.application.access import Doorkeeper, Scope, revoke_key
from service.application.errors import NotAuthenticated, ProvisioningRefused
from service.provision.record import provide_record
from service.provision.secret_files import Owners, broker_users, provide_secrets
from service.settings import Settings

PASSWORD = "correct-horse-battery-staple"  # noqa: S105 - of a broker that lives for a test


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Path]:
    """Socket of a Redis with the users of a first start."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("No redis-server on this machine")
    (tmp_path / "users.acl").write_text(broker_users(PASSWORD))
    socket = tmp_path / "redis.sock"
    process = subprocess.Popen(
        [
            *(server, "--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path)),
            *("--aclfile", str(tmp_path / "users.acl"), "--save", ""),
        ],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not socket.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield socket
    process.terminate()
    process.wait(timeout=20)


def test_service_user_can_queue_and_limit_but_not_administer(broker: Path) -> None:
    with redis.Redis(
        unix_socket_path=str(broker), username="cacscore", password=PASSWORD
    ) as client:
        client.lpush("cacscore", "a message")
        assert client.llen("cacscore") == 1
        client.publish("a channel", "hello")
        assert client.info("server")["redis_version"]
        for words in (
            ("CONFIG", "GET", "*"),
            ("FLUSHALL",),
            ("KEYS", "*"),
            ("SHUTDOWN",),
            ("ACL", "LIST"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)


def test_without_password_redis_only_says_that_it_lives(broker: Path) -> None:
    with (
        redis.Redis(unix_socket_path=str(broker)) as stranger,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        stranger.ping()
    with redis.Redis(unix_socket_path=str(broker), username="health", password="-") as health:  # noqa: S106
        assert health.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            health.get("cacscore")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    provide_secrets(tmp_path / "secrets", host_names=("localhost",), owners=Owners.unchanged())
    return tmp_path / "secrets" / "keys"


def test_first_key_opens_as_administrator_and_is_adopted_once(tmp_path: Path, keys: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    assert provide_record(settings, keys) == ["first-key", "metrics-key"]
    assert provide_record(settings, keys) == []

    door = Doorkeeper(SqlKeyStore(open_engine(settings.record_url)))
    first = door.principal_of((keys / "first-key").read_text())
    assert first.scopes == {Scope.ADMIN}
    assert door.principal_of((keys / "metrics-key").read_text()).scopes == {Scope.READ}


def test_revoked_first_key_stays_revoked_after_the_next_start(tmp_path: Path, keys: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    provide_record(settings, keys)
    store = SqlKeyStore(open_engine(settings.record_url))
    text = (keys / "first-key").read_text()
    revoke_key(store, text.split("_")[1])

    assert provide_record(settings, keys) == []

    with pytest.raises(NotAuthenticated):
        Doorkeeper(store).principal_of(text)


def test_text_that_is_no_key_is_refused(tmp_path: Path, keys: Path) -> None:
    (keys / "first-key").chmod(0o600)
    (keys / "first-key").write_text("swordfish")

    with pytest.raises(ProvisioningRefused, match="is not one"):
        provide_record(Settings(data_dir=tmp_path), keys)


def test_secrets_are_settings_and_the_environment_goes_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cacscore_database_url").write_text("sqlite:///from-a-file.sqlite3\n")
    monkeypatch.setenv("CACSCORE_SECRETS_DIR", str(tmp_path))
    monkeypatch.delenv("CACSCORE_DATABASE_URL", raising=False)
    assert Settings().record_url == "sqlite:///from-a-file.sqlite3"

    monkeypatch.setenv("CACSCORE_DATABASE_URL", "sqlite:///from-the-environment.sqlite3")
    assert Settings().record_url == "sqlite:///from-the-environment.sqlite3"


def test_command_makes_secrets_and_a_signing_key_without_the_command_line_tool(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "service.provision", "secrets", "--root"]
    command += [str(tmp_path / "secrets"), "--data", f"service={tmp_path / 'data'}"]
    first = subprocess.run(command, check=True, capture_output=True, text=True)
    again = subprocess.run(command, check=True, capture_output=True, text=True)

    assert "signing-key.pem" in first.stdout
    assert again.stdout == "Secrets are ready; made now: none.\n"
    shown = subprocess.run(
        [
            *(sys.executable, "-m", "service.provision", "first-key"),
            *("--keys", str(tmp_path / "secrets/keys")),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert shown.strip() == (tmp_path / "secrets/keys/first-key").read_text()
