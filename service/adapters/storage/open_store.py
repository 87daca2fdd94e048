"""The store that the settings name: a folder, or a bucket."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from service.adapters.storage.folder_store import FolderArtefactStore
from service.adapters.storage.s3_location import S3Location
from service.application.errors import ArtefactUnavailable
from service.application.ports import ArtefactStore


def open_artefact_store(
    folder: Path, *, s3: S3Location | None, reserve_bytes: int = 0
) -> ArtefactStore:
    """Return the store of artefacts; with a bucket the folder is only worked in.

    Raises ArtefactUnavailable where a bucket is named and its package is not installed.
    """
    if s3 is None:
        return FolderArtefactStore(folder, reserve_bytes=reserve_bytes)
    if find_spec("boto3") is None:
        raise ArtefactUnavailable(
            "CACSCORE_S3_BUCKET is set, and boto3 is not installed: pip install 'cacscore[s3]'."
        )
    from service.adapters.storage.s3_store import S3ArtefactStore  # noqa: PLC0415 - an extra

    return S3ArtefactStore(s3, scratch_root=folder, reserve_bytes=reserve_bytes)
