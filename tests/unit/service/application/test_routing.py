"""Rules are read from top to bottom, and the first that fits decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calcium_scoring.dicom.series_facts import FACT_NAMES
from service.application.jobs import JobRequest, Priority
from service.application.routing import (
    ARRIVAL_FACTS,
    FLAG_FACTS,
    NUMBER_FACTS,
    TEXT_FACTS,
    Action,
    Decision,
    Facts,
    FlagCondition,
    NumberCondition,
    Rule,
    Rules,
    Submission,
    TextCondition,
    plan_submissions,
)

CALCIUM_SCAN: Facts = {
    "modality": ("CT",),
    "series_description": ("CaSc 3.0 Qr36 [native]",),
    "convolution_kernel": ("Qr36d", "3"),
    "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
    "slice_thickness_mm": 3.0,
    "kvp": 120.0,
    "slice_count": 56.0,
    "is_contrast_enhanced": None,
    "is_ecg_gated": True,
    "calling_ae_title": ("CT1",),
}


def test_every_fact_of_a_rule_is_known_of_a_series_or_of_its_arrival() -> None:
    assert {*TEXT_FACTS, *NUMBER_FACTS, *FLAG_FACTS} == {*FACT_NAMES, *ARRIVAL_FACTS}


@pytest.mark.parametrize(
    ("fact", "pattern", "holds"),
    [
        ("modality", "ct", True),
        ("modality", "C", False),
        ("series_description", "*casc*", True),
        ("series_description", "casc", False),
        ("series_description", "*[native]", True),
        ("series_description", "*[a-z]", False),
        ("convolution_kernel", "Qr3?d", True),
        ("convolution_kernel", "3", True),
        ("image_type", "LOCALIZER", False),
        ("body_part_examined", "*", False),
    ],
)
def test_pattern_is_compared_with_each_whole_value(fact: str, pattern: str, holds: bool) -> None:
    assert TextCondition(fact, (pattern,)).holds(CALCIUM_SCAN) is holds


def test_any_of_several_patterns_will_do() -> None:
    assert TextCondition("modality", ("MR", "CT")).holds(CALCIUM_SCAN)


@pytest.mark.parametrize(
    ("at_least", "at_most", "holds"),
    [
        (3.0, 3.0, True),
        (2.5, None, True),
        (None, 2.999, False),
        (3.001, None, False),
        (2.5, 3.0, True),
    ],
)
def test_bounds_of_a_range_belong_to_it(
    at_least: float | None, at_most: float | None, holds: bool
) -> None:
    condition = NumberCondition("slice_thickness_mm", at_least, at_most)
    assert condition.holds(CALCIUM_SCAN) is holds
    assert not condition.holds({})


@pytest.mark.parametrize(("stated", "fits_yes"), [(True, True), (False, False), (None, False)])
def test_flag_that_is_not_stated_counts_as_no(stated: bool | None, fits_yes: bool) -> None:
    facts: Facts = {"is_contrast_enhanced": stated}
    assert FlagCondition("is_contrast_enhanced", value=True).holds(facts) is fits_yes
    assert FlagCondition("is_contrast_enhanced", value=False).holds(facts) is not fits_yes


def test_first_rule_that_fits_decides_and_those_above_say_why_not() -> None:
    rules = Rules(
        (
            Rule("thin", Action.IGNORE, (NumberCondition("slice_thickness_mm", None, 1.0),)),
            Rule("no CT1", Action.SCORE, unless=(TextCondition("calling_ae_title", ("CT1",)),)),
            Rule("CT", Action.SCORE, (TextCondition("modality", ("CT",)),)),
            Rule("rest", Action.IGNORE),
        )
    )

    decision = rules.decide(CALCIUM_SCAN)

    assert decision.rule is rules.rules[2]
    assert decision.is_scored
    assert decision.reason == "modality is CT"
    assert decision.passed_over == (
        ("thin", "slice_thickness_mm is 3, not at most 1"),
        ("no CT1", "calling_ae_title is CT1, which it excludes"),
    )


def test_series_that_no_rule_fits_is_ignored() -> None:
    decision = Rules((Rule("MR", Action.SCORE, (TextCondition("modality", ("MR",)),)),)).decide(
        CALCIUM_SCAN
    )
    assert (decision.rule, decision.is_scored, decision.reason) == (None, False, "no rule fits")


NAMES = st.text("abAB*?[]. 0", max_size=8)


@given(NAMES)
def test_text_without_wildcards_fits_itself_in_any_case(value: str) -> None:
    plain = value.replace("*", "").replace("?", "")
    condition = TextCondition("modality", (plain,))
    assert condition.holds({"modality": (plain.swapcase(),)})
    assert not condition.holds({"modality": (plain + "x",)})


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.booleans())
def test_rules_below_the_one_that_decides_change_nothing(fits: list[bool], last: bool) -> None:
    def rule(index: int, does_fit: bool) -> Rule:
        return Rule(
            f"rule {index}",
            Action.SCORE,
            (TextCondition("modality", ("CT" if does_fit else "MR",)),),
        )

    first = tuple(rule(index, does) for index, does in enumerate(fits))
    longer = (*first, rule(len(fits), last))
    if any(fits):
        assert Rules(longer).decide(CALCIUM_SCAN) == Rules(first).decide(CALCIUM_SCAN)


def test_series_of_one_tenant_and_destination_are_one_study_as_urgent_as_the_most_urgent() -> None:
    routine = Decision(Rule("a", Action.SCORE), "-")
    stat = Decision(Rule("b", Action.SCORE, priority=Priority.STAT), "-")
    ward = Decision(Rule("c", Action.SCORE, tenant="ward", destinations=("pacs",)), "-")
    ignored = Decision(Rule("d", Action.IGNORE), "-")
    a, b, c, d = (Path(name) for name in "abcd")

    assert plan_submissions(
        [((a,), routine), ((b,), stat), ((c,), ward), ((d,), ignored), ((d,), Decision(None, "-"))],
        default_tenant="default",
    ) == [
        Submission((a, b), "default", JobRequest(Priority.STAT)),
        Submission((c,), "ward", JobRequest(Priority.ROUTINE, destinations=("pacs",))),
    ]
