"""What came of the checks of `cacscore doctor`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from calcium_scoring.errors import CacscoreError
from service.cli.outcome import CommandFailed, Refused, UsageMistake


@dataclass(frozen=True)
class Finding:
    """What came of one check: ``detail`` says what was found, or what is wrong.

    One that could not be made (``is_checked`` false) is not wrong, and proves nothing.
    """

    name: str
    is_ok: bool
    detail: str
    is_checked: bool = True


class NotChecked(Exception):
    """A check cannot be made; the message says why and what would make it possible."""


def finding_of(name: str, check: Callable[[], str]) -> Finding:
    """Make a check and return what came of it."""
    try:
        return Finding(name, is_ok=True, detail=check())
    except NotChecked as reason:
        return Finding(name, is_ok=True, detail=str(reason), is_checked=False)
    except CacscoreError as error:
        return Finding(name, is_ok=False, detail=f"{error.title}. {error.message}")
    except Refused as refused:
        return Finding(name, is_ok=False, detail=refused.problem.detail)
    except (CommandFailed, UsageMistake) as failure:
        return Finding(name, is_ok=False, detail=str(failure))
