"""The file that an arriving data set is written to, fragment by fragment.

With ``STORE_RECV_CHUNKED_DATASET`` pynetdicom writes a data set to a temporary file of the system,
of any length, and an error of the disk ends its thread. It is handed this file instead: it lies on
the disk of the studies, takes as much as is allowed, and keeps what went wrong until the request is
answered.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, Self

from calcium_scoring.errors import CacscoreError, UploadTooLarge
from service.application.errors import StorageFull


class SpoolFile:
    """Stands for the temporary file of pynetdicom; ``failure`` says why it is not complete."""

    def __init__(self, folder: Path, limit_bytes: int, failure: CacscoreError | None) -> None:
        self.failure = failure
        self.name = str(folder / "never-written")
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._file: IO[bytes] | None = None
        if failure is None:
            try:
                self._file = tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115
            except OSError as error:
                self.failure = _no_room(error)
            else:
                self.name = self._file.name

    @property
    def file(self) -> Self:
        """What pynetdicom flushes after each fragment."""
        return self

    def flush(self) -> None:
        """Do nothing: the file is flushed and synced once, when it is complete."""

    def write(self, data: bytes) -> int:
        """Write a fragment, or let it fall where the file has failed."""
        self._size_bytes += len(data)
        if self._file is None:
            return len(data)
        if self._size_bytes > self._limit_bytes:
            self._fail(
                UploadTooLarge(
                    f"The instance has more than {self._limit_bytes} bytes.",
                    limit_bytes=self._limit_bytes,
                )
            )
            return len(data)
        try:
            self._file.write(data)
        except OSError as error:
            self._fail(_no_room(error))
        return len(data)

    def close(self) -> None:
        """Write what is left."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
        except OSError as error:
            self.failure = _no_room(error)

    def remove(self) -> None:
        """Close the file and remove it, unless somebody took it."""
        self.close()
        Path(self.name).unlink(missing_ok=True)

    def _fail(self, failure: CacscoreError) -> None:
        self.remove()
        self.failure = failure


def _no_room(error: OSError) -> StorageFull:
    return StorageFull(
        f"An instance could not be written: {error.strerror or type(error).__name__}."
    )
