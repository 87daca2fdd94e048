"""A scoring process says that it is there, with which model, and what that really runs on.

A thread of the child that scores, never of the parent that forks. It loads the model at once, so
that a model or a GPU that cannot be had is known before the first study comes.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from calcium_scoring.errors import CacscoreError
from service.application.errors import RecordUnavailable
from service.application.operations import OperationsRecord, WorkerBeat, WorkerState
from service.application.ports import Segmenter

_log = structlog.get_logger(__name__)

RELOAD_AFTER_BEATS: Final = 6
"""A model that cannot be loaded is tried again after so many beats; our choice."""


class Heartbeat:
    """Beats from a thread until it is stopped.

    Parameters
    ----------
    load_segmenter
        Loads the model, once; any later call returns the same.
    provider_of
        Tells on which execution provider a loaded segmenter runs.
    """

    def __init__(
        self,
        record: OperationsRecord,
        *,
        load_segmenter: Callable[[], Segmenter],
        provider_of: Callable[[Segmenter], str],
        interval_s: float,
    ) -> None:
        self._record = record
        self._load_segmenter = load_segmenter
        self._provider_of = provider_of
        self._interval_s = interval_s
        self._beat = WorkerBeat(uuid.uuid4().hex, WorkerState.LOADING)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker-heartbeat", daemon=True)
        self._loader = threading.Thread(target=self._load, name="model-loader", daemon=True)

    def start(self) -> None:
        """Begin to beat, and to load the model."""
        self._thread.start()
        self._loader.start()

    def stop(self) -> None:
        """Say good-bye; a process that is killed is missed instead."""
        self._ended.set()
        self._thread.join(timeout=self._interval_s)
        try:
            self._record.forget_worker(self._beat.worker_id)
        except RecordUnavailable:
            _log.warning("worker_not_forgotten")

    def _run(self) -> None:
        while True:
            self._say()
            if self._ended.wait(self._interval_s):
                return

    def _say(self) -> None:
        if self._ended.is_set():
            return
        try:
            self._record.see_worker(self._beat)
        except RecordUnavailable:
            _log.warning("worker_heartbeat_missed")

    def _load(self) -> None:
        while not self._ended.is_set():
            try:
                segmenter = self._load_segmenter()
            except Exception as error:  # noqa: BLE001 - whatever it is, a study would meet it too
                ours = isinstance(error, CacscoreError)
                detail = str(error) if ours else f"unforeseen {type(error).__name__}"
                self._become(replace(self._beat, state=WorkerState.UNAVAILABLE, detail=detail))
                _log.warning("model_not_loaded", exc_info=None if ours else error, detail=detail)
                self._ended.wait(self._interval_s * RELOAD_AFTER_BEATS)
            else:
                model, provider = segmenter.model, self._provider_of(segmenter)
                self._become(
                    WorkerBeat(
                        self._beat.worker_id,
                        WorkerState.READY,
                        model_name=model.name,
                        model_version=model.version,
                        execution_provider=provider,
                    )
                )
                _log.info("model_loaded", model_version=model.version, execution_provider=provider)
                return

    def _become(self, beat: WorkerBeat) -> None:
        self._beat = beat
        self._say()
