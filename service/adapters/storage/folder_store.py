"""Artefacts in a folder of this machine, or of a network disk that all machines see.

A file appears under its name only when it is complete and on the disk: it is synced, then
renamed. A folder disappears at once: it is renamed, then emptied.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final

from service.application.errors import ArtefactUnavailable, StorageFull

_STUDIES: Final = "studies"
_SCRATCH: Final = "scratch"
_CANNOT_WRITE: Final = "The artefact folder cannot be written; see CACSCORE_DATA_DIR."


class FolderArtefactStore:
    """An ArtefactStore below one root folder: ``studies/`` to keep, ``scratch/`` to work in.

    Parameters
    ----------
    root
        Created where it does not exist, readable by its owner only.
    reserve_bytes
        With less free space than this, :meth:`check` raises StorageFull.
    """

    def __init__(self, root: Path, *, reserve_bytes: int = 0) -> None:
        self._root = root.absolute()
        self._reserve_bytes = reserve_bytes

    def new_folder(self, study_id: str) -> str:
        """Return the key of a folder that nobody has used before.

        A study that is deleted and sent again gets another one: a late worker of the first
        cannot touch it.
        """
        return f"{_STUDIES}/{study_id}-{secrets.token_hex(4)}"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give an empty folder; it is removed at the end with what is still in it."""
        parent = self._root / _SCRATCH
        _make_private_folder(parent)
        with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def adopt(self, source: Path, key: str) -> None:
        """Move a finished file into the store; it survives a power cut from here on."""
        target = self._path(key)
        _make_private_folder(target.parent)
        if source.stat().st_dev == target.parent.stat().st_dev:
            _sync(source)
            source.replace(target)
        else:
            part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
            shutil.copyfile(source, part)
            _sync(part)
            part.replace(target)
            source.unlink()
        for folder in (target.parent, target.parent.parent):
            _sync(folder)

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading; ArtefactUnavailable where it is not there."""
        try:
            return self._path(key).open("rb")
        except OSError as error:
            raise ArtefactUnavailable(
                f"The stored file {key.rsplit('/', 1)[-1]} cannot be read."
            ) from error

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Give the path of a file; here it is the file itself, to be read only."""
        self.open(key).close()
        yield self._path(key)

    def remove(self, key: str) -> None:
        """Remove a file or folder at once; nothing happens where it is not there."""
        with self.scratch() as trash:
            try:
                self._path(key).rename(trash / "removed")
            except FileNotFoundError:
                return
        self._prune(self._path(key).parent)

    def untouched_since(self, age: timedelta) -> list[str]:
        """Return the keys of folders of studies and scratch whose last change is older."""
        latest = time.time() - age.total_seconds()
        return [
            f"{kind}/{entry.name}"
            for kind in (_STUDIES, _SCRATCH)
            if (self._root / kind).is_dir()
            for entry in (self._root / kind).iterdir()
            if _changed_at(entry) < latest
        ]

    def free_bytes(self) -> int:
        """Return the room on the disk of the folder."""
        try:
            _make_private_folder(self._root)
            return shutil.disk_usage(self._root).free
        except OSError as error:
            raise ArtefactUnavailable(_CANNOT_WRITE) from error

    def check(self) -> None:
        """Write and remove a file; StorageFull without room, ArtefactUnavailable otherwise."""
        try:
            with self.scratch() as folder:
                (folder / "probe").write_bytes(b"cacscore")
        except OSError as error:
            raise ArtefactUnavailable(_CANNOT_WRITE) from error
        free_bytes = self.free_bytes()
        if free_bytes < self._reserve_bytes:
            raise StorageFull(
                f"{free_bytes} bytes are free in the artefact folder; {self._reserve_bytes} are "
                "kept in reserve. Delete studies or add room.",
                free_bytes=free_bytes,
                reserve_bytes=self._reserve_bytes,
            )

    def _path(self, key: str) -> Path:
        path = Path(os.path.normpath(self._root / key))
        if self._root not in path.parents:
            raise ValueError(f"A key names something below the root, not {key!r}.")
        return path

    def _prune(self, folder: Path) -> None:
        """Remove an empty folder of a study, such as one that a late worker made again."""
        if folder.parent == self._root / _STUDIES:
            try:
                folder.rmdir()
            except OSError:
                return


def _make_private_folder(path: Path) -> None:
    """Make a folder and its missing parents for the owner only."""
    for folder in [*reversed(path.parents), path]:
        # Asked first: a parent that is there may be one that we must not write to.
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        # Removed meanwhile: not abandoned.
        return float("inf")
