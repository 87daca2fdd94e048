"""Published percentiles of the Agatston score, and how a score is placed among them."""

from __future__ import annotations

import pytest

from calcium_scoring.scoring.percentiles import (
    HOFF_TABLE,
    MESA_TABLE,
    NotApplicable,
    RaceOrEthnicity,
    ReferencePercentile,
    hoff_percentile,
    mesa_percentile,
    percentile_band,
)
from calcium_scoring.volume.patient import Sex

HOFF_MEN = (
    "<40 0/1/3/14, 40-44 0/1/9/59, 45-49 0/3/36/154, 50-54 1/15/103/332, 55-59 4/48/215/554, "
    "60-64 13/113/410/994, 65-69 32/180/566/1299, 70-74 64/310/892/1774, >74 166/473/1071/1982"
)
HOFF_WOMEN = (
    "<40 0/0/1/3, 40-44 0/0/1/4, 45-49 0/0/2/22, 50-54 0/0/5/55, 55-59 0/1/23/121, "
    "60-64 0/3/57/193, 65-69 1/24/145/410, 70-74 3/52/210/631, >74 9/75/241/709"
)
"""The published rows as they are quoted, youngest group first."""


def hoff(score: float, age_years: int, sex: Sex) -> ReferencePercentile:
    found = hoff_percentile(score, age_years, sex)
    assert isinstance(found, ReferencePercentile)
    return found


def mesa(score: float, age_years: int, sex: Sex, group: RaceOrEthnicity) -> ReferencePercentile:
    found = mesa_percentile(score, age_years, sex, group)
    assert isinstance(found, ReferencePercentile)
    return found


@pytest.mark.parametrize(("sex", "quoted"), [(Sex.MALE, HOFF_MEN), (Sex.FEMALE, HOFF_WOMEN)])
def test_every_row_of_hoff_is_reached_by_the_ages_it_names(sex: Sex, quoted: str) -> None:
    rows = [row.split() for row in quoted.split(", ")]
    assert len(rows) == len(HOFF_TABLE[sex]) == 9
    for group, values in rows:
        if group.startswith("<"):
            ages = [30, int(group[1:]) - 1]
        elif group.startswith(">"):
            ages = [int(group[1:]) + 1, 90]
        else:
            ages = [int(age) for age in group.split("-")]
        for age_years in ages:
            scores = hoff(1.0, age_years, sex).reference_scores
            assert scores == tuple(float(value) for value in values.split("/")), (sex, age_years)


@pytest.mark.parametrize("age_years", [29, 91])
def test_hoff_says_nothing_beyond_the_ages_of_its_study(age_years: int) -> None:
    found = hoff_percentile(10.0, age_years, Sex.MALE)

    assert isinstance(found, NotApplicable)
    assert "30 to 90" in found.reason


@pytest.mark.parametrize(
    ("score", "band"),
    [(0.0, "0"), (0.5, "0-25"), (13.0, "0-25"), (13.1, "25-50"), (113.0, "25-50"),
     (250.0, "50-75"), (410.0, "50-75"), (410.5, "75-90"), (994.0, "75-90"), (995.0, "90-100")],
)  # fmt: skip
def test_a_score_on_a_percentile_belongs_to_the_band_below_it(score: float, band: str) -> None:
    assert percentile_band(score, (13.0, 113.0, 410.0, 994.0)) == band


def test_any_calcium_of_a_young_woman_is_above_the_median_of_zero() -> None:
    # women of 50 to 54: 0/0/5/55
    assert hoff(0.0, 52, Sex.FEMALE).band == "0"
    assert hoff(0.3, 52, Sex.FEMALE).band == "50-75"
    assert hoff(5.5, 52, Sex.FEMALE).band == "75-90"
    assert hoff(56.0, 52, Sex.FEMALE).band == "90-100"


def test_mesa_table_has_its_published_scores() -> None:
    # McClelland 2006, Table 2, at 50, 60, 70 and 80 years
    assert {key: list(rows) for key, rows in MESA_TABLE.items()} == {
        (RaceOrEthnicity.WHITE, Sex.MALE): [
            (0, 0, 22, 110), (0, 28, 155, 452), (21, 145, 540, 1345), (103, 385, 1200, 2933)],
        (RaceOrEthnicity.WHITE, Sex.FEMALE): [
            (0, 0, 0, 8), (0, 0, 16, 102), (0, 13, 119, 391), (20, 106, 370, 921)],
        (RaceOrEthnicity.CHINESE, Sex.MALE): [
            (0, 0, 14, 89), (0, 5, 67, 242), (0, 34, 174, 487), (11, 81, 305, 769)],
        (RaceOrEthnicity.CHINESE, Sex.FEMALE): [
            (0, 0, 0, 12), (0, 0, 18, 105), (0, 5, 70, 246), (0, 32, 146, 398)],
        (RaceOrEthnicity.BLACK, Sex.MALE): [
            (0, 0, 2, 45), (0, 0, 40, 173), (0, 32, 191, 575), (23, 141, 516, 1281)],
        (RaceOrEthnicity.BLACK, Sex.FEMALE): [
            (0, 0, 0, 9), (0, 0, 5, 74), (0, 0, 77, 310), (0, 47, 214, 582)],
        (RaceOrEthnicity.HISPANIC, Sex.MALE): [
            (0, 0, 9, 88), (0, 3, 75, 291), (1, 56, 247, 666), (36, 153, 494, 1221)],
        (RaceOrEthnicity.HISPANIC, Sex.FEMALE): [
            (0, 0, 0, 2), (0, 0, 2, 50), (0, 1, 51, 203), (0, 45, 205, 557)],
    }  # fmt: skip


def test_mesa_scores_of_an_age_between_two_published_ones_are_interpolated_and_say_so() -> None:
    at_published = mesa(45.0, 60, Sex.MALE, RaceOrEthnicity.WHITE)
    between = mesa(45.0, 65, Sex.MALE, RaceOrEthnicity.WHITE)

    assert at_published.age_method == "published_age"
    assert at_published.reference_scores == pytest.approx((0, 28, 155, 452))
    assert at_published.band == "50-75"
    assert between.age_method == "interpolated_age"
    # half way from 60 to 70 years
    assert between.reference_scores == pytest.approx((10.5, 86.5, 347.5, 898.5))
    assert between.band == "25-50"


@pytest.mark.parametrize(("age_years", "nearest"), [(45, 50), (49, 50), (81, 80), (84, 80)])
def test_mesa_scores_beyond_the_published_ages_are_those_of_the_nearest_and_say_so(
    age_years: int, nearest: int
) -> None:
    found = mesa(45.0, age_years, Sex.FEMALE, RaceOrEthnicity.BLACK)

    assert found.age_method == "nearest_published_age"
    expected = mesa(45.0, nearest, Sex.FEMALE, RaceOrEthnicity.BLACK)
    assert found.reference_scores == expected.reference_scores


@pytest.mark.parametrize("age_years", [44, 85])
def test_mesa_says_nothing_beyond_the_ages_of_its_study(age_years: int) -> None:
    found = mesa_percentile(10.0, age_years, Sex.MALE, RaceOrEthnicity.CHINESE)

    assert isinstance(found, NotApplicable)
    assert "45 to 84" in found.reason
