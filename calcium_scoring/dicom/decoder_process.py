"""Compressed slices are decoded in a process of their own, with limits and a deadline.

Decoders are C and C++: a damaged JPEG-LS stream makes GDCM abort the whole process, and some cut
ones keep CharLS busy for seconds. Here only the child dies; the series is refused, and whoever
reads it lives on. One child decodes all slices of a series, one after the other.

Protocol: the parent writes a path as a line of JSON; the child answers with a line of JSON,
``{"dtype", "shape"}`` followed by that many bytes, or ``{"error"}``.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from calcium_scoring.dicom.headers import PARSER_ERRORS, quiet_pydicom

DECODING_PLUGINS: Final = {
    RLELossless: "pydicom",
    **dict.fromkeys(JPEGTransferSyntaxes, "gdcm"),
    **dict.fromkeys(JPEGLSTransferSyntaxes, "gdcm"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
}
"""One decoder for each compression, so that the same file gives the same values everywhere."""

SECONDS_PER_SLICE: Final = 30.0
"""A slice of 512 x 512 takes a few hundredths of a second; our choice."""

MEMORY_BYTES: Final = 2 * 1024**3
"""Address space of the child: its libraries take a few hundred MiB, a slice some more."""

PIXEL_KEYWORDS: Final = [
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "PixelRepresentation",
    "Rows",
    "SamplesPerPixel",
]

_DECODER_ERRORS: Final = (*PARSER_ERRORS, RuntimeError, MemoryError)
_LARGEST_ANSWER_LINE: Final = 1000
_STORED_TYPES: Final = frozenset({"|i1", "|u1", "<i2", "<u2", "<i4", "<u4"})


class DecodingFailed(Exception):
    """The slice could not be decoded, or not within the limits."""


class DecoderProcess:
    """A child that decodes slices; it starts with the first one."""

    def __init__(self, *, seconds_per_slice: float = SECONDS_PER_SLICE) -> None:
        self._seconds_per_slice = seconds_per_slice
        self._child: subprocess.Popen[bytes] | None = None

    def decode(self, path: Path, shape: tuple[int, int]) -> NDArray[np.integer]:
        """Return the stored values (row, column) of the compressed slice in this file.

        Raises
        ------
        DecodingFailed
            The decoder refused the slice, died, ran out of time, or found another shape.
        """
        child = self._running_child()
        deadline = Timer(self._seconds_per_slice, child.kill)
        deadline.start()
        try:
            return _ask(child, path, shape)
        except (OSError, ValueError, KeyError) as error:
            self.close()
            raise DecodingFailed("the decoder ended without an answer") from error
        finally:
            deadline.cancel()

    def close(self) -> None:
        """End the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def _running_child(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # No secret of the parent is passed on.
                env={
                    "PATH": os.environ.get("PATH", ""),
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        return self._child


@contextmanager
def decoder_process() -> Iterator[DecoderProcess]:
    """Give a decoder whose child ends with the block."""
    decoder = DecoderProcess()
    try:
        yield decoder
    finally:
        decoder.close()


def _ask(child: subprocess.Popen[bytes], path: Path, shape: tuple[int, int]) -> NDArray[np.integer]:
    if child.stdin is None or child.stdout is None:
        raise ValueError("a child without pipes")
    child.stdin.write(json.dumps(str(path.absolute())).encode() + b"\n")
    child.stdin.flush()
    answer = json.loads(child.stdout.readline(_LARGEST_ANSWER_LINE))
    if "error" in answer:
        raise DecodingFailed(str(answer["error"]))
    if tuple(answer["shape"]) != shape or answer["dtype"] not in _STORED_TYPES:
        raise ValueError("an answer of another shape or type")
    dtype = np.dtype(answer["dtype"])
    content = child.stdout.read(math.prod(shape) * dtype.itemsize)
    values: NDArray[np.integer] = np.frombuffer(content, dtype=dtype).reshape(shape)
    return values


def decode_requests(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each path with its decoded slice, until there is none left; runs in the child."""
    for line in requests:
        try:
            stored = _decode(Path(json.loads(line)))
        except _DECODER_ERRORS:
            answers.write(b'{"error": "the decoder refused the slice"}\n')
        else:
            answer = {"dtype": stored.dtype.newbyteorder("<").str, "shape": stored.shape}
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.write(np.ascontiguousarray(stored, stored.dtype.newbyteorder("<")).tobytes())
        answers.flush()


def _decode(path: Path) -> NDArray[np.integer]:
    with quiet_pydicom():
        pixels = dcmread(path, force=True, specific_tags=list(PIXEL_KEYWORDS))
        syntax = pixels.file_meta.TransferSyntaxUID
        stored: NDArray[np.integer]
        stored, _ = get_decoder(syntax).as_array(
            pixels, index=0, raw=True, decoding_plugin=DECODING_PLUGINS[syntax]
        )
    return stored


def _limit_resources() -> None:
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _limit_resources()
    decode_requests(sys.stdin.buffer, sys.stdout.buffer)
