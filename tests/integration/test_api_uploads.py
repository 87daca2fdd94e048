"""What the door refuses, and that nothing of it stays behind."""

from __future__ import annotations

import socket
import zipfile
from collections.abc import Iterator
from io import BytesIO

import pytest

from tests.integration.conftest import Service


def zip_of(files: dict[str, bytes]) -> bytes:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def send_form(service: Service, content: bytes) -> tuple[int, str]:
    response = service.client.post("/studies", files={"file": ("x.zip", BytesIO(content))})
    return response.status_code, response.json()["code"]


REFUSED = {
    "nothing at all": (b"", 422, "not_a_zip"),
    "a text": (b"not a zip", 422, "not_a_zip"),
    "a zip cut short": (zip_of({"a.dcm": b"\0" * 128 + b"DICM"})[:-30], 422, "not_a_zip"),
    "a zip of texts": (zip_of({"readme.txt": b"hello"}), 422, "no_dicom_found"),
    "an empty zip": (zip_of({}), 422, "no_dicom_found"),
    "a path out of the archive": (zip_of({"../../etc/passwd": b"x"}), 422, "unsafe_archive"),
    "a zip in a zip": (zip_of({"inner.zip": zip_of({"a": b"b"})}), 422, "unsafe_archive"),
    "a bomb": (zip_of({"a.dcm": b"\0" * 40_000_000}), 422, "unsafe_archive"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_archive_is_refused_and_leaves_nothing(service: Service, what: str) -> None:
    content, status, code = REFUSED[what]

    assert send_form(service, content) == (status, code)

    raw = service.client.post(
        "/studies", content=content, headers={"Content-Type": "application/zip"}
    )
    assert (raw.status_code, raw.json()["code"]) == (status, code)
    assert raw.headers["Content-Type"] == "application/problem+json"
    assert service.files() == []
    assert service.client.get("/studies").json()["studies"] == []


def test_announced_size_beyond_the_limit_is_refused(service: Service) -> None:
    content = b"P" * (service.settings.upload_bytes + 100_000)
    assert send_form(service, content) == (413, "upload_too_large")
    assert service.files() == []


def test_size_beyond_the_limit_is_found_while_streaming(service: Service) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(service.settings.upload_bytes // 65536 + 2):
            yield b"P" * 65536

    response = service.client.post(
        "/studies", content=endless(), headers={"Content-Type": "application/zip"}
    )
    assert (response.status_code, response.json()["code"]) == (413, "upload_too_large")
    assert service.files() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "application/zip", "Content-Encoding": "gzip"},
        {},
    ],
)
def test_other_bodies_are_refused(service: Service, headers: dict[str, str]) -> None:
    response = service.client.post("/studies", content=b"{}", headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "files",
    [
        [("other", ("x.zip", b"PK"))],
        [("file", ("x.zip", b"PK")), ("file", ("y.zip", b"PK"))],
    ],
)
def test_form_must_hold_one_file(
    service: Service, files: list[tuple[str, tuple[str, bytes]]]
) -> None:
    response = service.client.post("/studies", files=files)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_form")
    assert service.files() == []


@pytest.mark.parametrize(
    "body",
    [
        b"--other\r\n\r\n",
        b"--b\r\nContent-Disposition: form-data; name=file; filename=x\r\n\r\nPK",
        b"",
    ],
)
def test_form_that_is_no_form_is_refused(service: Service, body: bytes) -> None:
    response = service.client.post(
        "/studies", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert (response.status_code, response.json()["code"]) == (400, "malformed_form")
    assert service.files() == []


def test_upload_that_stalls_is_given_up(service: Service) -> None:
    url = service.client.base_url
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(
            b"POST /studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n"
            b"Content-Length: 1000\r\n\r\nPK"
        )
        connection.settimeout(10.0)
        answer = connection.recv(65536)
    assert b" 408 " in answer.splitlines()[0]
    assert service.files() == []


def test_client_that_goes_away_leaves_nothing(service: Service) -> None:
    url = service.client.base_url
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(
            b"POST /studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n"
            b"Content-Length: 1000\r\n\r\nPK"
        )
    assert service.client.get("/healthz").status_code == 200
    assert service.client.get("/studies").json()["studies"] == []
    assert service.files() == []


def test_upload_in_small_pieces_arrives_byte_by_byte(service: Service) -> None:
    content = zip_of({f"{n}.dcm": b"\0" * 128 + b"DICM" + bytes([n]) * 1000 for n in range(50)})

    def drips() -> Iterator[bytes]:
        for start in range(0, len(content), 7):
            yield content[start : start + 7]

    response = service.client.post(
        "/studies", content=drips(), headers={"Content-Type": "application/zip"}
    )
    assert response.status_code == 202
    (kept,) = service.files()
    assert (service.settings.data_dir / kept).read_bytes() == content
