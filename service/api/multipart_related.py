"""Receiving multipart/related (RFC 2387): each part a file on disk, never whole in memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import BinaryIO, Final

from fastapi import Request

from calcium_scoring.errors import UploadTooLarge
from calcium_scoring.upload.archive import ArchiveLimits
from service.api.errors import MalformedForm, UnsupportedMediaType, UploadTimedOut
from service.api.uploads import UploadLimits, drain
from service.application.ports import ArtefactStore

MULTIPART: Final = "multipart/related"
DICOM: Final = "application/dicom"

LARGEST_HEAD_BYTES: Final = 8 * 1024
"""Header fields of a part; they have some hundred bytes. Our choice."""

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046 5.1.1."""


@asynccontextmanager
async def received_parts(
    request: Request, artefacts: ArtefactStore, limits: UploadLimits, archive: ArchiveLimits
) -> AsyncIterator[list[Path]]:
    """Receive the parts of a request, one file each, in their order; gone at the end.

    Raises
    ------
    UnsupportedMediaType
        It is no multipart/related of application/dicom.
    MalformedForm
        The body is cut short, or no such multipart.
    UploadTooLarge, UploadTimedOut
        As for a zip: bytes in all and of a part, number of parts, time.
    """
    boundary = _boundary_of(request)
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limits.size_bytes:
        raise _too_large(limits.size_bytes)
    with artefacts.scratch() as scratch:
        reader = PartReader(boundary, scratch, limits.size_bytes, archive)
        try:
            async with asyncio.timeout(limits.time_s):
                await drain(request, reader.take, limits.stall_s, bytearray())
        except TimeoutError as error:
            raise UploadTimedOut(
                f"The upload sent nothing for {limits.stall_s:g} s, or took more than "
                f"{limits.time_s:g} s as a whole.",
                stall_s=limits.stall_s,
                time_s=limits.time_s,
            ) from error
        finally:
            reader.close()
        yield reader.finish()


class PartReader:
    """Takes a multipart body piece by piece and writes its parts into a folder."""

    def __init__(
        self, boundary: bytes, folder: Path, limit_bytes: int, archive: ArchiveLimits
    ) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._archive = archive
        self._size_bytes = 0
        # The first delimiter may stand at the very beginning.
        self._buffer = bytearray(b"\r\n")
        self._files: list[Path] = []
        self._out: BinaryIO | None = None
        self._part_bytes = 0
        self._is_in_head = False
        self._is_over = False

    def take(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        self._size_bytes += len(chunk)
        if self._size_bytes > self._limit_bytes:
            raise _too_large(self._limit_bytes)
        if self._is_over:
            return
        self._buffer += chunk
        while self._read_head() if self._is_in_head else self._read_to_delimiter():
            pass

    def finish(self) -> list[Path]:
        """Return the files; MalformedForm where the body ended before its last delimiter."""
        if not self._is_over:
            raise MalformedForm("The multipart body ends before its last boundary.")
        if not self._files:
            raise MalformedForm("The multipart body has no part; send one for each instance.")
        return self._files

    def close(self) -> None:
        """Close the file of a part that did not end."""
        if self._out is not None:
            self._out.close()
            self._out = None

    def _read_to_delimiter(self) -> bool:
        """Write what belongs to the part; tell whether its end was found."""
        at = self._buffer.find(self._delimiter)
        if at < 0:
            # What may be the beginning of a delimiter waits.
            self._write(len(self._buffer) - len(self._delimiter) + 1)
            return False
        # Behind the delimiter: two hyphens after the last part, else a line end before a head.
        line_end = self._buffer.find(b"\r\n", at + len(self._delimiter))
        behind = bytes(self._buffer[at + len(self._delimiter) :][:2])
        if behind == b"--":
            self._write(at)
            self.close()
            self._is_over = True
            self._buffer.clear()
            return False
        if line_end < 0:
            if len(self._buffer) - at > len(self._delimiter) + LARGEST_HEAD_BYTES:
                raise MalformedForm("A boundary of the multipart body is followed by other text.")
            return False
        padding = bytes(self._buffer[at + len(self._delimiter) : line_end])
        if padding.strip(b" \t"):
            raise MalformedForm("A boundary of the multipart body is followed by other text.")
        self._write(at)
        self.close()
        # The line end stays: a head without fields is an empty line.
        del self._buffer[: len(self._delimiter) + len(padding)]
        self._is_in_head = True
        return True

    def _read_head(self) -> bool:
        """Begin a part where its head is complete; tell whether it is."""
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            if len(self._buffer) > LARGEST_HEAD_BYTES:
                raise MalformedForm(
                    f"A part has header fields of more than {LARGEST_HEAD_BYTES} bytes."
                )
            return False
        head = BytesHeaderParser().parsebytes(bytes(self._buffer[2 : at + 2]))
        del self._buffer[: at + 4]
        if head.get_content_type() != DICOM or "content-encoding" in head:
            raise UnsupportedMediaType(
                f"Each part must be of Content-Type {DICOM}, without Content-Encoding; metadata "
                "and bulk data by themselves are not taken."
            )
        if len(self._files) >= self._archive.entries:
            raise UploadTooLarge(
                f"The request has more than {self._archive.entries} instances.",
                limit_entries=self._archive.entries,
            )
        path = self._folder / f"{len(self._files) + 1:06d}.dcm"
        self._out = path.open("xb")
        self._files.append(path)
        self._part_bytes = 0
        self._is_in_head = False
        return True

    def _write(self, count: int) -> None:
        if count <= 0:
            return
        if self._out is not None:
            self._part_bytes += count
            if self._part_bytes > self._archive.multi_frame_entry_bytes:
                raise UploadTooLarge(
                    f"An instance has more than {self._archive.multi_frame_entry_bytes} bytes.",
                    limit_bytes=self._archive.multi_frame_entry_bytes,
                )
            self._out.write(memoryview(self._buffer)[:count].tobytes())
        del self._buffer[:count]


def _boundary_of(request: Request) -> bytes:
    header = Message()
    header["Content-Type"] = request.headers.get("content-type", "application/x-missing")
    encoding = request.headers.get("content-encoding", "identity")
    inner = header.get_param("type")
    if (
        header.get_content_type() != MULTIPART
        or inner not in {None, DICOM}
        or encoding != "identity"
    ):
        raise UnsupportedMediaType(
            f'Send {MULTIPART}; type="{DICOM}", a part for each instance, without Content-Encoding.'
        )
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or _BOUNDARY.fullmatch(boundary) is None:
        raise MalformedForm("The Content-Type names no boundary, or one that cannot be.")
    return boundary.encode("ascii")


def _too_large(limit_bytes: int) -> UploadTooLarge:
    return UploadTooLarge(
        f"The request has more than {limit_bytes} bytes. Send one study at a time.",
        limit_bytes=limit_bytes,
    )
