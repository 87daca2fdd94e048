"""What an importer hands over: a volume with its reference, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from calcium_scoring.errors import CacscoreError, Evidence, SeriesWarning
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import Artery, LabelMap


@dataclass(frozen=True)
class ImportProblem:
    """Something about a case that whoever uses it should know.

    ``is_reference_incomplete`` says that calcium which somebody marked is missing from the
    reference, so that training on it would teach to overlook calcium.
    """

    code: str
    message: str
    evidence: Evidence = field(default_factory=dict)
    is_reference_incomplete: bool = False

    @classmethod
    def of_warning(cls, warning: SeriesWarning) -> ImportProblem:
        """Return what reading the series warned of."""
        return cls(warning.code, warning.message, warning.evidence)

    @classmethod
    def of_error(cls, error: CacscoreError) -> ImportProblem:
        """Return why a series or mask was refused."""
        return cls(error.code, error.message, error.evidence)


@dataclass(frozen=True)
class ReferenceScores:
    """Agatston scores that came without a mask; None for an artery that was not scored."""

    agatston_score: float
    arteries: Mapping[Artery, float | None]


Reference: TypeAlias = LabelMap | ReferenceScores


@dataclass(frozen=True, eq=False)
class ImportedCase:
    """One annotated scan.

    Parameters
    ----------
    case_id
        Unique within the data set.
    patient
        Key of the split: all scans of a patient belong to the same one.
    source
        Folder or file of the images.
    volume
        The scan, as serving would read it.
    reference
        Labels on the grid of the volume, or scores only.
    problems
        What was found on the way; also the warnings of reading the series.
    """

    case_id: str
    patient: str
    source: Path
    volume: CtVolume
    reference: Reference
    problems: tuple[ImportProblem, ...] = ()

    @property
    def is_reference_complete(self) -> bool:
        """Whether all calcium that was marked is in the reference."""
        return not any(problem.is_reference_incomplete for problem in self.problems)


@dataclass(frozen=True)
class RefusedCase:
    """A scan or an annotation that cannot be used, and why."""

    case_id: str
    patient: str
    source: Path
    problems: tuple[ImportProblem, ...]
