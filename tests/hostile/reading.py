"""A child process that scores hostile uploads one after another and is watched while it does.

The child is the worker's own pipeline (``score_series`` and ``write_artefacts``) with a threshold
for a network. The parent sees what came of each upload, how long it took, how much memory the child
and its decoder had at their peak, and what they left on the disk.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Final, Literal

import numpy as np

from calcium_scoring.dicom.decoder_process import DecoderProcess
from calcium_scoring.dicom.headers import NotReadable, number, quiet_pydicom, read_image_file
from calcium_scoring.dicom.pixels import PixelReader
from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.errors import InvalidGeometry, NoDicomFound, SeriesRejected, UploadRejected
from calcium_scoring.scoring.conventions import CONVENTIONS
from service.application.score_series import score_series
from service.application.write_artefacts import write_artefacts
from tests.fakes import ThresholdSegmenter
from tests.hostile.dicom_attacks import SCORED

SECONDS_PER_UPLOAD: Final = 240.0
"""Far beyond what any of them takes; whoever is not finished by then hangs."""

ADDRESS_SPACE_BYTES: Final = 8 * 1024**3
"""A child that wants more gets a MemoryError, which is a crash, instead of the whole machine."""


Mode = Literal["score", "read", "slice"]
"""The whole pipeline of a worker; only what reads an upload; or header and pixels of single files,
with one decoder for all of them, as starting one takes a second."""


@dataclass(frozen=True)
class Verdict:
    """What came of one upload: ``outcome`` is a code, ``scored``, or ``crash: ...``."""

    outcome: str
    peak_bytes: int
    seconds: float
    left_behind: tuple[str, ...]

    @property
    def is_crash(self) -> bool:
        """Whether anything but a score or a typed refusal came of it."""
        return self.outcome.startswith("crash")


class Reader:
    """Scores uploads in a child process; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end()

    def judge(self, upload: Path, mode: Mode = "score") -> Verdict:
        """Have an upload (a zip, a folder or a file) scored, or only read."""
        child = self._running()
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("a child without pipes")
        begun = time.monotonic()
        deadline = Timer(SECONDS_PER_UPLOAD, child.kill)
        deadline.start()
        try:
            child.stdin.write(f"{mode} {upload.absolute()}\n")
            child.stdin.flush()
            answer = child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            deadline.cancel()
        seconds = time.monotonic() - begun
        left = tuple(sorted(path.name for path in self._folder.iterdir()))
        if not answer:
            status = child.wait()
            self._end()
            return Verdict(f"crash: exit status {status}", 0, seconds, left)
        said = json.loads(answer)
        return Verdict(said["outcome"], said["peak_bytes"], seconds, left)

    def _running(self) -> subprocess.Popen[str]:
        if self._child is None:
            self._folder.mkdir(exist_ok=True)
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.reading"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": str(self._folder)},
            )
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()


def _score(upload: Path, workdir: Path) -> None:
    unpacked, written = workdir / "unpacked", workdir / "written"
    unpacked.mkdir()
    written.mkdir()
    scored = score_series(
        upload,
        workdir=unpacked,
        segmenter=ThresholdSegmenter(),
        protocol=CONVENTIONS["literature"],
    )
    write_artefacts(scored, written)


def _read_slices(upload: Path) -> None:
    """Read each file as the reader of series does, with one decoder for all uploads."""
    if upload.is_dir():
        for path in sorted(upload.iterdir()):
            _read_slice(path)
    else:
        _read_slice(upload)


def _read_slice(path: Path) -> None:
    try:
        image = read_image_file(path, path.name)
    except NotReadable as error:
        raise NoDicomFound(str(error)) from error
    with quiet_pydicom():
        shape = tuple(int(number(image.header, one) or 0) for one in ("Rows", "Columns"))
        if not all(64 <= side <= 2048 for side in shape):
            raise InvalidGeometry("as the stack of slices says")
        PixelReader(_DECODER).read_hu(image, np.empty(shape, dtype=np.float32))


_DECODER: Final = DecoderProcess()


def _outcome(mode: str, upload: Path) -> str:
    try:
        with tempfile.TemporaryDirectory() as name:
            if mode == "score":
                _score(upload, Path(name))
            elif mode == "read":
                read_ct_series(upload, Path(name) / "unpacked")
            else:
                _read_slices(upload)
    except (UploadRejected, SeriesRejected) as refusal:
        json.dumps({**refusal.evidence, "message": refusal.message}, allow_nan=False)
        return refusal.code
    return SCORED


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    own_kib = next(int(line.split()[1]) for line in status.splitlines() if line[:6] == "VmHWM:")
    decoder_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own_kib + decoder_kib) * 1024


def main() -> None:
    """Answer each path with a line of JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    for line in sys.stdin:
        _forget_peak()
        mode, _, path = line.rstrip("\n").partition(" ")
        try:
            outcome = _outcome(mode, Path(path))
        except BaseException as error:  # noqa: BLE001 - what must not happen is what is reported
            last = traceback.extract_tb(error.__traceback__)[-1]
            outcome = (
                f"crash: {type(error).__name__}: {str(error)[:200]} "
                f"({Path(last.filename).name}:{last.lineno})"
            )
        print(json.dumps({"outcome": outcome, "peak_bytes": _peak_bytes()}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
