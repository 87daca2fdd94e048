"""Artefacts in an S3-compatible object store: AWS, MinIO, Ceph and others.

An object appears under its key only when it is complete, so nothing needs to be renamed. Uploads
arrive on the local disk first, as everywhere: they are checked before they are kept. Files go in
parts of 8 MiB, and are read as they are sent, so memory does not depend on their size.

Imported only where CACSCORE_S3_BUCKET is set; the package is the extra ``s3``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from service.adapters.storage.folder_store import FolderArtefactStore
from service.adapters.storage.s3_location import S3Location
from service.application.errors import ArtefactUnavailable

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client

_MIB: Final = 1024 * 1024

_STUDIES: Final = "studies"
_SCRATCH: Final = "scratch"
_PROBE: Final = "probe"

_TRANSFER: Final = TransferConfig(
    multipart_threshold=8 * _MIB, multipart_chunksize=8 * _MIB, max_concurrency=2
)
"""Parts of 8 MiB, two at a time: the least that S3 allows is 5 MiB. Our choice."""

_READ_AHEAD_BYTES: Final = 256 * 1024

_DELETED_AT_ONCE: Final = 1000
"""The most that DeleteObjects takes."""


class S3ArtefactStore:
    """An ArtefactStore in one bucket, with a local folder to work in.

    Parameters
    ----------
    location
        The bucket; it must exist.
    scratch_root, reserve_bytes
        The local folder, and the free space below which :meth:`check` raises StorageFull.
    """

    def __init__(self, location: S3Location, *, scratch_root: Path, reserve_bytes: int = 0) -> None:
        self._bucket = location.bucket
        self._prefix = location.prefix.strip("/")
        self._local = FolderArtefactStore(scratch_root, reserve_bytes=reserve_bytes)
        self._client = _client_of(location)

    def new_folder(self, study_id: str) -> str:
        """Return the key of a folder that nobody has used before."""
        return self._local.new_folder(study_id)

    def scratch(self) -> AbstractContextManager[Path]:
        """Give an empty local folder; it is removed at the end with what is still in it."""
        return self._local.scratch()

    def adopt(self, source: Path, key: str) -> None:
        """Send a finished file; it is complete in the store before the local one is removed."""
        with _translated("The object store did not take a file"):
            self._client.upload_file(str(source), self._bucket, self._key(key), Config=_TRANSFER)
        source.unlink()

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading, seekable; ArtefactUnavailable where it is not there."""
        name = self._key(key)
        with _translated(f"The stored file {key.rsplit('/', 1)[-1]} cannot be read"):
            head = self._client.head_object(Bucket=self._bucket, Key=name)
        reader = _ObjectReader(
            self._client, self._bucket, name, head["ContentLength"], head["ETag"]
        )
        return cast("BinaryIO", io.BufferedReader(reader, _READ_AHEAD_BYTES))

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Give the path of a local copy, which is removed afterwards."""
        with self._local.scratch() as folder:
            path = folder / "copy"
            with _translated(f"The stored file {key.rsplit('/', 1)[-1]} cannot be read"):
                self._client.download_file(
                    self._bucket, self._key(key), str(path), Config=_TRANSFER
                )
            yield path

    def remove(self, key: str) -> None:
        """Remove an object, or all below a folder; nothing happens where there is none."""
        if key.startswith(f"{_SCRATCH}/"):
            self._local.remove(key)
            return
        name = self._key(key)
        with _translated("The object store did not remove a file"):
            names = [name, *(found for found, _ in self._objects(f"{name}/"))]
            for begin in range(0, len(names), _DELETED_AT_ONCE):
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={
                        "Objects": [
                            {"Key": one} for one in names[begin : begin + _DELETED_AT_ONCE]
                        ],
                        "Quiet": True,
                    },
                )
                if answer.get("Errors"):
                    raise ArtefactUnavailable(
                        f"The object store did not remove {len(answer['Errors'])} objects."
                    )

    def untouched_since(self, age: timedelta) -> list[str]:
        """Return the keys of folders of studies and local scratch whose last change is older."""
        latest = datetime.now(UTC) - age
        changed: dict[str, datetime] = {}
        root = self._key(_STUDIES) + "/"
        with _translated("The object store cannot be listed"):
            for name, changed_at in self._objects(root):
                folder = name.removeprefix(root).split("/", 1)[0]
                changed[folder] = max(changed_at, changed.get(folder, changed_at))
        old = [f"{_STUDIES}/{folder}" for folder, at in changed.items() if at < latest]
        return old + self._local.untouched_since(age)

    def free_bytes(self) -> int:
        """Return the room on the local disk, where uploads arrive."""
        return self._local.free_bytes()

    def check(self) -> None:
        """Write an object; StorageFull without local room, ArtefactUnavailable otherwise."""
        self._local.check()
        with _translated("The object store cannot be written"):
            self._client.put_object(Bucket=self._bucket, Key=self._key(_PROBE), Body=b"cacscore")

    def _key(self, key: str) -> str:
        path = PurePosixPath(key)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"A key names something below the root, not {key!r}.")
        return str(PurePosixPath(self._prefix) / path)

    def _objects(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
            for one in page.get("Contents", []):
                yield one["Key"], one["LastModified"]


def make_bucket(location: S3Location) -> bool:
    """Make the bucket of a location; False where it is there already.

    Raises ArtefactUnavailable where the object store does not answer or does not allow it.
    """
    client = _client_of(location)
    with _translated("The bucket cannot be made"):
        try:
            client.head_bucket(Bucket=location.bucket)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in {"404", "NoSuchBucket"}:
                raise
        else:
            return False
        client.create_bucket(Bucket=location.bucket)
    return True


def _client_of(location: S3Location) -> S3Client:
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=location.endpoint_url,
        region_name=location.region,
        aws_access_key_id=location.access_key_id,
        aws_secret_access_key=location.secret_access_key,
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 3},
            s3={"addressing_style": "path" if location.endpoint_url else "auto"},
        ),
    )
    return client


class _ObjectReader(io.RawIOBase):
    """Reads an object from front to back in one request, and begins another where it is sought.

    The object is the one that was opened: a request after it was replaced fails.
    """

    def __init__(
        self, client: S3Client, bucket: str, name: str, size_bytes: int, etag: str
    ) -> None:
        self._client = client
        self._object = {"Bucket": bucket, "Key": name, "IfMatch": etag}
        self._size_bytes = size_bytes
        self._position = 0
        self._body: StreamingBody | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}
        position = max(start[whence] + offset, 0)
        if position != self._position:
            self._drop()
            self._position = position
        return position

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if self._position >= self._size_bytes or not view:
            return 0
        with _translated("A stored file cannot be read"):
            if self._body is None:
                answer = self._client.get_object(
                    **self._object,  # type: ignore[arg-type]
                    Range=f"bytes={self._position}-",
                )
                self._body = answer["Body"]
            data = self._body.read(len(view))
        if not data:
            raise ArtefactUnavailable("A stored file is shorter than the object store said.")
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        # The code alone: the message may name the bucket's owner or a key.
        code = error.response.get("Error", {}).get("Code", "unknown")
        raise ArtefactUnavailable(f"{what} ({code}); see CACSCORE_S3_BUCKET.") from error
    except (BotoCoreError, Boto3Error, HTTPClientError, OSError) as error:
        raise ArtefactUnavailable(
            f"{what} ({type(error).__name__}); see CACSCORE_S3_ENDPOINT_URL."
        ) from error
