"""Uploads over connections that break, with tus-py-client and by hand."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
import zipfile
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from tusclient.client import TusClient

from service.adapters.database.engine import open_engine
from service.adapters.database.key_store import SqlKeyStore
from service.adapters.database.schema import upgrade_schema
from service.adapters.storage.partial_uploads import FolderPartialUploads
from service.application.access import Scope, create_key
from service.application.errors import UploadNotFound
from service.application.jobs import ROUTINE_REQUEST
from service.application.submit_study import study_id_of
from service.settings import Settings
from tests.integration.conftest import Service, running_gateway

MIB = 1024 * 1024
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def begin(client: httpx.Client, length: int, query: str = "") -> str:
    answer = client.post(f"/uploads{query}", headers={**TUS, "Upload-Length": str(length)})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


def send(
    client: httpx.Client, path: str, offset: int, piece: bytes, **headers: str
) -> httpx.Response:
    return client.patch(
        path,
        content=piece,
        headers={**PIECE, "Upload-Offset": str(offset), **headers},
    )


def offset_of(client: httpx.Client, path: str) -> int:
    answer = client.head(path, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["Upload-Offset"])


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    return answer.status_code, str(answer.json()["code"])


@pytest.mark.parametrize("with_checksum", [False, True], ids=["plain", "checksum"])
def test_a_client_from_elsewhere_uploads_in_pieces_and_the_study_is_scored(
    service: Service, study_zip: Path, *, with_checksum: bool
) -> None:
    url = f"{service.client.base_url}".rstrip("/") + "/uploads"
    uploader = TusClient(url).uploader(
        file_stream=BytesIO(study_zip.read_bytes()),
        chunk_size=10_000,
        upload_checksum=with_checksum,
        metadata={"filename": "Grauenhorst.zip"},
    )
    uploader.upload()

    head = service.client.head(str(uploader.url), headers=TUS)
    study = service.client.get(head.headers["Content-Location"]).json()
    assert study["upload_size_bytes"] == study_zip.stat().st_size
    service.work()
    score = service.client.get(f"/studies/{study['id']}/score").json()
    # two slices of 25 mm2 x weight 2
    assert score["agatston_score"] == pytest.approx(100.0)


def test_the_same_bytes_are_the_same_study_either_way(service: Service, study_zip: Path) -> None:
    content = study_zip.read_bytes()
    whole = service.client.post(
        "/studies", content=content, headers={"Content-Type": "application/zip"}
    )
    path = begin(service.client, len(content))
    answer = send(service.client, path, 0, content)
    assert answer.status_code == 204
    assert answer.headers["Content-Location"] == whole.headers["Location"]
    assert offset_of(service.client, path) == len(content)
    again = send(service.client, path, len(content), b"")
    assert again.headers["Content-Location"] == whole.headers["Location"]


def test_an_upload_outlives_a_restart_of_the_gateway(settings: Settings, study_zip: Path) -> None:
    content = study_zip.read_bytes()
    with running_gateway(settings) as client:
        path = begin(client, len(content), "?priority=stat")
        assert send(client, path, 0, content[:5000]).headers["Upload-Offset"] == "5000"
    with running_gateway(settings) as client:
        assert offset_of(client, path) == 5000
        answer = send(client, path, 5000, content[5000:])
        study = client.get(answer.headers["Content-Location"]).json()
        assert study["priority"] == "stat"


def test_what_came_before_a_connection_broke_stays(service: Service) -> None:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("a.dcm", bytes(128) + b"DICM" + os.urandom(3 * MIB))
    content = archive.getvalue()
    path = begin(service.client, len(content))
    url = service.client.base_url
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(
            f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
            "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content[: 2 * MIB]
        )
        # Bytes are written by the MiB; what the gateway has not read when it ends is lost.
        wait_until(lambda: offset_of(service.client, path) >= MIB)
    wait_until(lambda: send(service.client, path, 0, b"").status_code == 409)
    here = offset_of(service.client, path)
    assert MIB <= here <= 2 * MIB
    answer = send(service.client, path, here, content[here:])
    assert answer.status_code == 204, answer.text
    study = service.client.get(answer.headers["Content-Location"]).json()
    assert study["id"] == study_id_of(hashlib.sha256(content).hexdigest())


def test_two_requests_do_not_write_to_one_upload(service: Service) -> None:
    path = begin(service.client, 100)
    uploads = FolderPartialUploads(
        service.settings.data_dir / "uploads", lifetime=timedelta(hours=1)
    )
    with uploads.writing(path.rsplit("/", 1)[-1], "default", all_or_nothing=False):
        assert code_of(send(service.client, path, 0, b"x")) == (423, "upload_busy")
        assert service.client.delete(path, headers=TUS).status_code == 423
    assert send(service.client, path, 0, b"x").status_code == 204


def wait_until(is_so: Callable[[], bool], tries: int = 100) -> None:
    pause = threading.Event()
    for _ in range(tries):
        if is_so():
            return
        pause.wait(0.1)
    pytest.fail("it did not come to it")


def test_a_wrong_checksum_keeps_nothing(service: Service) -> None:
    path = begin(service.client, 100)
    assert send(service.client, path, 0, b"a" * 40).status_code == 204
    wrong = base64.b64encode(hashlib.sha256(b"b").digest()).decode()
    answer = send(service.client, path, 40, b"a" * 40, **{"Upload-Checksum": f"sha256 {wrong}"})
    assert code_of(answer) == (460, "checksum_mismatch")
    assert offset_of(service.client, path) == 40
    right = base64.b64encode(hashlib.sha256(b"a" * 40).digest()).decode()
    answer = send(service.client, path, 40, b"a" * 40, **{"Upload-Checksum": f"sha256 {right}"})
    assert answer.headers["Upload-Offset"] == "80"


def test_a_process_that_was_killed_leaves_nothing_of_what_was_all_or_nothing(
    tmp_path: Path,
) -> None:
    uploads = FolderPartialUploads(tmp_path, lifetime=timedelta(hours=1))
    upload = uploads.create(tenant="a", actor="a", length=100, request=ROUTINE_REQUEST, most=None)
    with uploads.writing(upload.upload_id, "a", all_or_nothing=False) as writer:
        writer.write(b"kept")
        writer.keep()
    child = os.fork()
    if child == 0:
        with uploads.writing(upload.upload_id, "a", all_or_nothing=True) as writer:
            writer.write(b"not kept")
            writer._out.flush()
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (tmp_path / upload.upload_id / "bytes").read_bytes() == b"keptnot kept"
    assert uploads.find(upload.upload_id, "a").offset == 4
    with uploads.writing(upload.upload_id, "a", all_or_nothing=False) as writer:
        assert writer.path.read_bytes() == b"kept"


def test_requests_that_are_not_of_the_protocol_are_refused(service: Service) -> None:
    client = service.client
    path = begin(client, 100)
    refused = {
        "no version": client.head(path),
        "no length": client.post("/uploads", headers=TUS),
        "no bytes": client.post("/uploads", headers={**TUS, "Upload-Length": "0"}),
        "too long": client.post("/uploads", headers={**TUS, "Upload-Length": "99999999999"}),
        "elsewhere": send(client, path, 5, b"x"),
        "longer": send(client, path, 0, b"x" * 101),
        "type": client.patch(path, content=b"x", headers={**TUS, "Upload-Offset": "0"}),
        "algorithm": send(client, path, 0, b"x", **{"Upload-Checksum": "md5 AAAA"}),
        "unknown": send(client, "/uploads/" + "0" * 32, 0, b"x"),
        "a path": send(client, "/uploads/..%2f..%2fetc", 0, b"x"),
    }
    assert {what: answer.status_code for what, answer in refused.items()} == {
        "no version": 412,
        "no length": 400,
        "no bytes": 400,
        "too long": 413,
        "elsewhere": 409,
        "longer": 413,
        "type": 415,
        "algorithm": 400,
        "unknown": 404,
        "a path": 404,
    }
    assert refused["no version"].headers["Tus-Version"] == "1.0.0"
    assert code_of(refused["elsewhere"]) == (409, "upload_offset_mismatch")


def test_what_is_no_study_is_refused_with_its_last_byte_and_leaves_nothing(
    service: Service,
) -> None:
    path = begin(service.client, 9)
    assert send(service.client, path, 0, b"not ").status_code == 204
    assert code_of(send(service.client, path, 4, b"a zip")) == (422, "not_a_zip")
    assert service.client.head(path, headers=TUS).status_code == 404
    assert service.files() == []


def test_the_last_byte_is_taken_only_with_the_study(
    service: Service, study_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.api.routes import uploads as routes  # noqa: PLC0415 - the seam that fails
    from service.application.errors import RecordUnavailable  # noqa: PLC0415

    content = study_zip.read_bytes()
    path = begin(service.client, len(content))

    def fail(*_: object, **__: object) -> None:
        raise RecordUnavailable("The database is away.")

    with monkeypatch.context() as patch:
        patch.setattr(routes, "submit_study", fail)
        assert send(service.client, path, 0, content).status_code == 503
    assert offset_of(service.client, path) == len(content) - 1

    uploader = TusClient("http://unused").uploader(
        file_stream=BytesIO(content), url=f"{service.client.base_url}".rstrip("/") + path
    )
    uploader.upload()
    head = service.client.head(path, headers=TUS)
    assert head.headers["Content-Location"].startswith("/studies/")


def test_deleted_and_expired_uploads_leave_nothing(service: Service, tmp_path: Path) -> None:
    path = begin(service.client, 100)
    assert service.client.delete(path, headers=TUS).status_code == 204
    assert service.client.head(path, headers=TUS).status_code == 404
    assert service.files() == []

    uploads = FolderPartialUploads(tmp_path / "u", lifetime=timedelta(0))
    (tmp_path / "u" / ("0" * 32)).mkdir(parents=True)
    upload_id = next((tmp_path / "u").iterdir()).name
    with pytest.raises(UploadNotFound):
        uploads.create(tenant="a", actor="a", length=9, request=ROUTINE_REQUEST, most=None)
    with pytest.raises(UploadNotFound):
        uploads.find(upload_id, "a")
    assert uploads.remove_expired() == 2
    assert list((tmp_path / "u").iterdir()) == []


def test_abilities_are_shown(service: Service) -> None:
    answer = service.client.options("/uploads")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Extension"] == "creation,expiration,checksum,termination"
    assert answer.headers["Tus-Max-Size"] == str(service.settings.upload_bytes)


def test_uploads_belong_to_their_tenant_and_each_key_may_have_so_many(
    settings: Settings,
) -> None:
    asked = settings.model_copy(update={"auth": "required", "resumable_uploads_per_key": 2})
    settings.data_dir.mkdir(parents=True)
    engine = open_engine(settings.record_url)
    upgrade_schema(engine)
    keys = SqlKeyStore(engine)
    _, own = create_key(keys, name="a", tenant="a")
    _, reader = create_key(keys, name="r", tenant="a", scopes=[Scope.READ])
    _, other = create_key(keys, name="b", tenant="b")
    with running_gateway(asked) as client:
        assert client.post("/uploads", headers={**TUS, "Upload-Length": "9"}).status_code == 401
        client.headers["X-API-Key"] = own
        path = begin(client, 100)
        begin(client, 100)
        third = client.post("/uploads", headers={**TUS, "Upload-Length": "9"})
        assert code_of(third) == (429, "too_many_requests")
        client.headers["X-API-Key"] = other
        assert client.head(path, headers=TUS).status_code == 404
        assert send(client, path, 0, b"x").status_code == 404
        assert client.delete(path, headers=TUS).status_code == 404
        client.headers["X-API-Key"] = reader
        assert offset_of(client, path) == 0
        assert send(client, path, 0, b"x").status_code == 403


def test_an_export_knows_only_its_own_methods(service: Service) -> None:
    assert service.client.delete("/studies/export").status_code == 405
    answer = service.client.options("/studies/export")
    assert answer.status_code == 405
    assert "DELETE" not in answer.headers["Allow"]
    assert "GET" in answer.headers["Allow"]
