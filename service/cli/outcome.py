"""How a command ends: exit codes, and the words for a refusal, a failure and a crash.

| status | meaning |
|---|---|
| 0 | done |
| 1 | a failure: something is away (server, model, disk), or cacscore itself crashed |
| 2 | usage: the command line cannot be carried out as written |
| 3 | a refusal: the upload, series, mask or model cannot be used, for the reason that is given |
| 4 | different: `verify` found that the report does not follow from mask and series |
| 130 | interrupted |

A refusal is a result: under ``--json`` it is printed to stdout as a problem object (RFC 9457) with
a stable ``code``. A failure or crash prints nothing to stdout and never exits with 3.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final

from rich.panel import Panel
from rich.text import Text

from calcium_scoring.errors import (
    CacscoreError,
    MaskRejected,
    ModelRejected,
    SeriesRejected,
    UploadRejected,
)
from service.application.errors import (
    GIVEN_UP_CODES,
    ReportRejected,
    RiskAgeOutOfRange,
    RiskInputsMissing,
    RulesRejected,
    StudyFailed,
)
from service.application.problem import Problem
from service.application.report_terms import INTENDED_USE
from service.cli.console import print_json, say, stderr

EXIT_CODES_HELP: Final = (
    "Exit codes: 0 done, 1 failure or crash, 2 usage, 3 refusal (the reason and a stable code are "
    "printed; with --json as a problem object on stdout), 4 different (verify only)."
)


class ExitCode(IntEnum):
    """Exit status of the command."""

    DONE = 0
    FAILURE = 1
    USAGE = 2
    REFUSAL = 3
    DIFFERENT = 4
    INTERRUPTED = 130


class Refused(Exception):
    """A refusal that reached us as a document, for instance from a server."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class FoundDifferent(Exception):
    """A comparison ended with a difference, and it has been printed."""


class CommandFailed(Exception):
    """Something outside the series is in the way; the message says what and what would help."""


class UsageMistake(Exception):
    """The command line cannot be carried out as written; the message says what would be."""


REFUSALS: Final = (
    UploadRejected,
    SeriesRejected,
    MaskRejected,
    ModelRejected,
    ReportRejected,
    RiskInputsMissing,
    RiskAgeOutOfRange,
    RulesRejected,
)
"""Kinds of CacscoreError that are a finding about what was given to us."""


def failed_study(problem: Problem) -> Refused | CommandFailed:
    """Return what a failed study is: a refusal, or a failure of the service that gave it up."""
    if problem.code in GIVEN_UP_CODES:
        return CommandFailed(f"{problem.title}. {problem.detail} (code: {problem.code})")
    return Refused(problem)


def run_guarded(command: Callable[[], None], *, wants_json: bool) -> ExitCode:
    """Run a command and return its exit status; whatever it raises becomes words here."""
    status = ExitCode.FAILURE
    try:
        _run_unwrapped(command)
        status = ExitCode.DONE
    except Refused as refusal:
        _print_refusal(refusal.problem, wants_json=wants_json)
        status = ExitCode.REFUSAL
    except REFUSALS as refusal:
        _print_refusal(Problem.of(refusal), wants_json=wants_json)
        status = ExitCode.REFUSAL
    except FoundDifferent:
        status = ExitCode.DIFFERENT
    except UsageMistake as mistake:
        say(f"Error: {mistake}")
        status = ExitCode.USAGE
    except CommandFailed as failure:
        say(f"Error: {failure}")
    except CacscoreError as failure:
        say(f"Error: {failure.title}. {failure.message}")
    except KeyboardInterrupt:
        say("Interrupted.")
        status = ExitCode.INTERRUPTED
    except Exception:  # noqa: BLE001 - the last resort of a program
        # Without local variables: they could hold patient attributes.
        say(traceback.format_exc().rstrip())
        say("cacscore crashed. This is a fault of the program, not a finding about the series.")
    return status


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk has against writing ``path`` into a sentence."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise CommandFailed(
            f"{path} cannot be written: {error.strerror or type(error).__name__} ({where})."
        ) from error


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a missing optional package into a sentence that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("calcium_scoring", "service"):
            raise
        raise CommandFailed(
            f"This command needs the package {error.name}, which is not installed. "
            f"Install it with: pip install 'cacscore[{extra}]'"
        ) from error


def _run_unwrapped(command: Callable[[], None]) -> None:
    try:
        command()
    except StudyFailed as failed:
        raise failed_study(failed.problem) from failed


def _print_refusal(problem: Problem, *, wants_json: bool) -> None:
    if wants_json:
        print_json({**problem.to_document(), "intended_use": INTENDED_USE})
        return
    stderr.print(
        Panel(
            Text(f"{problem.detail}\n\ncode: {problem.code}"),
            title=Text(f"Refused: {problem.title}"),
            title_align="left",
            border_style="yellow",
        )
    )
    say(INTENDED_USE)
