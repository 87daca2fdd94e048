"""Unit tests talk to nobody: a network socket fails them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def _no_network() -> Iterator[None]:
    # asyncio wakes itself through a unix socket.
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()
