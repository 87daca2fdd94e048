"""What the parent of the scoring processes does when one of them dies: it tells the record.

The record then names the signal if the study is given up, and takes the job back at once instead
of waiting for its lease. The parent opens no database of its own, since it forks: a short-lived
process of its own writes the one line, `python -m service.worker.lost_process WORKER EXIT`.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Final

import structlog
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.worker.request import Request

from service.adapters.database.engine import open_engine
from service.adapters.database.study_store import SqlStudyStore
from service.application.errors import DependencyUnavailable
from service.settings import Settings

_log = structlog.get_logger(__name__)

REPORT_TIMEOUT_S: Final = 60.0
"""The lease ends by itself if the report does not come through; our choice."""

_END: Final = re.compile(r"signal \d+ \((?P<signal>\w+)\)|exitcode (?P<status>-?\d+)")
"""How billiard words the end of a process."""


def worker_name(process_id: int) -> str:
    """Return the name by which the record knows a scoring process of this machine."""
    return f"{socket.gethostname()}:{process_id}"


def this_worker() -> str:
    """Return the name of the process that asks."""
    return worker_name(os.getpid())


def end_of_process(words: str) -> str:
    """Return the signal (``SIGKILL``) or exit status (``exit status 1``) that the words name."""
    found = _END.search(words)
    if found is None:
        return "an unknown end"
    return found["signal"] or f"exit status {found['status']}"


class LossReportingRequest(Request):
    """A task in the parent's eyes; it hears how the process of the task ended."""

    def on_failure(
        self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False
    ) -> None:
        """Report a process that died, then do as usual."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            self._report(end_of_process(str(error)))
        super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Report a process that is killed for its time, then do as usual."""
        if not soft:
            self._report(f"the time limit of {timeout:g} s")
        super().on_timeout(soft, timeout)

    def _report(self, last_exit: str) -> None:
        if self.worker_pid is None:
            return
        # This is the thread that hears of results: it must not wait.
        threading.Thread(
            target=_report_in_own_process,
            args=(worker_name(int(self.worker_pid)), last_exit),
            name=f"report-{self.worker_pid}",
            daemon=True,
        ).start()


def run_beside_forks(command: Sequence[str], *, timeout_s: float) -> None:
    """Run a program and wait for its end, in a thread of a process that may fork at any moment.

    Raises OSError or subprocess.SubprocessError where it does not start, fails or takes longer.
    """
    # With close_fds, Popen waits until nobody holds a pipe of its own any more; a process that is
    # forked meanwhile holds it for as long as it lives, and the program would stay a zombie.
    # Without, it is spawned (posix_spawn), which needs no pipe. What Python opens is not inherited.
    subprocess.run(command, timeout=timeout_s, check=True, close_fds=False)  # noqa: S603 - our own


def _report_in_own_process(worker: str, last_exit: str) -> None:
    command = [sys.executable, "-m", __name__, worker, last_exit]
    try:
        run_beside_forks(command, timeout_s=REPORT_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        _log.warning("lost_process_not_reported", last_exit=last_exit)


def report(settings: Settings, worker: str, last_exit: str) -> bool:
    """Write to the record how a scoring process ended; False where it had no job."""
    store = SqlStudyStore(open_engine(settings.record_url), terms=settings.lease_terms)
    return store.report_lost_worker(worker, last_exit=last_exit)


def main() -> None:
    """Report the process that the command line names."""
    worker, last_exit = sys.argv[1:]
    try:
        report(Settings(), worker, last_exit)
    except DependencyUnavailable as error:
        raise SystemExit(error.message) from error


if __name__ == "__main__":
    main()
