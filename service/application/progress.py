"""How far a study has come, as one number from 0 to 1 over all stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from service.application.jobs import Stage

_STAGE_SHARES: Final = (
    (Stage.READING, 0.15),
    (Stage.SEGMENTING, 0.70),
    (Stage.MEASURING, 0.02),
    (Stage.WRITING, 0.13),
)
"""Share of the whole time that a stage takes on a CPU, roughly; our choice."""


Fraction: TypeAlias = Callable[[float], None]
"""Hears which share of one stage, 0 to 1, is done; may raise to stop the work."""


class StageProgress(Protocol):
    """Hears which stage has come how far; may raise to stop the work."""

    def __call__(self, stage: Stage, fraction: float) -> None:
        """``fraction`` of the stage, 0 to 1, is done."""
        ...


def no_progress(stage: Stage, fraction: float) -> None:
    """Hear and do nothing."""


def overall_progress(stage: Stage, fraction: float) -> float:
    """Return the progress over all stages when ``fraction`` of this stage is done."""
    done = 0.0
    for other, share in _STAGE_SHARES:
        if other is stage:
            return done + share * min(max(fraction, 0.0), 1.0)
        done += share
    return 1.0 if stage is Stage.FINISHED else 0.0
