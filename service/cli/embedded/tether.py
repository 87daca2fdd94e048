"""Run a program that cannot outlive whoever started it; the standard library only.

Usage: ``python -I -S tether.py PROGRAM ARGUMENT ...``, with a pipe as standard input.

The supervisor holds the other end of the pipe and never writes to it. When the supervisor ends, in
whatever way (also by ``kill -9``), the kernel closes its end, the tether reads end-of-file and ends
the program. A pipe is used rather than ``PR_SET_PDEATHSIG`` alone because it works on macOS too and
because a Celery worker has children of its own, which that signal does not reach: the program
runs in a process group of its own, and the whole group goes.

- Supervisor gone: SIGTERM to the program, ``GRACE_S`` later SIGKILL to its group.
- Program gone: SIGKILL to what is left of its group; the tether exits with the program's status.
- Tether gone: on Linux the program asked to be killed with it (``PR_SET_PDEATHSIG``).
- SIGTERM, SIGINT and SIGQUIT to the tether are handed to the program, and to it alone.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

GRACE_S = 3.0
"""How long an abandoned program may take to end by itself. Our choice."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def main(command: list[str]) -> int:
    """Run the command until it ends or standard input does; return its exit status."""
    tether = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare_program() -> None:
        _unblock_signals()
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != tether:
                os._exit(1)

    # Signals that arrive before the program runs wait, so that none is lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
    # The tether has one thread, so running code between fork and exec is safe here.
    program = subprocess.Popen(  # noqa: S603 - the supervisor names the program
        command,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=prepare_program,  # noqa: PLW1509
    )
    wakeup_reader, wakeup_writer = os.pipe()
    os.set_blocking(wakeup_writer, False)
    signal.set_wakeup_fd(wakeup_writer)
    for number in _FORWARDED:
        signal.signal(number, lambda received, _frame: program.send_signal(received))
    signal.signal(signal.SIGCHLD, lambda _received, _frame: None)
    _unblock_signals()

    watched = [sys.stdin.fileno(), wakeup_reader]
    while program.poll() is None:
        ready, _, _ = select.select(watched, [], [])
        if wakeup_reader in ready:
            os.read(wakeup_reader, 4096)
        if sys.stdin.fileno() in ready and not os.read(sys.stdin.fileno(), 4096):
            _end(program)
    _kill_group(program.pid)
    return program.returncode if program.returncode >= 0 else 128 - program.returncode


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_FORWARDED, signal.SIGCHLD})


def _end(program: subprocess.Popen[bytes]) -> None:
    program.terminate()
    deadline = time.monotonic() + GRACE_S
    while program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    _kill_group(program.pid)
    program.wait()


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Nobody is left; macOS says "not permitted" for a group of zombies.
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
