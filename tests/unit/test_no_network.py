"""Unit tests reach nothing beyond this process and its children."""

from __future__ import annotations

import socket

import pytest
from pytest_socket import SocketBlockedError


def test_network_socket_fails_a_unit_test() -> None:
    # The plug-in warns before it raises, and a warning is an error here.
    with pytest.raises((SocketBlockedError, UserWarning), match="tried to use socket"):
        socket.socket(socket.AF_INET)


def test_unix_socket_of_an_event_loop_is_allowed() -> None:
    for end in socket.socketpair():
        end.close()
