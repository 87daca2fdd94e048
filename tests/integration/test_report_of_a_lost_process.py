"""A program is run beside a process that forks: its end is seen, and it is no zombie."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from service.worker.lost_process import run_beside_forks

FORKS = 300


def test_program_that_is_run_while_others_are_forked_is_seen_to_end() -> None:
    """Forked children live on here, as scoring processes do; none may hold the program's end."""
    ends: list[int] = []

    def run_programs() -> None:
        for number in range(FORKS):
            run_beside_forks(["/bin/true"], timeout_s=60.0)
            ends.append(number)

    runner = threading.Thread(target=run_programs, daemon=True)
    let_go, keep = os.pipe()
    children: list[int] = []
    try:
        runner.start()
        while runner.is_alive() and len(children) < FORKS:
            child = os.fork()
            if child == 0:  # lives until the test is over
                os.close(keep)
                os.read(let_go, 1)
                os._exit(0)
            children.append(child)
        runner.join(timeout=30.0)
        assert len(ends) == FORKS
        assert children
    finally:
        os.close(keep)
        os.close(let_go)
        for child in children:
            os.waitpid(child, 0)


def test_program_that_fails_or_takes_too_long_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run_beside_forks(["/bin/false"], timeout_s=60.0)
    with pytest.raises(subprocess.TimeoutExpired):
        run_beside_forks([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.2)
