"""Where a bucket is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class S3Location:
    """Where the bucket is; what is None is left to the environment and files of AWS.

    ``prefix`` stands before every key. With an ``endpoint_url`` the bucket is part of the path,
    as stores other than AWS have it.
    """

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
