"""Resumable uploads: tus 1.0.0 with creation, termination, expiration and checksum.

https://tus.io/protocols/resumable-upload. Metadata of the client are not kept: names of files tell
names of people.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import UTC
from email.utils import format_datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from calcium_scoring.errors import UploadRejected, UploadTooLarge
from service.api.access import Caller, Door, caller_of
from service.api.documentation import problems
from service.api.errors import (
    ChecksumMismatch,
    MalformedUploadRequest,
    TusVersionNotSupported,
    UnsupportedMediaType,
    UploadOffsetMismatch,
)
from service.api.problems import TUS_VERSION
from service.api.routes.studies import check_room
from service.api.uploads import drained
from service.api.wiring import GatewayParts, Parts
from service.application.access import LOCAL, Principal
from service.application.errors import StorageFull
from service.application.jobs import JobRequest, Priority
from service.application.resumable_uploads import PartialUpload, UploadWriter
from service.application.submit_study import ReceivedUpload, submit_study
from service.application.webhooks import LONGEST_URL

router = APIRouter(prefix="/uploads", tags=["uploads"])

EXTENSIONS: Final = "creation,expiration,checksum,termination"
CHECKSUMS: Final = ("sha256", "sha1")
CHUNK_TYPE: Final = "application/offset+octet-stream"

_MOST_DIGITS: Final = 16
_READ_BYTES: Final = 1024 * 1024

UploadId = Annotated[
    str,
    Path(description="Last part of `Location`.", examples=["3f1d0c2b9a8e7f6d5c4b3a2918070605"]),
]


def _header(name: str, about: str, schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": required, "description": about} | {
        "schema": schema
    }


_NUMBER: Final = {"type": "integer", "minimum": 0}
_TUS: Final = _header(
    "Tus-Resumable",
    "Version of the protocol.",
    {"type": "string", "const": TUS_VERSION},
    required=True,
)
_LENGTH: Final = _header(
    "Upload-Length", "Bytes of the whole archive.", {"type": "integer", "minimum": 1}, required=True
)
_OFFSET: Final = _header("Upload-Offset", "Where the body goes on.", _NUMBER, required=True)
_CHECKSUM: Final = _header(
    "Upload-Checksum",
    "`sha256` or `sha1`, a space, and the base64 of the digest of the body.",
    {"type": "string"},
    required=False,
)

_ANSWERED: Final[dict[str, Any]] = {
    "Tus-Resumable": {"description": "Version of the protocol.", "schema": {"type": "string"}},
    "Upload-Offset": {"description": "Bytes that are here and safe.", "schema": _NUMBER},
    "Upload-Expires": {
        "description": "When it goes unless it is continued.",
        "schema": {"type": "string"},
    },
    "Content-Location": {
        "description": "Path of the study, once it is accepted.",
        "schema": {"type": "string"},
    },
}


def _answer(about: str, *names: str) -> dict[str, Any]:
    return {
        "description": about,
        "headers": {one: _ANSWERED[one] for one in ("Tus-Resumable", *names)},
    }


@router.options(
    "",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="What resumable uploads can do",
    responses={204: _answer("See `Tus-Version`, `Tus-Extension` and `Tus-Max-Size`.")},
)
def show_abilities(parts: Parts) -> Response:
    """Say which version and extensions of tus are spoken, and how large an upload may be."""
    return _no_content(
        {
            "Tus-Version": TUS_VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(parts.resumable_upload_limits.size_bytes),
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
        }
    )


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    response_class=Response,
    summary="Begin a resumable upload",
    openapi_extra={"parameters": [_TUS, _LENGTH]},
    responses={
        201: {
            "description": "Begun; send the bytes to `Location`.",
            "headers": {
                "Location": {"description": "Path of the upload.", "schema": {"type": "string"}},
                **{one: _ANSWERED[one] for one in ("Tus-Resumable", "Upload-Expires")},
            },
        },
        **problems(400, 412, 422),
    },
)
async def begin(
    request: Request,
    parts: Parts,
    caller: Caller,
    priority: Annotated[
        Priority, Query(description="`stat` is begun before every `routine` study.")
    ] = Priority.ROUTINE,
    callback_url: Annotated[
        str | None,
        Query(max_length=LONGEST_URL, description="As in POST /studies."),
    ] = None,
) -> Response:
    """Begin an upload that may be interrupted: the archive is what POST /studies takes.

    Nothing of `Upload-Metadata` is kept. An upload to which nothing happens is removed at
    `Upload-Expires`; a key may have so many unfinished ones as the operator allows.
    """
    _require_version(request)
    if callback_url is not None:
        parts.webhook_policy.check(callback_url)
    limits = parts.resumable_upload_limits
    length = _number(request, "Upload-Length")
    if length == 0:
        raise MalformedUploadRequest("Upload-Length is 0; an archive has bytes.")
    if length > limits.size_bytes:
        raise UploadTooLarge(
            f"The upload has more than {limits.size_bytes} bytes. Send one study at a time.",
            limit_bytes=limits.size_bytes,
        )

    def create() -> PartialUpload:
        check_room(parts)
        _refuse_what_does_not_fit(parts, length)
        return parts.partial_uploads.create(
            tenant=caller.tenant,
            actor=caller.actor,
            length=length,
            request=JobRequest(priority, callback_url=callback_url),
            # Without authentication all callers are one.
            most=None if caller is LOCAL else limits.most_unfinished,
        )

    upload = await parts.admission.work(create)
    return Response(
        status_code=HTTPStatus.CREATED,
        headers={"Location": f"/uploads/{upload.upload_id}", **_state(upload)},
    )


@router.head(
    "/{upload_id}",
    response_class=Response,
    summary="How much of an upload is here",
    openapi_extra={"parameters": [_TUS]},
    responses={
        200: {
            "description": "Go on at `Upload-Offset`.",
            "headers": {
                **{name: _ANSWERED[name] for name in _ANSWERED},
                "Upload-Length": {"description": "Bytes of the archive.", "schema": _NUMBER},
            },
        },
        **problems(404, 412),
    },
)
async def show_offset(
    request: Request, upload_id: UploadId, parts: Parts, caller: Caller
) -> Response:
    """Say where an upload goes on, and which study it has become."""
    _require_version(request)
    upload = await run_in_threadpool(parts.partial_uploads.find, upload_id, caller.tenant)
    return Response(headers={"Upload-Length": str(upload.length), **_state(upload)})


@router.patch(
    "/{upload_id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Send a piece of an upload",
    openapi_extra={
        "parameters": [_TUS, _OFFSET, _CHECKSUM],
        "requestBody": {
            "required": True,
            "description": "Bytes of the archive from the offset on; as many as the client likes.",
            "content": {CHUNK_TYPE: {"schema": {"type": "string", "contentEncoding": "binary"}}},
        },
    },
    responses={
        204: _answer(
            "Kept. With the last byte the study is accepted: see `Content-Location`.",
            "Upload-Offset",
            "Upload-Expires",
            "Content-Location",
        ),
        **problems(400, 404, 408, 409, 412, 415, 422, 423, 460),
    },
)
async def append(request: Request, upload_id: UploadId, parts: Parts, door: Door) -> Response:
    """Append bytes to an upload; what has come stays when the connection breaks.

    With `Upload-Checksum` the bytes of a request are kept all or not at all. The last byte is
    accepted together with the study: an archive that is refused (422) is removed with its upload,
    and after a passing failure (503) the offset stays one byte short, so that a client which goes
    on asks again.
    """
    _require_version(request)
    if request.headers.get("content-type") != CHUNK_TYPE:
        raise UnsupportedMediaType(f"Send pieces of an upload with Content-Type {CHUNK_TYPE}.")
    offset = _number(request, "Upload-Offset")
    checksum = _Checksum.of(request)
    caller = caller_of(request)
    upload = await run_in_threadpool(parts.partial_uploads.find, upload_id, caller.tenant)
    _require_offset(upload, offset)
    if upload.study_id is not None:
        return _no_content(_state(upload))
    await parts.admission.work(check_room, parts=parts)
    async with door.uploads.taken_by(caller), parts.admission.place():
        writing = parts.partial_uploads.writing(
            upload_id, caller.tenant, all_or_nothing=checksum is not None
        )
        with writing as writer:
            _require_offset(writer.upload, offset)
            await _receive(request, writer, checksum, parts)
            upload = writer.upload
            if upload.offset == upload.length:
                try:
                    upload = await _submit(writer, parts, caller)
                except UploadRejected:
                    # What can never be a study need not wait to expire.
                    await run_in_threadpool(writer.discard)
                    raise
                await run_in_threadpool(
                    door.audit.append, caller, "study received", upload.study_id
                )
    return _no_content(_state(upload))


@router.delete(
    "/{upload_id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Give an upload up",
    openapi_extra={"parameters": [_TUS]},
    responses={204: _answer("Removed."), **problems(404, 412, 423)},
)
async def give_up(request: Request, upload_id: UploadId, parts: Parts, caller: Caller) -> Response:
    """Remove an upload and its bytes; a study that it has become stays."""
    _require_version(request)
    await run_in_threadpool(parts.partial_uploads.remove, upload_id, caller.tenant)
    return _no_content({})


class _Checksum:
    """What the bytes of a request must hash to."""

    def __init__(self, algorithm: str, digest: bytes) -> None:
        # The protocol demands sha1; it finds accidents, and secures nothing.
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._digest = digest

    @classmethod
    def of(cls, request: Request) -> _Checksum | None:
        """Return the checksum of a request; None where it has none."""
        header = request.headers.get("upload-checksum")
        if header is None:
            return None
        algorithm, _, encoded = header.partition(" ")
        try:
            digest = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            digest = b""
        if algorithm not in CHECKSUMS or not digest:
            raise MalformedUploadRequest(
                "Upload-Checksum is one of "
                f"{', '.join(CHECKSUMS)}, a space, and the digest in base64."
            )
        return cls(algorithm, digest)

    def update(self, chunk: bytes) -> None:
        """Take bytes."""
        self._hash.update(chunk)

    def require(self) -> None:
        """Raise ChecksumMismatch unless these were the bytes."""
        if not hmac.compare_digest(self._hash.digest(), self._digest):
            raise ChecksumMismatch(
                "The bytes of the request are not those that Upload-Checksum is of; nothing of "
                "them was kept. Send them again."
            )


async def _receive(
    request: Request, writer: UploadWriter, checksum: _Checksum | None, parts: GatewayParts
) -> None:
    """Append the body; what has come stays where the connection breaks."""
    limits = parts.resumable_upload_limits
    begun = writer.upload.offset

    def take(chunk: bytes) -> None:
        writer.write(chunk)
        if checksum is not None:
            checksum.update(chunk)

    try:
        await drained(
            request,
            take,
            stall_s=limits.stall_s,
            time_s=limits.request_s,
            keeps_rest=checksum is None,
        )
        if checksum is not None:
            checksum.require()
    finally:
        # Also after a client that went away, unless it is all or nothing.
        if checksum is None:
            await run_in_threadpool(writer.keep)
            parts.metrics.upload_received(writer.upload.offset - begun)
    if checksum is not None:
        await run_in_threadpool(writer.keep)
        parts.metrics.upload_received(writer.upload.offset - begun)


async def _submit(writer: UploadWriter, parts: GatewayParts, caller: Principal) -> PartialUpload:
    """Hand the complete archive over, as POST /studies does."""
    upload = writer.upload

    def submit() -> str:
        digest = hashlib.sha256()
        with writer.path.open("rb") as stream:
            while chunk := stream.read(_READ_BYTES):
                digest.update(chunk)
        study = submit_study(
            ReceivedUpload(writer.path, digest.hexdigest(), upload.length),
            store=parts.store,
            artefacts=parts.artefacts,
            queue=parts.queue,
            limits=parts.archive_limits,
            tenant=caller.tenant,
            request=upload.request,
        )
        writer.accepted_as(study.study_id)
        return study.study_id

    await parts.admission.work(submit)
    return writer.upload


def _require_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != TUS_VERSION:
        raise TusVersionNotSupported(
            f"Send the header Tus-Resumable: {TUS_VERSION}; no other version is spoken."
        )


def _require_offset(upload: PartialUpload, offset: int) -> None:
    if upload.offset != offset:
        raise UploadOffsetMismatch(
            f"The request goes on at byte {offset}, and {upload.offset} bytes are here; ask where "
            "to go on (HEAD).",
            offset=upload.offset,
        )


def _number(request: Request, name: str) -> int:
    written = request.headers.get(name, "")
    if not (written.isascii() and written.isdecimal() and len(written) <= _MOST_DIGITS):
        raise MalformedUploadRequest(f"{name} is missing or no number of bytes.", header=name)
    return int(written)


def _refuse_what_does_not_fit(parts: GatewayParts, length: int) -> None:
    free_bytes = parts.artefacts.free_bytes()
    if free_bytes < length:
        raise StorageFull(
            f"{free_bytes} bytes are free; the upload has {length}.",
            free_bytes=free_bytes,
            reserve_bytes=length,
        )


def _state(upload: PartialUpload) -> dict[str, str]:
    """Return what every answer says of an upload."""
    headers = {
        "Tus-Resumable": TUS_VERSION,
        "Upload-Offset": str(upload.offset),
        "Upload-Expires": format_datetime(upload.expires_at.astimezone(UTC), usegmt=True),
    }
    if upload.study_id is not None:
        headers["Content-Location"] = f"/studies/{upload.study_id}"
    return headers


def _no_content(headers: dict[str, str]) -> Response:
    return Response(
        status_code=HTTPStatus.NO_CONTENT, headers={"Tus-Resumable": TUS_VERSION, **headers}
    )
