"""Children are restarted when they die, given up when they keep dying, and stopped in order."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.cli.embedded.supervisor import (
    MAX_RESTARTS,
    Child,
    ChildSpec,
    EmbeddedServiceFailed,
    Supervisor,
)

SLEEPS = "import time; time.sleep(60)"
DIES = "print('no room left'); raise SystemExit(5)"
# Appends its name when asked to end.
SAYS_GOODBYE = (
    "import signal, sys, time\n"
    "def end(*_): open(sys.argv[2], 'a').write(sys.argv[1] + ' '); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end)\n"
    "open(sys.argv[2] + '.' + sys.argv[1], 'w').close()\n"
    "time.sleep(60)"
)
IGNORES_SIGTERM = (
    "import pathlib, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "pathlib.Path(sys.argv[1]).touch()\n"
    "time.sleep(60)"
)


def spec_of(tmp_path: Path, code: str, *arguments: str, name: str = "worker") -> ChildSpec:
    return ChildSpec(name, [sys.executable, "-c", code, *arguments], tmp_path / f"{name}.log")


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_children_stop_in_the_reverse_order_of_their_start(tmp_path: Path) -> None:
    note = tmp_path / "goodbyes"
    with Supervisor(print) as supervisor:
        for name in ("broker", "worker", "gateway"):
            supervisor.start(spec_of(tmp_path, SAYS_GOODBYE, name, str(note), name=name))
        eventually(lambda: len(list(tmp_path.glob("goodbyes.*"))) == 3)

    assert note.read_text().split() == ["gateway", "worker", "broker"]


def test_dead_child_is_started_again_with_a_word(tmp_path: Path) -> None:
    said: list[str] = []
    flag = tmp_path / "second time"
    code = (
        "import pathlib, sys, time\n"
        "flag = pathlib.Path(sys.argv[1])\n"
        "if not flag.exists():\n flag.touch()\n raise SystemExit(9)\n"
        "(flag.parent / 'up again').touch()\n"
        "time.sleep(60)"
    )
    with Supervisor(said.append) as supervisor:
        supervisor.start(spec_of(tmp_path, code, str(flag)))

        def end_once_it_is_up_again() -> None:
            eventually((tmp_path / "up again").exists)
            supervisor.request_stop()

        ending = threading.Thread(target=end_once_it_is_up_again)
        ending.start()
        supervisor.supervise()
        ending.join()

    assert len(said) == 1
    assert "The worker ended unexpectedly (exit status 9)" in said[0]


def test_child_that_keeps_dying_ends_everything_and_its_last_words_are_shown(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    with Supervisor(said.append) as supervisor:
        supervisor.start(spec_of(tmp_path, SLEEPS, name="broker"))
        supervisor.start(spec_of(tmp_path, DIES))
        with pytest.raises(EmbeddedServiceFailed, match="no room left"):
            supervisor.supervise()

    assert len(said) == MAX_RESTARTS


def test_death_during_start_up_is_reported_with_the_log(tmp_path: Path) -> None:
    with Supervisor(print) as supervisor:
        supervisor.start(spec_of(tmp_path, DIES))
        with pytest.raises(
            EmbeddedServiceFailed, match=r"worker ended during start-up \(exit status 5\)"
        ):
            supervisor.wait_until(lambda: False, timeout_s=20, what="it", child_name="worker")


def test_part_that_never_gets_ready_is_reported(tmp_path: Path) -> None:
    with Supervisor(print) as supervisor:
        supervisor.start(spec_of(tmp_path, SLEEPS))
        with pytest.raises(EmbeddedServiceFailed, match="The worker was not ready after 0 s"):
            supervisor.wait_until(
                lambda: False, timeout_s=0.3, what="The worker", child_name="worker"
            )


def test_part_that_never_gets_ready_says_what_is_missing(tmp_path: Path) -> None:
    with Supervisor(print) as supervisor:
        supervisor.start(spec_of(tmp_path, SLEEPS))
        with pytest.raises(EmbeddedServiceFailed, match="broker: The broker does not answer"):
            supervisor.wait_until(
                lambda: False,
                timeout_s=0.3,
                what="The gateway",
                child_name="worker",
                why_not=lambda: "broker: The broker does not answer.",
            )


def test_child_that_ignores_sigterm_is_killed_after_its_patience(tmp_path: Path) -> None:
    deaf = ChildSpec(
        "worker",
        [sys.executable, "-c", IGNORES_SIGTERM, str(tmp_path / "deaf")],
        tmp_path / "worker.log",
        stop_patience_s=0.2,
    )
    child = Child(deaf)
    eventually((tmp_path / "deaf").exists)

    assert child.stop(lambda: False) is False
    assert not child.is_running


def test_second_request_to_stop_ends_the_patience(tmp_path: Path) -> None:
    patient = ChildSpec(
        "worker",
        [sys.executable, "-c", IGNORES_SIGTERM, str(tmp_path / "deaf")],
        tmp_path / "worker.log",
        stop_patience_s=600.0,
    )
    begun = time.monotonic()
    with Supervisor(print) as supervisor:
        supervisor.start(patient)
        eventually((tmp_path / "deaf").exists)
        supervisor.request_stop()
        supervisor.request_stop()

    assert time.monotonic() - begun < 60
