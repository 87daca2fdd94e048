"""Pushes results to their destinations beside the scoring; see :mod:`service.application.pushes`.

A thread of the child that scores. A child that is killed in the middle of a push leaves it to the
next one, after the lease; what the destination has by then is sent once more and is the same.
"""

from __future__ import annotations

import json
import threading
from typing import Final

import structlog

from service.adapters.destinations.senders import senders_of
from service.application.artefact_names import PROVENANCE
from service.application.errors import DependencyUnavailable
from service.application.ports import ArtefactStore
from service.application.pushes import push_due
from service.worker.wiring import WorkerParts

_log = structlog.get_logger(__name__)

_STOP_PATIENCE_S: Final = 5.0


def automatic_destinations(parts: WorkerParts) -> tuple[str, ...]:
    """Return the names of the destinations that every result goes to."""
    return tuple(one.name for one in parts.destinations.destinations if one.automatic)


class PushLoop:
    """Pushes until it is stopped; no failure ends it."""

    def __init__(self, parts: WorkerParts, *, interval_s: float) -> None:
        self._parts = parts
        self._interval_s = interval_s
        self._senders = senders_of(parts.destinations)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pushes", daemon=True)

    def start(self) -> None:
        """Begin to look for pushes that are due."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further push; one that takes longer is left to the end of its lease."""
        self._ended.set()
        self._thread.join(timeout=_STOP_PATIENCE_S)

    def push_all_due(self) -> int:
        """Attempt every push whose time has come; return how many there were."""
        count = 0
        while not self._ended.is_set() and push_due(
            outbox=self._parts.outbox,
            files=self._parts.artefacts,
            file_names=lambda key: files_of_result(self._parts.artefacts, key),
            senders=self._senders,
            terms=self._parts.destinations.terms,
        ):
            count += 1
        return count

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                self.push_all_due()
            except DependencyUnavailable as error:
                _log.warning("pushes_wait", code=error.code)
            except Exception:  # noqa: BLE001 - without this loop nothing would be sent any more
                _log.exception("pushes_failed")


def files_of_result(artefacts: ArtefactStore, result_key: str) -> list[str]:
    """Return the names of the files of a result, as its record has them."""
    with artefacts.open(f"{result_key}/{PROVENANCE}") as stream:
        record = json.load(stream)
    return [str(one["name"]) for one in record["artefacts"]]
