"""A folder of DICOM files as the archive that the service takes."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cacscore_client.errors import NothingToSend

ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest date of the format: the same folder always gives the same bytes."""

OnFile = Callable[[int, int], None]
"""Told how many files are packed, and of how many."""


def _unheard(_packed: int, _of: int) -> None:
    """Nobody listens."""


@contextmanager
def packed(path: str | os.PathLike[str], *, on_file: OnFile = _unheard) -> Iterator[Path]:
    """Give a zip for the path: itself, or a temporary archive of all files of a folder.

    The files of a folder are named by number in the archive: names of folders and files often hold
    names of patients. NothingToSend where the folder holds no files.
    """
    source = Path(path)
    if not source.is_dir():
        yield source
        return
    files = sorted(file for file in source.rglob("*") if file.is_file())
    if not files:
        raise NothingToSend(f"The folder {source} holds no files.")
    with tempfile.TemporaryDirectory(prefix="cacscore-") as folder:
        archive = Path(folder) / "series.zip"
        _pack(files, archive, on_file)
        yield archive


def _pack(files: Sequence[Path], archive: Path, on_file: OnFile) -> None:
    with zipfile.ZipFile(archive, "w") as writer:
        for number, file in enumerate(files, start=1):
            entry = zipfile.ZipInfo(f"{number:06d}.dcm", ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            writer.writestr(entry, file.read_bytes(), compresslevel=1)
            on_file(number, len(files))
