"""Fixtures that every kind of test shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

# As in service.adapters.onnx, for tests that load ONNX Runtime themselves.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(autouse=True)
def connections_end_with_their_test() -> Iterator[None]:
    """Close the pooled database connections of a test.

    Each test has records of its own, a process of tests thousands: their files would stay open
    beyond the 1,024 that ``select`` can watch, and with it every DICOM association.
    """
    engines: set[Engine] = set()

    def remember(connection: Connection) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", remember)
    try:
        yield
    finally:
        event.remove(Engine, "engine_connect", remember)
        for engine in engines:
            engine.dispose()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CT series; CI must have it, elsewhere its absence is a visible skip."""
    folder = Path(os.environ.get("CACSCORE_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "MANIFEST.md").is_file():
        message = f"No real CT at CACSCORE_REAL_DATA={folder}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
