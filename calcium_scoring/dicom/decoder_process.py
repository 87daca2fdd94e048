"""Compressed slices are decoded in a process of their own, with limits and a deadline.

Decoders are C and C++: a damaged JPEG-LS stream makes GDCM abort the whole process, and some cut
ones keep CharLS busy for seconds. Here only the child dies; the series is refused, and whoever
reads it lives on. One child decodes slices one after the other; a long series has several.

A child that does not start, or that lacks a decoder, is a fault of the installation and is never
reported as one of the series.

Protocol: the child says ``{"ready"}`` once; then the parent writes a path as a line of JSON, and
the child answers with a line of JSON: ``{"dtype", "shape"}`` followed by that many bytes,
``{"error"}``, or ``{"missing"}`` with the name of a decoder that is not installed.
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
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from calcium_scoring.dicom.headers import PARSER_ERRORS, quiet_pydicom
from calcium_scoring.errors import DecoderUnavailable

DECODING_PLUGINS: Final = {
    RLELossless: "pydicom",
    **dict.fromkeys(JPEGTransferSyntaxes, "gdcm"),
    **dict.fromkeys(JPEGLSTransferSyntaxes, "gdcm"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
}
"""One decoder for each compression, so that the same file gives the same values everywhere."""

SECONDS_PER_SLICE: Final = 30.0
"""A slice of 512 x 512 takes a few hundredths of a second; our choice."""

SECONDS_TO_START: Final = 120.0
"""Python and the decoders load in one or two seconds, on a busy machine in some more; our
choice."""

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
_READY: Final = b'{"ready": true}\n'
_STORED_TYPES: Final = frozenset({"|i1", "|u1", "<i2", "<u2", "<i4", "<u4"})


class DecodingFailed(Exception):
    """The slice could not be decoded, or not within the limits."""


class _DecoderMissing(Exception):
    """The decoder of this name is not installed."""


class DecoderProcess:
    """A child that decodes slices; it starts with the first one."""

    def __init__(self, *, seconds_per_slice: float = SECONDS_PER_SLICE) -> None:
        self._seconds_per_slice = seconds_per_slice
        self._child: subprocess.Popen[bytes] | None = None

    def decode(
        self, path: Path, shape: tuple[int, int], frame_index: int = 0
    ) -> NDArray[np.integer]:
        """Return the stored values (row, column) of a compressed frame of this file.

        Raises
        ------
        DecodingFailed
            The decoder refused the slice, died, ran out of time, or found another shape.
        DecoderUnavailable
            The child could not start, or the decoder of this compression is not installed.
        """
        child = self._running_child()
        deadline = Timer(self._seconds_per_slice, child.kill)
        deadline.start()
        try:
            return _ask(child, path, shape, frame_index)
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
            self._child = _start()
            deadline = Timer(SECONDS_TO_START, self._child.kill)
            deadline.start()
            try:
                _await_ready(self._child)
            except BaseException:
                self.close()
                raise
            finally:
                deadline.cancel()
        return self._child


@contextmanager
def decoder_process() -> Iterator[DecoderProcess]:
    """Give a decoder whose child ends with the block."""
    decoder = DecoderProcess()
    try:
        yield decoder
    finally:
        decoder.close()


def _start() -> subprocess.Popen[bytes]:
    """Start the child where nothing that lies in our current folder can be imported by it."""
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "calcium_scoring.dicom.decoder_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # No secret of the parent is passed on.
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": os.pathsep.join(
                    entry for entry in sys.path if Path(entry).is_absolute()
                ),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
        )
    except OSError as error:
        raise _not_started(type(error).__name__) from error


def _await_ready(child: subprocess.Popen[bytes]) -> None:
    answer = b"" if child.stdout is None else child.stdout.readline(_LARGEST_ANSWER_LINE)
    if answer != _READY:
        child.kill()
        raise _not_started(f"exit status {child.wait()}")


def _not_started(reason: str) -> DecoderUnavailable:
    return DecoderUnavailable(
        f"The process that decodes compressed slices did not start ({reason}). This is a fault "
        "of the installation or of the machine, not of the series; "
        "`python -m calcium_scoring.dicom.decoder_process` shows its cause.",
        reason=reason,
    )


def _ask(
    child: subprocess.Popen[bytes], path: Path, shape: tuple[int, int], frame_index: int
) -> NDArray[np.integer]:
    if child.stdin is None or child.stdout is None:
        raise ValueError("a child without pipes")
    child.stdin.write(json.dumps([str(path.absolute()), frame_index]).encode() + b"\n")
    child.stdin.flush()
    answer = json.loads(child.stdout.readline(_LARGEST_ANSWER_LINE))
    if "missing" in answer:
        raise DecoderUnavailable(
            f"The decoder {answer['missing']} is not installed, though cacscore depends on it. "
            "Install cacscore again with its dependencies.",
            decoder=str(answer["missing"]),
        )
    if "error" in answer:
        raise DecodingFailed(str(answer["error"]))
    if tuple(answer["shape"]) != shape or answer["dtype"] not in _STORED_TYPES:
        raise ValueError("an answer of another shape or type")
    dtype = np.dtype(answer["dtype"])
    content = child.stdout.read(math.prod(shape) * dtype.itemsize)
    values: NDArray[np.integer] = np.frombuffer(content, dtype=dtype).reshape(shape)
    return values


def decode_requests(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer each path and frame with its values, until there is none left; runs in the child."""
    files = _Files()
    answers.write(_READY)
    answers.flush()
    for line in requests:
        try:
            path, frame_index = json.loads(line)
            stored = files.decode(Path(path), frame_index)
        except _DecoderMissing as missing:
            answers.write(json.dumps({"missing": str(missing)}).encode() + b"\n")
        except _DECODER_ERRORS:
            answers.write(b'{"error": "the decoder refused the slice"}\n')
        else:
            answer = {"dtype": stored.dtype.newbyteorder("<").str, "shape": stored.shape}
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.write(np.ascontiguousarray(stored, stored.dtype.newbyteorder("<")).tobytes())
        answers.flush()


class _Files:
    """Keeps the last file of several frames: they are asked for one by one."""

    def __init__(self) -> None:
        self._last: tuple[Path, Dataset] | None = None

    def decode(self, path: Path, frame_index: int) -> NDArray[np.integer]:
        with quiet_pydicom():
            if self._last is not None and self._last[0] == path:
                return _decode(self._last[1], frame_index)
            self._last = None
            pixels = dcmread(path, force=True, specific_tags=list(PIXEL_KEYWORDS))
            if int(pixels.get("NumberOfFrames") or 1) > 1:
                self._last = (path, pixels)
            return _decode(pixels, frame_index)


def _decode(pixels: Dataset, frame_index: int) -> NDArray[np.integer]:
    syntax = pixels.file_meta.TransferSyntaxUID
    decoder, plugin = get_decoder(syntax), DECODING_PLUGINS[syntax]
    if plugin not in decoder.available_plugins:
        raise _DecoderMissing(plugin)
    stored: NDArray[np.integer]
    stored, _ = decoder.as_array(pixels, index=frame_index, raw=True, decoding_plugin=plugin)
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
