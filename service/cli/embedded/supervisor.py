"""Children that are started, watched, restarted and stopped in order; none is ever left behind.

Each child runs under a tether (see ``tether.py``), which ends it even when this process is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from service.cli.embedded import tether

MAX_RESTARTS: Final = 3
"""Deaths of one child within ``RESTART_WINDOW_S`` after which everything stops. Our choice."""

RESTART_WINDOW_S: Final = 60.0
"""Our choice."""

POLL_INTERVAL_S: Final = 0.2

MAX_LOG_BYTES: Final = 10 * 1024 * 1024
"""A longer log is moved aside (``.1``) when its program starts. Our choice."""

LOG_TAIL_LINES: Final = 8
"""Last lines of a child's log that are shown when it cannot be kept alive."""

Say = Callable[[str], None]


class EmbeddedServiceFailed(Exception):
    """The embedded service cannot run; the message says why and where to look."""


@dataclass(frozen=True)
class ChildSpec:
    """A program to keep alive.

    ``stop_patience_s`` is how long it may take to end after SIGTERM before it is killed.
    """

    name: str
    command: Sequence[str]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_patience_s: float = 10.0


class Child:
    """One running program under its tether."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        spec.log_file.parent.mkdir(parents=True, exist_ok=True)
        if spec.log_file.exists() and spec.log_file.stat().st_size > MAX_LOG_BYTES:
            spec.log_file.replace(spec.log_file.with_name(f"{spec.log_file.name}.1"))
        with spec.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-I", "-S", str(Path(tether.__file__)), *spec.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **spec.environment},
                # Out of the terminal's foreground group: Ctrl-C reaches the supervisor alone.
                process_group=0,
            )

    @property
    def is_running(self) -> bool:
        """Whether the program has not ended yet."""
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Exit status of the program, 128 + n after signal n; None while it runs."""
        return self._process.poll()

    def stop(self, is_urgent: Callable[[], bool]) -> bool:
        """Ask the program to end and wait; return False if it had to be killed.

        The waiting ends early when ``is_urgent`` becomes true.
        """
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.spec.stop_patience_s
        while self.is_running and time.monotonic() < deadline and not is_urgent():
            time.sleep(0.05)
        ended_by_itself = not self.is_running
        self.close()
        return ended_by_itself

    def close(self) -> None:
        """Let go of the program: the tether ends what is left of it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def log_tail(self) -> str:
        """Return the last lines that the program wrote."""
        lines = self.spec.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


class Supervisor:
    """Starts children in order, restarts the dead, stops all in the reverse order.

    Use as a context manager: whatever happens inside, the children are gone afterwards.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._children: list[Child] = []
        self._deaths: dict[str, deque[float]] = {}
        # Plain numbers rather than events: a signal handler must not take a lock.
        self._stop_requests = 0

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop_all()

    def request_stop(self) -> None:
        """Ask for an orderly end; asking again stops the waiting for running work."""
        self._stop_requests += 1

    @property
    def is_stopping(self) -> bool:
        """Whether an end was asked for."""
        return self._stop_requests > 0

    def _is_urgent(self) -> bool:
        return self._stop_requests > 1

    def start(self, spec: ChildSpec) -> None:
        """Start a program and keep it alive from now on."""
        self._children.append(Child(spec))

    def wait_until(
        self,
        is_ready: Callable[[], bool],
        *,
        timeout_s: float,
        what: str,
        child_name: str,
        why_not: Callable[[], str] = lambda: "",
    ) -> bool:
        """Wait for a condition while the children live; return False if a stop was requested.

        ``why_not`` says what is still missing when the time is over, empty where it cannot.

        Raises
        ------
        EmbeddedServiceFailed
            If a child dies meanwhile, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            for child in self._children:
                if not child.is_running:
                    raise EmbeddedServiceFailed(_obituary(child, "ended during start-up"))
            if time.monotonic() > deadline:
                tails = [child for child in self._children if child.spec.name == child_name]
                reason = why_not()
                raise EmbeddedServiceFailed(
                    f"{what} was not ready after {timeout_s:.0f} s."
                    + (f"\n{reason}" if reason else "")
                    + "".join(f"\n{_where_to_look(child)}" for child in tails)
                )
            if self.is_stopping:
                return False
            time.sleep(POLL_INTERVAL_S)
        return True

    def supervise(self) -> None:
        """Keep the children alive until a stop is requested.

        Raises
        ------
        EmbeddedServiceFailed
            If a child dies more than ``MAX_RESTARTS`` times within ``RESTART_WINDOW_S``.
        """
        while not self.is_stopping:
            time.sleep(POLL_INTERVAL_S)
            for position, child in enumerate(self._children):
                if not child.is_running:
                    self._children[position] = self._restarted(child)

    def _restarted(self, child: Child) -> Child:
        now = time.monotonic()
        deaths = self._deaths.setdefault(child.spec.name, deque())
        deaths.append(now)
        while now - deaths[0] > RESTART_WINDOW_S:
            deaths.popleft()
        if len(deaths) > MAX_RESTARTS:
            raise EmbeddedServiceFailed(
                _obituary(child, f"ended {len(deaths)} times within {RESTART_WINDOW_S:.0f} s")
            )
        self._say(
            f"The {child.spec.name} ended unexpectedly (exit status {child.exit_status}); "
            f"starting it again. Its log: {child.spec.log_file}"
        )
        child.close()
        return Child(child.spec)

    def stop_all(self) -> None:
        """Stop every child, the last one started first; return when all are gone."""
        while self._children:
            child = self._children.pop()
            if not child.stop(self._is_urgent):
                self._say(f"The {child.spec.name} did not end in time and was killed.")


def _obituary(child: Child, what_happened: str) -> str:
    return (
        f"The {child.spec.name} {what_happened} (exit status {child.exit_status}).\n"
        f"{_where_to_look(child)}"
    )


def _where_to_look(child: Child) -> str:
    return f"Last lines of {child.spec.log_file}:\n{child.log_tail()}"
