"""The two facts about a patient that a calcium score is compared by; no identity, no dates."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Sex(StrEnum):
    """The sexes that reference groups tell apart."""

    FEMALE = "female"
    MALE = "male"


@dataclass(frozen=True)
class PatientFacts:
    """Age in completed years at the time of the study, and sex; None where it is not known.

    ``age_source`` and ``sex_source`` say where it is from, or why it is not known.
    """

    age_years: int | None = None
    sex: Sex | None = None
    age_source: str = "not given"
    sex_source: str = "not given"


UNKNOWN_PATIENT: Final = PatientFacts()
