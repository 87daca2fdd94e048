"""Where a score lies among people of the same age and sex: the published percentiles.

A table of percentiles says between which two of them a score lies, and no more: the answer is a
band. A value on a percentile belongs to the band below it, as the upper bound of a risk category
does (ADR 0008). A score of 0 is band ``0``: nobody has less, however many have as little.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal

from calcium_scoring.volume.patient import Sex

PERCENTILES: Final = (25, 50, 75, 90)
"""What both tables give."""

PERCENTILE_BANDS: Final = ("0", "0-25", "25-50", "50-75", "75-90", "90-100")

HOFF_SOURCE: Final = (
    "Hoff et al., Am J Cardiol 2001;87:1335-1339, doi 10.1016/S0002-9149(01)01548-X: electron-beam "
    "CT of 35,246 asymptomatic, self-referred adults of 30 to 90 years"
)

MESA_PERCENTILE_SOURCE: Final = (
    "McClelland et al., Circulation 2006;113:30-37, doi 10.1161/CIRCULATIONAHA.105.580696, Table "
    "2: 6,110 people of 45 to 84 years without cardiovascular disease and treated diabetes"
)

AgeMethod = Literal["age_group", "published_age", "interpolated_age", "nearest_published_age"]
"""How a table was read at an age.

``age_group``: the table has a row for a range of ages. ``published_age``: it has a row for this
age. ``interpolated_age``: linearly between the rows of two ages. ``nearest_published_age``: the
row nearest to an age that the study covers but that no two rows enclose.
"""


class RaceOrEthnicity(StrEnum):
    """The groups of MESA, in its words."""

    WHITE = "white"
    CHINESE = "chinese"
    BLACK = "black"
    HISPANIC = "hispanic"


@dataclass(frozen=True)
class ReferencePercentile:
    """The band in which a score lies, and the scores of its group at :data:`PERCENTILES`."""

    band: str
    reference_group: str
    reference_scores: tuple[float, ...]
    age_method: AgeMethod


@dataclass(frozen=True)
class NotApplicable:
    """Why a published table or equation says nothing about a patient."""

    reason: str


HOFF_AGES: Final = (30, 90)
"""Years of the youngest and oldest of the study."""

_HOFF_AGE_GROUPS: Final = (
    "under 40", "40-44", "45-49", "50-54", "55-59", "60-64", "65-69", "70-74", "over 74",
)  # fmt: skip
_HOFF_GROUPS_BEGIN: Final = (40, 45, 50, 55, 60, 65, 70, 75)

HOFF_TABLE: Final[Mapping[Sex, Sequence[tuple[float, float, float, float]]]] = MappingProxyType(
    {
        Sex.MALE: (
            (0, 1, 3, 14), (0, 1, 9, 59), (0, 3, 36, 154), (1, 15, 103, 332), (4, 48, 215, 554),
            (13, 113, 410, 994), (32, 180, 566, 1299), (64, 310, 892, 1774),
            (166, 473, 1071, 1982),
        ),
        Sex.FEMALE: (
            (0, 0, 1, 3), (0, 0, 1, 4), (0, 0, 2, 22), (0, 0, 5, 55), (0, 1, 23, 121),
            (0, 3, 57, 193), (1, 24, 145, 410), (3, 52, 210, 631), (9, 75, 241, 709),
        ),
    }
)  # fmt: skip
"""Scores at the 25th, 50th, 75th and 90th percentile, by age group from the youngest."""

MESA_AGES: Final = (45, 84)
"""Years of the youngest and oldest of the study."""

MESA_PUBLISHED_AGES: Final = (50, 60, 70, 80)
"""For these ages the paper estimates percentiles: the middles of its four age groups."""

MESA_TABLE: Final[
    Mapping[tuple[RaceOrEthnicity, Sex], Sequence[tuple[float, float, float, float]]]
] = MappingProxyType(
    {
        (RaceOrEthnicity.WHITE, Sex.MALE): (
            (0, 0, 22, 110), (0, 28, 155, 452), (21, 145, 540, 1345), (103, 385, 1200, 2933),
        ),
        (RaceOrEthnicity.WHITE, Sex.FEMALE): (
            (0, 0, 0, 8), (0, 0, 16, 102), (0, 13, 119, 391), (20, 106, 370, 921),
        ),
        (RaceOrEthnicity.CHINESE, Sex.MALE): (
            (0, 0, 14, 89), (0, 5, 67, 242), (0, 34, 174, 487), (11, 81, 305, 769),
        ),
        (RaceOrEthnicity.CHINESE, Sex.FEMALE): (
            (0, 0, 0, 12), (0, 0, 18, 105), (0, 5, 70, 246), (0, 32, 146, 398),
        ),
        (RaceOrEthnicity.BLACK, Sex.MALE): (
            (0, 0, 2, 45), (0, 0, 40, 173), (0, 32, 191, 575), (23, 141, 516, 1281),
        ),
        (RaceOrEthnicity.BLACK, Sex.FEMALE): (
            (0, 0, 0, 9), (0, 0, 5, 74), (0, 0, 77, 310), (0, 47, 214, 582),
        ),
        (RaceOrEthnicity.HISPANIC, Sex.MALE): (
            (0, 0, 9, 88), (0, 3, 75, 291), (1, 56, 247, 666), (36, 153, 494, 1221),
        ),
        (RaceOrEthnicity.HISPANIC, Sex.FEMALE): (
            (0, 0, 0, 2), (0, 0, 2, 50), (0, 1, 51, 203), (0, 45, 205, 557),
        ),
    }
)  # fmt: skip
"""Scores at the 25th, 50th, 75th and 90th percentile at :data:`MESA_PUBLISHED_AGES`."""


def hoff_percentile(
    agatston_score: float, age_years: int, sex: Sex
) -> ReferencePercentile | NotApplicable:
    """Return the band of an unrounded score among people of the same age group and sex."""
    youngest, oldest = HOFF_AGES
    if not youngest <= age_years <= oldest:
        return NotApplicable(
            f"The study covers {youngest} to {oldest} years; the patient is {age_years}."
        )
    group = bisect_right(_HOFF_GROUPS_BEGIN, age_years)
    scores = HOFF_TABLE[sex][group]
    return ReferencePercentile(
        percentile_band(agatston_score, scores),
        f"{_plural(sex)}, {_HOFF_AGE_GROUPS[group]} years",
        scores,
        "age_group",
    )


def mesa_percentile(
    agatston_score: float, age_years: int, sex: Sex, race_or_ethnicity: RaceOrEthnicity
) -> ReferencePercentile | NotApplicable:
    """Return the band of an unrounded score among people of the same age, sex and group.

    The scores of an age between two published ones are interpolated linearly; below 50 and above
    80 years they are those of the nearest one. ``age_method`` says which.
    """
    youngest, oldest = MESA_AGES
    if not youngest <= age_years <= oldest:
        return NotApplicable(
            f"The study covers {youngest} to {oldest} years; the patient is {age_years}."
        )
    scores, method = _mesa_scores(age_years, MESA_TABLE[race_or_ethnicity, sex])
    return ReferencePercentile(
        percentile_band(agatston_score, scores),
        f"{race_or_ethnicity.value.capitalize()} {_plural(sex)}, {age_years} years",
        scores,
        method,
    )


def percentile_band(agatston_score: float, reference_scores: Sequence[float]) -> str:
    """Return the band between :data:`PERCENTILES` in which an unrounded score lies."""
    if agatston_score <= 0.0:
        return PERCENTILE_BANDS[0]
    return PERCENTILE_BANDS[1 + bisect_left(reference_scores, agatston_score)]


def _mesa_scores(
    age_years: int, rows: Sequence[tuple[float, ...]]
) -> tuple[tuple[float, ...], AgeMethod]:
    ages = MESA_PUBLISHED_AGES
    if age_years in ages:
        return rows[ages.index(age_years)], "published_age"
    for (younger, lower), (older, upper) in pairwise(zip(ages, rows, strict=True)):
        if younger < age_years < older:
            share = (age_years - younger) / (older - younger)
            scores = tuple(
                first + share * (second - first) for first, second in zip(lower, upper, strict=True)
            )
            return scores, "interpolated_age"
    return rows[0] if age_years < ages[0] else rows[-1], "nearest_published_age"


def _plural(sex: Sex) -> str:
    return {Sex.MALE: "men", Sex.FEMALE: "women"}[sex]
