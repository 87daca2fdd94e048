"""How many mutated files are tried, and the child that tries them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.hostile.reading import Reader
from tests.integration.conftest import service, settings, threshold_model

__all__ = ["service", "settings", "threshold_model"]

SMALL_FILE_COUNT = 200
"""For `make test`; `make hostile` asks for 20,000."""


@pytest.fixture(scope="session")
def mutated_file_count() -> int:
    return int(os.environ.get("CACSCORE_HOSTILE_FILES", SMALL_FILE_COUNT))


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with Reader(tmp_path_factory.mktemp("reader") / "tmp") as one:
        yield one
