"""Artefacts in a real S3 server: what a study needs of a store, through HTTP."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.adapters.storage.s3_location import S3Location
from service.adapters.storage.s3_store import S3ArtefactStore, make_bucket
from service.application.errors import ArtefactUnavailable, ProvisioningRefused, StorageFull
from service.provision.bucket import provide_bucket
from service.settings import Settings
from service.worker.wiring import worker_parts
from tests.integration.conftest import Service, running_gateway
from tests.integration.s3_server import BUCKET, S3Server, running_s3

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def location(s3: S3Server, request: pytest.FixtureRequest) -> S3Location:
    """A place of its own in the bucket for every test."""
    return replace(s3.location, prefix=f"hospital/{request.node.name.split('[')[0]}")


@pytest.fixture
def store(location: S3Location, tmp_path: Path) -> S3ArtefactStore:
    return S3ArtefactStore(location, scratch_root=tmp_path / "scratch")


def keep(store: S3ArtefactStore, key: str, content: bytes) -> None:
    with store.scratch() as folder:
        (folder / "a").write_bytes(content)
        store.adopt(folder / "a", key)
        assert not (folder / "a").exists()


def test_adopted_file_can_be_read_as_a_stream_and_as_a_file(store: S3ArtefactStore) -> None:
    keep(store, "studies/x/job-1/report.json", b"report")
    with store.open("studies/x/job-1/report.json") as stream:
        assert stream.read() == b"report"
    with store.local_copy("studies/x/job-1/report.json") as path:
        assert path.read_bytes() == b"report"
    assert not path.exists()


def test_key_in_the_bucket_stands_below_the_prefix(
    store: S3ArtefactStore, s3: S3Server, location: S3Location
) -> None:
    keep(store, "studies/x/mask.dcm", b"mask")
    assert f"{location.prefix}/studies/x/mask.dcm" in s3.names()


def test_stream_can_be_sought_like_a_file_on_disk(store: S3ArtefactStore) -> None:
    content = bytes(range(256)) * 4096
    keep(store, "studies/x/preview.zip", content)
    with store.open("studies/x/preview.zip") as stream:
        assert stream.seek(0, io.SEEK_END) == len(content)
        assert stream.read() == b""
        for position in (1_000_000, 3, 500_000):
            stream.seek(position)
            assert stream.read(1000) == content[position : position + 1000]
        stream.seek(-7, io.SEEK_END)
        assert stream.read() == content[-7:]
        stream.seek(0)
        assert stream.read() == content


def test_large_file_goes_in_parts_and_comes_back_the_same(
    store: S3ArtefactStore, s3: S3Server, location: S3Location
) -> None:
    content = os.urandom(20 * MIB)
    keep(store, "studies/x/upload.zip", content)
    head = s3.client().head_object(Bucket=BUCKET, Key=f"{location.prefix}/studies/x/upload.zip")
    # 20 MiB in parts of 8 MiB: the tag of an object in parts ends with their number.
    assert head["ETag"].strip('"').endswith("-3")
    with store.local_copy("studies/x/upload.zip") as path:
        assert path.read_bytes() == content


def test_missing_object_is_said_by_name_and_without_its_folder(store: S3ArtefactStore) -> None:
    for use in (store.open, lambda key: store.local_copy(key).__enter__()):
        with pytest.raises(ArtefactUnavailable, match=r"report\.json") as caught:
            use("studies/secret-folder/report.json")
        assert "secret-folder" not in caught.value.message


def test_object_that_is_replaced_while_it_is_read_is_no_mixture(store: S3ArtefactStore) -> None:
    keep(store, "studies/x/report.json", b"a" * MIB)
    with store.open("studies/x/report.json") as stream:
        assert stream.read(10) == b"a" * 10
        keep(store, "studies/x/report.json", b"b" * MIB)
        stream.seek(MIB - 10)
        with pytest.raises(ArtefactUnavailable, match="PreconditionFailed"):
            stream.read()


def test_removed_folder_is_gone_with_all_its_objects_and_no_other(
    store: S3ArtefactStore, s3: S3Server, location: S3Location
) -> None:
    for name in ("studies/x/a", "studies/x/job-1/b", "studies/xy/c"):
        keep(store, name, b"x")
    store.remove("studies/x")
    store.remove("studies/x")
    mine = [key for key in s3.names() if key.startswith(location.prefix)]
    assert mine == [f"{location.prefix}/studies/xy/c"]


def test_more_objects_than_one_request_may_delete_are_all_removed(
    store: S3ArtefactStore, s3: S3Server, location: S3Location
) -> None:
    client = s3.client()
    for number in range(1001):
        client.put_object(Bucket=BUCKET, Key=f"{location.prefix}/studies/x/{number}", Body=b"")
    store.remove("studies/x")
    answer = client.list_objects_v2(Bucket=BUCKET, Prefix=location.prefix)
    assert answer["KeyCount"] == 0


def test_untouched_folders_are_found_by_their_latest_object(store: S3ArtefactStore) -> None:
    keep(store, "studies/x/a", b"x")
    keep(store, "studies/y/job-1/b", b"x")
    assert store.untouched_since(timedelta(hours=1)) == []
    assert sorted(store.untouched_since(timedelta(seconds=-60))) == ["studies/x", "studies/y"]


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "studies/../../x", ""])
def test_key_outside_the_prefix_is_an_error(store: S3ArtefactStore, key: str) -> None:
    with pytest.raises(ValueError, match="below the root"):
        store.open(key)


def test_bucket_that_is_not_there_and_store_that_is_away_are_said(
    location: S3Location, tmp_path: Path
) -> None:
    nowhere = S3ArtefactStore(replace(location, bucket="other"), scratch_root=tmp_path)
    with pytest.raises(ArtefactUnavailable, match="NoSuchBucket"):
        nowhere.check()
    away = replace(location, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(ArtefactUnavailable, match="CACSCORE_S3_ENDPOINT_URL"):
        S3ArtefactStore(away, scratch_root=tmp_path).check()


def test_disk_where_uploads_arrive_must_have_room(location: S3Location, tmp_path: Path) -> None:
    with pytest.raises(StorageFull):
        S3ArtefactStore(location, scratch_root=tmp_path, reserve_bytes=2**62).check()


_ADOPT = """
import resource, sys
from pathlib import Path
from service.adapters.storage.s3_location import S3Location
from service.adapters.storage.s3_store import S3ArtefactStore

url, folder, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
location = S3Location("cacscore", "memory", url, "us-east-1", "test", "test")
store = S3ArtefactStore(location, scratch_root=folder)
store.check()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with (folder / "upload").open("wb") as stream:
    stream.truncate(size)
store.adopt(folder / "upload", "studies/x/upload.zip")
with store.open("studies/x/upload.zip") as stream:
    while stream.read(256 * 1024):
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_the_size_of_an_upload(s3: S3Server, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _ADOPT, s3.url, str(tmp_path), str(192 * MIB)],
        capture_output=True,
        text=True,
        check=True,
    )
    # Two parts of 8 MiB, with what HTTP and TLS keep beside them, and not 192 MiB.
    assert float(ended.stdout) < 48


def test_study_is_scored_and_deleted_with_its_files_in_the_bucket(
    settings: Settings, s3: S3Server, location: S3Location, study_zip: Path
) -> None:
    settings = settings.model_copy(
        update={
            "s3_bucket": location.bucket,
            "s3_prefix": location.prefix,
            "s3_endpoint_url": location.endpoint_url,
            "s3_region": location.region,
            "s3_access_key_id": SecretStr("test"),
            "s3_secret_access_key": SecretStr("test"),
        }
    )
    with running_gateway(settings) as client:
        service = Service(client, settings, worker_parts(settings))
        study_id = client.post("/studies", files={"file": study_zip.read_bytes()}).json()["id"]
        service.work()

        # 2 slices of 25 mm2 x weight 2, 3 mm apart
        assert client.get(f"/studies/{study_id}/score").json()["agatston_score"] == pytest.approx(
            100
        )
        assert gzip.decompress(client.get(f"/studies/{study_id}/mask?format=nifti").content)
        assert client.get(f"/studies/{study_id}/slices/1.png").content[:4] == b"\x89PNG"
        mine = [key for key in s3.names() if key.startswith(f"{location.prefix}/studies/")]
        listed = client.get(f"/studies/{study_id}/artifacts").json()["artifacts"]
        assert {key.rpartition("/")[2] for key in mine} == {
            *("upload.zip", "preview.zip", "dicom-metadata.json"),
            *(one["name"] for one in listed),
        }
        assert service.files() == []

        assert client.delete(f"/studies/{study_id}").status_code == 204
        left = [key for key in s3.names() if key.startswith(f"{location.prefix}/studies/")]
        assert left == []


def test_bucket_is_made_once_where_there_is_none(s3: S3Server) -> None:
    there_is_none = replace(s3.location, bucket="made-at-the-first-start")

    assert make_bucket(there_is_none)
    assert not make_bucket(there_is_none)
    assert not make_bucket(s3.location)


def test_bucket_of_a_server_that_is_away_is_told(s3: S3Server) -> None:
    away = replace(s3.location, endpoint_url="http://127.0.0.1:9")

    with pytest.raises(ArtefactUnavailable, match="The bucket cannot be made"):
        make_bucket(away)


def test_settings_without_a_bucket_provide_none() -> None:
    with pytest.raises(ProvisioningRefused, match="set CACSCORE_S3_BUCKET"):
        provide_bucket(Settings())
