"""A program under a tether ends with whoever started it, and takes its own children along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.cli.embedded import tether

TETHER = [sys.executable, "-I", "-S", str(Path(tether.__file__))]

# Writes its own process id and that of a child that ignores SIGTERM, then sleeps.
FAMILY = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
open(sys.argv[1] + ".part", "w").write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(60)
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def start_family(started: list[subprocess.Popen[bytes]], note: Path) -> tuple[int, int]:
    started.append(
        subprocess.Popen([*TETHER, sys.executable, "-c", FAMILY, str(note)], stdin=subprocess.PIPE)
    )
    parent, child = wait_for(note).split()
    return int(parent), int(child)


def wait_for(note: Path) -> str:
    deadline = time.monotonic() + 20
    while not note.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return note.read_text()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_gone(*pids: int) -> None:
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still alive: {[p for p in pids if is_alive(p)]}"
        time.sleep(0.02)


def test_exit_status_of_the_program_is_that_of_the_tether(
    started: list[subprocess.Popen[bytes]],
) -> None:
    started.append(
        subprocess.Popen(
            [*TETHER, sys.executable, "-c", "raise SystemExit(7)"], stdin=subprocess.PIPE
        )
    )

    assert started[0].wait(10) == 7


def test_program_that_is_killed_by_a_signal_gives_128_and_its_number(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    program, child = start_family(started, tmp_path / "pids")

    os.kill(program, signal.SIGKILL)

    assert started[0].wait(10) == 128 + signal.SIGKILL
    assert_gone(program, child)


def test_sigterm_is_handed_on_and_takes_the_grandchild_too(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    program, child = start_family(started, tmp_path / "pids")

    started[0].terminate()

    assert started[0].wait(10) == 128 + signal.SIGTERM
    assert_gone(program, child)


def test_whole_family_goes_when_the_starter_is_killed(tmp_path: Path) -> None:
    starter_code = (
        "import subprocess, sys, time; "
        "p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); time.sleep(60)"
    )
    note = tmp_path / "pids"
    starter = subprocess.Popen(
        [sys.executable, "-c", starter_code, *TETHER, sys.executable, "-c", FAMILY, str(note)]
    )
    program, child = map(int, wait_for(note).split())

    starter.kill()
    starter.wait()

    assert_gone(program, child)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is of Linux")
def test_program_goes_when_the_tether_itself_is_killed(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    program, child = start_family(started, tmp_path / "pids")

    started[0].kill()

    assert_gone(program)
    os.kill(child, signal.SIGKILL)
