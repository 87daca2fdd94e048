"""Receiving an upload: streamed to disk while it is counted and hashed, never whole in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import BinaryIO, Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from calcium_scoring.errors import UploadTooLarge
from service.api.errors import MalformedForm, UnsupportedMediaType, UploadTimedOut
from service.application.ports import ArtefactStore
from service.application.submit_study import ReceivedUpload

FORM: Final = "multipart/form-data"
FORM_FIELD: Final = "file"
ZIP_TYPES: Final = ("application/zip", "application/x-zip-compressed", "application/octet-stream")

_FORM_OVERHEAD_BYTES: Final = 64 * 1024
"""Boundaries and headers around the file, generously."""

_BATCH_BYTES: Final = 1024 * 1024
"""Chunks are gathered to this size before a thread writes and hashes them."""


@dataclass(frozen=True)
class UploadLimits:
    """How large an upload may be and how long it may take."""

    size_bytes: int
    stall_s: float
    time_s: float


@dataclass(frozen=True)
class ResumableUploadLimits:
    """How large a resumable upload may be, how long one of its requests may take, how many."""

    size_bytes: int
    stall_s: float
    request_s: float
    most_unfinished: int


@asynccontextmanager
async def received_upload(
    request: Request, artefacts: ArtefactStore, limits: UploadLimits
) -> AsyncIterator[ReceivedUpload]:
    """Receive the zip of a request, as field ``file`` of a form or as the body itself.

    The file is gone at the end unless somebody took it. Raises UnsupportedMediaType,
    MalformedForm, UploadTooLarge and UploadTimedOut.
    """
    media_type = _media_type(request)
    _refuse_by_length(request, limits, media_type)
    with artefacts.scratch() as scratch:
        path = scratch / "upload.zip"
        with path.open("xb") as out:
            sink = _Sink(out, limits.size_bytes)
            take, finish = _form_reader(request, sink) if media_type == FORM else (sink.take, None)
            await drained(request, take, stall_s=limits.stall_s, time_s=limits.time_s)
            if finish is not None:
                finish()
        yield sink.received(path)


class _Sink:
    """Writes, counts and hashes the bytes of the file."""

    def __init__(self, out: BinaryIO, limit_bytes: int) -> None:
        self._out = out
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._hash = hashlib.sha256()

    def take(self, chunk: bytes) -> None:
        self._size_bytes += len(chunk)
        if self._size_bytes > self._limit_bytes:
            raise _too_large(self._limit_bytes)
        self._hash.update(chunk)
        self._out.write(chunk)

    def received(self, path: Path) -> ReceivedUpload:
        return ReceivedUpload(path, self._hash.hexdigest(), self._size_bytes)


class _FileField:
    """The one file of the form, as the parser tells of its parts."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._is_file = False
        self._name = bytearray()
        self._value = bytearray()
        self.begun = 0
        self.ended = 0

    def part_begins(self) -> None:
        self._is_file = False

    def header_begins(self) -> None:
        self._name.clear()
        self._value.clear()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_ends(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._is_file = options.get(b"name") == FORM_FIELD.encode()

    def headers_end(self) -> None:
        self.begun += self._is_file

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file and self.begun == 1:
            self._sink.take(data[start:end])

    def part_ends(self) -> None:
        self.ended += self._is_file


def _form_reader(
    request: Request, sink: _Sink
) -> tuple[Callable[[bytes], None], Callable[[], None]]:
    field = _FileField(sink)
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedForm("The Content-Type of the form names no boundary.")
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": field.part_begins,
                "on_header_begin": field.header_begins,
                "on_header_field": field.header_name,
                "on_header_value": field.header_value,
                "on_header_end": field.header_ends,
                "on_headers_finished": field.headers_end,
                "on_part_data": field.data,
                "on_part_end": field.part_ends,
            },
        )
    except FormParserError as error:
        raise MalformedForm("The boundary of the form is not one (RFC 2046).") from error

    def take(chunk: bytes) -> None:
        try:
            parser.write(chunk)
        except FormParserError as error:
            raise MalformedForm("The body is not a well-formed multipart form.") from error

    def finish() -> None:
        if field.begun != 1 or field.ended != 1:
            raise MalformedForm(
                f"The form holds {field.begun} fields named {FORM_FIELD!r}, {field.ended} of them "
                "complete; it must hold one, with the zip.",
                field_count=field.begun,
            )

    return take, finish


async def drained(
    request: Request,
    take: Callable[[bytes], None],
    *,
    stall_s: float,
    time_s: float,
    keeps_rest: bool = False,
) -> None:
    """Hand the body of a request over, in batches; UploadTimedOut where it takes too long.

    With ``keeps_rest`` what came before the connection broke is handed over too.
    """
    batch = bytearray()
    try:
        async with asyncio.timeout(time_s):
            await drain(request, take, stall_s, batch)
    except TimeoutError as error:
        raise UploadTimedOut(
            f"The upload sent nothing for {stall_s:g} s, or took more than {time_s:g} s as a "
            "whole.",
            stall_s=stall_s,
            time_s=time_s,
        ) from error
    finally:
        # Here and not in a thread: nobody may be left to wait for it.
        if keeps_rest and batch:
            take(bytes(batch))


async def drain(
    request: Request, take: Callable[[bytes], None], stall_s: float, batch: bytearray
) -> None:
    """Hand the body over in batches, in a thread, so that other requests go on."""
    stream = aiter(request.stream())
    while True:
        async with asyncio.timeout(stall_s):
            chunk = await anext(stream, None)
        if chunk is not None:
            batch += chunk
        if len(batch) >= _BATCH_BYTES or (chunk is None and batch):
            gathered = bytes(batch)
            batch.clear()
            await run_in_threadpool(take, gathered)
        if chunk is None:
            return


def _media_type(request: Request) -> str:
    header = Message()
    header["Content-Type"] = request.headers.get("content-type", "application/x-missing")
    media_type = header.get_content_type()
    encoding = request.headers.get("content-encoding", "identity")
    if media_type not in (FORM, *ZIP_TYPES) or encoding != "identity":
        raise UnsupportedMediaType(
            f"Send the zip as field {FORM_FIELD!r} of a {FORM} form, or as the body with "
            "Content-Type application/zip, and without Content-Encoding.",
        )
    return media_type


def _refuse_by_length(request: Request, limits: UploadLimits, media_type: str) -> None:
    """Refuse before the first byte what says itself that it is too large."""
    length = request.headers.get("content-length", "0")
    overhead = _FORM_OVERHEAD_BYTES if media_type == FORM else 0
    if length.isdecimal() and int(length) > limits.size_bytes + overhead:
        raise _too_large(limits.size_bytes)


def _too_large(limit_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(
        f"The upload has more than {limit_bytes} bytes. Send one study at a time.",
        limit_bytes=limit_bytes,
    )
