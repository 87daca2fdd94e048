"""A real S3 server in a process of its own: moto's, which keeps objects in memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
import httpx

from service.adapters.storage.s3_location import S3Location

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

START_TIMEOUT_S = 60.0
BUCKET = "cacscore"


@dataclass(frozen=True)
class S3Server:
    """A running server with an empty bucket."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def location(self) -> S3Location:
        """Where the bucket is."""
        return S3Location(
            bucket=BUCKET,
            prefix="hospital/ct",
            endpoint_url=self.url,
            region="us-east-1",
            access_key_id="test",
            secret_access_key="test",  # noqa: S106 - the server takes any
        )

    def client(self) -> S3Client:
        """Return a client of our own, beside the one that is tested."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106
        )

    def names(self) -> list[str]:
        """Return every key in the bucket."""
        answer = self.client().list_objects_v2(Bucket=BUCKET)
        return sorted(one["Key"] for one in answer.get("Contents", []))


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Give a server with one empty bucket."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A part of a multipart upload may be 5 MiB and more, as in AWS.
        env={**os.environ, "S3_UPLOAD_PART_MIN_SIZE": str(5 * 1024 * 1024)},
    )
    server = S3Server(f"http://127.0.0.1:{port}", process)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                httpx.get(server.url, trust_env=False)
            except httpx.TransportError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
            else:
                break
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        process.kill()
        process.wait()
