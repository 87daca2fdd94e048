"""Studies that are still arriving, instance by instance, on disk and nowhere else.

```text
incoming/
  arriving/            files that a sender is still writing; emptied at start
  studies/KEY/         a study of one sender: sender.json and its instances
  complete/KEY-N/      the same, complete: waits to be routed and submitted
  set-aside/KEY-N/     could not be routed because of a fault of the program; for its operator
```

A DICOM sender does not say when a study is complete. It counts as complete once nothing of it has
arrived for a while, or, if asked for, once every association that sent some of it was released.
What lies in ``studies`` and ``complete`` at start is taken up again. An instance is on the disk
before its sender is told that it was received. Names of files and folders say nothing of a patient.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from calcium_scoring.errors import UploadTooLarge
from service.application.errors import ArtefactUnavailable, StorageFull

MIB: Final = 1024 * 1024

_SENDER: Final = "sender.json"
_OVER_LIMIT: Final = "over-limit"
_INSTANCE_SUFFIX: Final = ".dcm"
_NAME_CHARACTERS: Final = 40
"""Of the hexadecimal SHA-256: 160 bits, so that two instances do not meet."""

_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True)
class Sender:
    """Who sent something to whom, by their application entity titles."""

    calling_ae_title: str
    called_ae_title: str


@dataclass(frozen=True)
class IncomingTerms:
    """When a study is complete, and how much of it is taken; all of it is our choice.

    ``reserve_bytes`` of the disk stay free. A study beyond ``study_bytes`` or ``study_instances``
    is not submitted at all: a part of a scan has another score.
    """

    quiet: timedelta = timedelta(seconds=30)
    ends_with_association: bool = False
    study_bytes: int = 8192 * MIB
    study_instances: int = 20_000
    reserve_bytes: int = 1024 * MIB


@dataclass(frozen=True)
class CompleteStudy:
    """A study that is no longer added to. ``is_over_limit``: some of it was not taken."""

    folder: Path
    sender: Sender
    instances: tuple[Path, ...]
    is_over_limit: bool


@dataclass
class _Open:
    """A study that may still be added to."""

    last_arrival: float
    size_bytes: int = 0
    instances: set[str] = field(default_factory=set)
    senders: set[Hashable] = field(default_factory=set)
    """Associations that sent some of it and are still there."""
    was_cut_off: bool = False
    """Whether an association ended without being released."""


class IncomingStudies:
    """Keeps instances until their study is complete; may be used by several threads."""

    def __init__(
        self,
        folder: Path,
        terms: IncomingTerms,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terms = terms
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: set[Hashable] = set()
        self.arriving = folder / "arriving"
        self._studies = folder / "studies"
        self._complete = folder / "complete"
        self._set_aside = folder / "set-aside"
        try:
            shutil.rmtree(self.arriving, ignore_errors=True)
            for one in (self.arriving, self._studies, self._complete, self._set_aside):
                one.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            self._open = {one.name: self._taken_up(one) for one in self._studies.iterdir()}
        except OSError as error:
            raise ArtefactUnavailable(
                "The folder of arriving studies cannot be written; see CACSCORE_DATA_DIR."
            ) from error

    def check_room(self) -> None:
        """Raise StorageFull where no further instance should be written."""
        try:
            free_bytes = shutil.disk_usage(self.arriving).free
        except OSError as error:
            raise StorageFull("The room for arriving studies cannot be asked for.") from error
        if free_bytes < self._terms.reserve_bytes:
            raise StorageFull(
                f"{free_bytes} bytes are free where studies arrive; {self._terms.reserve_bytes} "
                "stay free (CACSCORE_DISK_RESERVE_BYTES).",
                free_bytes=free_bytes,
            )

    def begin(self, association: Hashable) -> None:
        """Take note that an association is in the middle of an instance."""
        with self._lock:
            self._busy.add(association)

    def finish(self, association: Hashable) -> None:
        """Take note that the instance of an association has been answered."""
        with self._lock:
            self._busy.discard(association)

    def keep(
        self,
        file: Path,
        *,
        sender: Sender,
        study_instance_uid: str,
        sop_instance_uid: str,
        association: Hashable,
    ) -> None:
        """Take a complete file over into its study, durably; the same instance again replaces it.

        Raises
        ------
        UploadTooLarge
            The study has more instances or bytes than are taken.
        StorageFull
            It cannot be written.
        """
        key = _name(sender.calling_ae_title, sender.called_ae_title, study_instance_uid)
        name = _name(sop_instance_uid) + _INSTANCE_SUFFIX
        try:
            _sync(file)
            with self._lock:
                self._take(file, key, name, sender, association)
        except OSError as error:
            raise StorageFull(
                f"An instance could not be written: {error.strerror or type(error).__name__}."
            ) from error

    def _take(self, file: Path, key: str, name: str, sender: Sender, association: Hashable) -> None:
        folder = self._studies / key
        size_bytes = file.stat().st_size
        study = self._open.get(key)
        if study is None:
            _write_sender(self.arriving / f"{key}.new", folder, sender)
            study = self._open[key] = _Open(self._clock())
        study.last_arrival = self._clock()
        study.senders.add(association)
        is_new = name not in study.instances
        if (
            len(study.instances) + is_new > self._terms.study_instances
            or study.size_bytes + size_bytes > self._terms.study_bytes
        ):
            (folder / _OVER_LIMIT).touch()
            raise UploadTooLarge(
                f"The study has more than {self._terms.study_instances} instances or "
                f"{self._terms.study_bytes} bytes; none of it will be scored.",
                limit_instances=self._terms.study_instances,
                limit_bytes=self._terms.study_bytes,
            )
        target = folder / name
        replaced_bytes = 0 if is_new else target.stat().st_size
        file.replace(target)
        _sync(folder)
        study.instances.add(name)
        study.size_bytes += size_bytes - replaced_bytes

    def ended(self, association: Hashable, *, is_released: bool) -> None:
        """Take note that an association is over, in good order or not."""
        with self._lock:
            self._busy.discard(association)
            for study in self._open.values():
                if association in study.senders:
                    study.senders.discard(association)
                    study.was_cut_off = study.was_cut_off or not is_released
                    # The time of waiting for a sender that comes back begins now.
                    study.last_arrival = self._clock()

    def complete(self) -> list[CompleteStudy]:
        """Close every study that is complete by now; return all that wait, the oldest first."""
        with self._lock:
            for key, study in list(self._open.items()):
                if self._is_complete(study):
                    (self._studies / key).rename(self._complete / f"{key}-{time.time_ns()}")
                    del self._open[key]
        waiting = [one for one in self._complete.iterdir() if one.is_dir()]
        waiting.sort(key=lambda one: one.name.rpartition("-")[2])
        return [_complete_study(one) for one in waiting]

    def _is_complete(self, study: _Open) -> bool:
        if study.senders & self._busy:
            return False
        if self._terms.ends_with_association and not study.senders and not study.was_cut_off:
            return True
        return self._clock() - study.last_arrival >= self._terms.quiet.total_seconds()

    def discard(self, study: CompleteStudy) -> None:
        """Forget a study whose instances are no longer needed."""
        # Renamed first: a folder that is half removed must not be taken for a study.
        doomed = self.arriving / study.folder.name
        study.folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def set_aside(self, study: CompleteStudy) -> None:
        """Put a study where nobody takes it up again, for its operator to look at."""
        study.folder.rename(self._set_aside / study.folder.name)

    def open_count(self) -> int:
        """Return how many studies are still arriving."""
        with self._lock:
            return len(self._open)

    def _taken_up(self, folder: Path) -> _Open:
        """Return the state of a study that was arriving when the process ended.

        Its senders get the whole time of waiting once more.
        """
        files = [one for one in folder.iterdir() if one.suffix == _INSTANCE_SUFFIX]
        return _Open(
            last_arrival=self._clock(),
            size_bytes=sum(one.stat().st_size for one in files),
            instances={one.name for one in files},
            was_cut_off=True,
        )


def _complete_study(folder: Path) -> CompleteStudy:
    titles = json.loads((folder / _SENDER).read_text(encoding="utf-8"))
    return CompleteStudy(
        folder=folder,
        sender=Sender(titles["calling_ae_title"], titles["called_ae_title"]),
        instances=tuple(sorted(folder.glob(f"*{_INSTANCE_SUFFIX}"))),
        is_over_limit=(folder / _OVER_LIMIT).exists(),
    )


def _name(*parts: str) -> str:
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:_NAME_CHARACTERS]


def _write_sender(draft: Path, folder: Path, sender: Sender) -> None:
    """Make the folder of a study; it is there with its sender, or not at all."""
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=_FOLDER_MODE)
    path = draft / _SENDER
    path.write_text(
        json.dumps(
            {
                "calling_ae_title": sender.calling_ae_title,
                "called_ae_title": sender.called_ae_title,
            }
        ),
        encoding="utf-8",
    )
    _sync(path)
    draft.rename(folder)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
