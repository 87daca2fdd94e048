"""A proxy in the environment does not come between the parts of one machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import Mock

import pytest

from service.cli.client import service_client
from service.cli.outcome import CommandFailed
from service.cli.serve import _EmbeddedService

READY = {"is_ready": True, "checks": [{"name": "database", "is_ok": True, "detail": None}]}
UNREADY = {
    "is_ready": False,
    "checks": [
        {"name": "database", "is_ok": True, "detail": None},
        {"name": "broker", "is_ok": False, "detail": "The broker does not answer."},
    ],
}


class Gateway(BaseHTTPRequestHandler):
    """Answers every GET with what its server was told to."""

    answer: tuple[int, object] = (200, READY)

    def do_GET(self) -> None:
        status, document = self.answer
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(Gateway, "answer", (200, READY))
    server = HTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _proxy_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


def embedded_service(folder: Path, port: int) -> _EmbeddedService:
    return _EmbeddedService(Mock(), Mock(url="redis://"), "127.0.0.1", port, folder)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_service_of_this_machine_is_reached_past_a_proxy(port: int, host: str) -> None:
    with service_client(f"http://{host}:{port}") as client:
        assert client.readiness() == READY


def test_service_elsewhere_is_reached_through_the_proxy() -> None:
    # The address is of a network for documentation: without the proxy the answer would be a
    # time-out, with it the proxy refuses at once.
    with (
        pytest.raises(CommandFailed, match="Connection refused"),
        service_client("http://192.0.2.1") as client,
    ):
        client.study("abc")


def test_readiness_of_the_embedded_gateway_is_asked_past_a_proxy(port: int, tmp_path: Path) -> None:
    assert embedded_service(tmp_path, port)._gateway_is_ready()


def test_gateway_that_is_not_ready_is_known_by_its_failing_checks(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gateway, "answer", (503, UNREADY))
    service = embedded_service(tmp_path, port)

    assert not service._gateway_is_ready()

    assert service._unreadiness == "broker: The broker does not answer."
