"""A worker that is told to stop lets its study finish for a while, then hands it back.

SIGTERM ends Celery's consumer at once and waits for the running task, for ever. So the parent
closes a pipe when its patience is over; each child waits for that end in a thread, and interrupts
the attempt in its main thread. Whatever else goes wrong, the lease of the attempt runs out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

from service.application.run_job import StopAttempt

_SIGNAL: Final = signal.SIGUSR2
"""From a child to itself; Celery and billiard use SIGUSR1, SIGTERM and SIGQUIT."""


class StopNotice:
    """Made in the parent before it forks; the children inherit it."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        self._is_scoring = False
        self.is_given = False

    def give_after(self, patience_s: float) -> None:
        """In the parent: let the children stop after so many seconds."""
        timer = threading.Timer(patience_s, self._give)
        timer.daemon = True
        timer.start()

    def _give(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._write_end)

    def wait_in_background(self) -> None:
        """In a child: wait for the notice."""
        # The end that this process inherited would keep the pipe open.
        os.close(self._write_end)
        signal.signal(_SIGNAL, self._interrupt)
        threading.Thread(target=self._wait, name="stop-notice", daemon=True).start()

    def _wait(self) -> None:
        os.read(self._read_end, 1)
        self.is_given = True
        os.kill(os.getpid(), _SIGNAL)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_scoring:
            self._is_scoring = False
            raise StopAttempt

    @contextlib.contextmanager
    def may_interrupt(self) -> Iterator[None]:
        """In a child: the block is an attempt; StopAttempt may come out of it."""
        self._is_scoring = True
        try:
            yield
        finally:
            self._is_scoring = False
