"""`cacscore rules` as its user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.cli.main import run
from service.cli.outcome import ExitCode
from tests.series_builders import noise_volume, set_attributes, write_series


def test_dry_run_says_which_rule_decides_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "study" / "a")
    with_agent = write_series(tmp_path / "study" / "b", noise_volume(8), seed=2)
    set_attributes(with_agent, ContrastBolusAgent="Iopromide", SeriesDescription="[CTA] 0.6")
    (tmp_path / "study" / "letter.txt").write_text("Dear colleague", encoding="utf-8")

    status = run(["rules", "test", "default", str(tmp_path / "study"), "--json"])

    assert status == ExitCode.DONE
    said = json.loads(capsys.readouterr().out)
    assert [
        (one["series_description"], one["slice_count"], one["action"], one["rule"], one["reason"])
        for one in said["series"]
    ] == [
        (
            "Calcium Score 3.0",
            9,
            "score",
            "every other CT series",
            "it takes every series that no rule above took",
        ),
        (
            "[CTA] 0.6",
            8,
            "ignore",
            "series with contrast agent",
            "is_contrast_enhanced is yes",
        ),
    ]
    assert said["unreadable_file_count"] == 1

    assert run(["rules", "test", "default", str(tmp_path / "study"), "--explain"]) == ExitCode.DONE
    table = capsys.readouterr().out
    assert "[CTA] 0.6" in table
    assert "1 of 2 series would be scored; 1 of 18 files" in table


def test_rule_may_ask_for_the_sender(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "version: 1\nrules:\n- name: CT1 first\n  when: {calling_ae_title: CT1}\n  action: score\n"
        "  priority: stat\n  destinations: [pacs]\n",
        encoding="utf-8",
    )
    series = write_series(tmp_path / "series")

    run(["rules", "test", str(rules), str(series[0]), "--calling-ae-title", "CT1", "--json"])
    from_ct1 = json.loads(capsys.readouterr().out)["series"][0]
    run(["rules", "test", str(rules), str(series[0]), "--json"])
    from_nobody = json.loads(capsys.readouterr().out)["series"][0]

    assert (from_ct1["action"], from_ct1["priority"], from_ct1["destinations"]) == (
        "score",
        "stat",
        ["pacs"],
    )
    assert (from_nobody["action"], from_nobody["rule"]) == ("ignore", None)
    assert from_nobody["passed_over"] == [
        {"rule": "CT1 first", "reason": "calling_ae_title is not stated, not CT1"}
    ]


def test_check_accepts_what_default_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rules", "default"]) == ExitCode.DONE
    rules = tmp_path / "rules.yaml"
    rules.write_text(capsys.readouterr().out, encoding="utf-8")

    assert run(["rules", "check", str(rules)]) == ExitCode.DONE
    assert "5 rules, no mistake" in capsys.readouterr().out


def test_mistake_in_a_file_is_a_refusal_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules:\n- name: a\n  action: skip\n", encoding="utf-8")

    assert run(["rules", "check", str(rules), "--json"]) == ExitCode.REFUSAL

    problem = json.loads(capsys.readouterr().out)
    assert problem["code"] == "rules_rejected"
    assert problem["evidence"]["complaints"] == [
        {"line": 4, "detail": "rule 1.action must be 'score' or 'ignore', not 'skip'."}
    ]
