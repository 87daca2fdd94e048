"""A file of rules is read as it is meant, or every mistake in it is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from calcium_scoring.dicom.series_facts import series_facts
from service.adapters.rules.yaml_rules import DEFAULT_RULES_FILE, load_rules, parse_rules
from service.application.errors import RulesRejected
from service.application.jobs import Priority
from service.application.routing import (
    Action,
    FlagCondition,
    NumberCondition,
    Rule,
    TextCondition,
)
from tests.series_builders import set_attributes, write_series

GOOD = """\
version: 1
rules:
  - name: calcium scans of two scanners
    when:
      calling_ae_title: [CT1, CT2]
      series_description: "*casc*"
      slice_thickness_mm: {at_least: 2.5, at_most: 3}
      kvp: 120
      is_contrast_enhanced: false
    unless:
      convolution_kernel: ["Br6*"]
    action: score
    priority: stat
    tenant: cardiology
    destinations: [pacs, research]
  - name: rest
    action: ignore
"""


def test_file_is_read_as_it_is_meant() -> None:
    assert parse_rules(GOOD, "rules.yaml").rules == (
        Rule(
            name="calcium scans of two scanners",
            action=Action.SCORE,
            when=(
                TextCondition("series_description", ("*casc*",)),
                TextCondition("calling_ae_title", ("CT1", "CT2")),
                NumberCondition("slice_thickness_mm", 2.5, 3.0),
                NumberCondition("kvp", 120.0, 120.0),
                FlagCondition("is_contrast_enhanced", value=False),
            ),
            unless=(TextCondition("convolution_kernel", ("Br6*",)),),
            priority=Priority.STAT,
            tenant="cardiology",
            destinations=("pacs", "research"),
        ),
        Rule(name="rest", action=Action.IGNORE),
    )


MISTAKES = [
    ("action: score", "action: scores", 12, "must be 'score' or 'ignore', not 'scores'"),
    ("kvp: 120", "kvp: high", 8, "kvp must be a number or a range, not 'high'"),
    ("kvp: 120", "kvp: {at_least: high}", 8, "must be a number, not 'high'"),
    ("kvp: 120", "kvp: {at_least: 130, at_most: 120}", 8, "nothing is at least 130 and at most"),
    ("kvp: 120", "kvp: {}", 8, "a range needs at_least, at_most, or both"),
    ("kvp: 120", "kpv: 120", 8, "is not known; conditions are modality"),
    ("kvp: 120", "kvp:", 4, "kvp has no value"),
    ("[CT1, CT2]", "[1, CT2]", 5, "must be text; put 1 in quotes"),
    ("[CT1, CT2]", "[]", 5, "at least 1 item"),
    ("false", "maybe", 9, "must be true or false, not 'maybe'"),
    ("tenant: cardiology", "tenant: Cardio logy", 14, "must be lower case letters"),
    (
        "action: ignore",
        "action: ignore\n    priority: stat",
        16,
        "says nothing of a series that is",
    ),
    ("name: rest", "name: calcium scans of two scanners", 16, "two rules are named"),
    ("name: rest", "title: rest", 16, "name is missing"),
    ("version: 1", "version: 2", 1, "must be 1, not 2"),
    ("version: 1", "rules: []", 2, "'rules' is there twice"),
    ("kvp: 120", "kvp: 120\n      kvp: 100", 9, "'kvp' is there twice"),
    ("[pacs, research]", "[pacs, research", 16, "expected ',' or ']'"),
    ("kvp: 120", "kvp: &high 120\n      slice_count: *high", 9, None),
    ("    priority: stat", "\tpriority: stat", 13, "found character"),
]


@pytest.mark.parametrize(("right", "wrong", "line", "words"), MISTAKES)
def test_mistake_is_named_with_its_line(
    right: str, wrong: str, line: int, words: str | None
) -> None:
    assert GOOD.count(right) == 1
    text = GOOD.replace(right, wrong)
    if words is None:  # an anchor of a number hides nothing and is let through
        assert parse_rules(text, "rules.yaml").rules
        return

    with pytest.raises(RulesRejected) as caught:
        parse_rules(text, "rules.yaml")

    assert caught.value.complaints[0][0] == line
    assert f"rules.yaml, line {line}: " in caught.value.message
    assert words in caught.value.message


def test_all_mistakes_are_named_at_once() -> None:
    text = GOOD.replace("kvp: 120", "kpv: 120").replace("action: ignore", "action: keep")

    with pytest.raises(RulesRejected) as caught:
        parse_rules(text, "rules.yaml")

    assert [at for at, _ in caught.value.complaints] == [8, 17]


def test_rule_below_one_that_takes_everything_is_a_mistake() -> None:
    text = "version: 1\nrules:\n- name: a\n  action: score\n- name: b\n  action: ignore\n"

    with pytest.raises(RulesRejected, match=r"line 5: rule 'b' never decides: 'a' above it"):
        parse_rules(text, "rules.yaml")


@pytest.mark.parametrize(
    "text", ["", "[]", "just words", "version: 1", "- a\n- b", "\x00", "{" * 5]
)
def test_file_that_is_no_set_of_rules_is_refused(text: str) -> None:
    with pytest.raises(RulesRejected):
        parse_rules(text, "rules.yaml")


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesRejected, match="cannot be read"):
        load_rules(tmp_path / "none.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"version: 1\n# Herzzentrum M\xfcnchen\n")
    with pytest.raises(RulesRejected, match=r"line 2: the file must be UTF-8"):
        load_rules(latin)


@pytest.mark.parametrize(
    ("attributes", "rule", "is_scored"),
    [
        ({}, "every other CT series", True),
        ({"Modality": "MR"}, "other modalities", False),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizers", False),
        ({"ContrastBolusAgent": "Iopromide"}, "series with contrast agent", False),
        ({"ContrastBolusAgent": "none"}, "every other CT series", True),
    ],
)
def test_rules_that_are_built_in_score_plain_ct(
    tmp_path: Path, attributes: dict[str, object], rule: str, is_scored: bool
) -> None:
    files = write_series(tmp_path)
    set_attributes(files, **attributes)
    [series], left_out = series_facts(files)

    decision = load_rules(None).decide(series.values)

    assert left_out == []
    assert series.values["slice_count"] == 9.0
    assert decision.rule is not None
    assert decision.rule.name.startswith(rule)
    assert decision.is_scored is is_scored


def test_series_of_few_slices_is_no_heart(tmp_path: Path) -> None:
    [series], _ = series_facts(write_series(tmp_path)[:7])

    decision = load_rules(DEFAULT_RULES_FILE).decide(series.values)

    assert decision.rule is not None
    assert decision.rule.name == "too few slices for a heart"


def test_rule_that_sends_results_to_a_destination_that_there_is_not_is_a_mistake() -> None:
    assert parse_rules(GOOD, "rules.yaml", {"pacs", "research", "other"}).destinations() == {
        "pacs",
        "research",
    }

    with pytest.raises(RulesRejected) as caught:
        parse_rules(GOOD, "rules.yaml", {"pacs", "other"})

    ((line, words),) = caught.value.complaints
    assert line is not None
    assert GOOD.splitlines()[line - 1].strip() == "destinations: [pacs, research]"
    assert words == (
        "no destination is named 'research' (CACSCORE_DESTINATIONS_FILE has: other, pacs)."
    )
