"""A real PostgreSQL server of our own, on a unix socket, for one run of the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest

START_TIMEOUT_S = 60.0
SUPERUSER = "cacscore"


@dataclass
class PostgresqlServer:
    """A server in a folder of its own; ``user`` runs it, since it refuses to run as root."""

    binaries: Path
    folder: Path
    user: str | None
    process: subprocess.Popen[bytes] | None = field(default=None)

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{SUPERUSER}@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.process = subprocess.Popen(
            [
                str(self.binaries / "postgres"),
                *("-D", str(self.folder / "data"), "-k", str(self.folder)),
                *("-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"),
            ],
            user=self.user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self._connect().close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT closes every connection, SIGKILL is a crash."""
        if self.process is not None:
            if number is signal.SIGKILL:
                # Its children would go on with the shared memory for a moment.
                # One that has just ended by itself is as dead.
                for child in psutil.Process(self.process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            self.process.send_signal(number)
            self.process.wait(START_TIMEOUT_S)
            self.process = None

    def new_database(self) -> str:
        """Return the URL of an empty database."""
        name = f"test_{uuid.uuid4().hex}"
        with self._connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.folder), user=SUPERUSER, dbname="postgres", autocommit=True
        )


def _binaries() -> Path:
    """Return where PostgreSQL is installed: on the path, or where Debian has it."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if installed:
        return installed[-1].parent
    message = "No PostgreSQL server on this machine (Debian: apt install postgresql)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def running_postgresql() -> Iterator[PostgresqlServer]:
    """Give a server that nobody else uses; it is gone afterwards with its data."""
    binaries, user = _binaries(), _unprivileged_user()
    # Not below pytest's folder, which only its owner may enter; a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="cac-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)
        subprocess.run(
            [
                str(binaries / "initdb"),
                *("-D", str(folder / "data"), "-U", SUPERUSER, "-A", "trust"),
                *("-E", "UTF8", "--no-sync", "--locale", "C"),
            ],
            user=user,
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )
        server = PostgresqlServer(binaries, folder, user)
        try:
            server.start()
            yield server
        finally:
            server.stop()
