"""Files of the artefact store as answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from fastapi.responses import StreamingResponse

from service.api.wiring import GatewayParts
from service.application.errors import ArtefactUnavailable

_CHUNK_BYTES: Final = 256 * 1024


def open_artefact(parts: GatewayParts, study_id: str, key: str) -> BinaryIO:
    """Open a file of a study; StudyNotFound where the study was deleted since it was found."""
    try:
        return parts.artefacts.open(key)
    except ArtefactUnavailable:
        parts.store.find(study_id)
        raise


def send_artefact(
    parts: GatewayParts,
    study_id: str,
    key: str,
    media_type: str,
    *,
    file_name: str | None = None,
) -> StreamingResponse:
    """Answer with a file of a study; with ``file_name`` as one to be saved under that name."""
    stream = open_artefact(parts, study_id, key)
    size_bytes = stream.seek(0, 2)
    stream.seek(0)
    headers = {"Content-Length": str(size_bytes)}
    if file_name is not None:
        headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return StreamingResponse(_chunks(stream), media_type=media_type, headers=headers)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
