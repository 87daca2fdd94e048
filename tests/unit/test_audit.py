"""What `make audit` makes of the reports of its tools."""

from __future__ import annotations

import json

from tests.audit import advisory_verdict, read_advisories, read_bandit

SAFE = {"name": "numpy", "version": "2.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
UNSAFE = {
    "name": "pillow",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.0"]}],
}


def verdict(*dependencies: object, **explanations: str) -> tuple[bool, str]:
    report = json.dumps({"dependencies": dependencies, "fixes": []})
    return advisory_verdict(
        read_advisories(report, {key.replace("_", "-"): why for key, why in explanations.items()})
    )


def test_pins_without_an_advisory_pass_and_the_unknown_ones_are_named() -> None:
    passes, words = verdict(SAFE, SKIPPED)
    assert passes
    assert "1 pins were judged" in words
    assert "torch" in words


def test_advisory_fails_unless_it_is_explained_by_any_of_its_names() -> None:
    assert verdict(SAFE, UNSAFE) == (False, "2 pins were judged.\nFOUND: pillow 1.0: PYSEC-1")
    passes, words = verdict(SAFE, UNSAFE, CVE_2026_1="not reachable: no TIFF is read")
    assert passes
    assert "Explained: pillow 1.0: PYSEC-1: not reachable" in words


def test_service_that_cannot_be_reached_is_said_and_nothing_is_claimed() -> None:
    for report in ("", "Traceback", json.dumps({"dependencies": [SKIPPED]})):
        passes, words = advisory_verdict(read_advisories(report, {}))
        assert passes
        assert words.startswith("NOT AUDITED")
        assert "judged" not in words


def bandit_report(*tests: str) -> str:
    results = [
        {"test_id": one, "filename": "a.py", "line_number": 7, "issue_text": "text"}
        for one in tests
    ]
    return json.dumps({"results": results, "errors": [], "metrics": {"_totals": {"loc": 100}}})


def test_finding_of_bandit_fails_unless_its_kind_is_explained() -> None:
    assert read_bandit(bandit_report("B603", "B603"), {"B603": "argument lists"}) == (
        True,
        "100 lines were read.\nExplained: B603 (2 places): argument lists",
    )
    passes, words = read_bandit(bandit_report("B301"), {})
    assert not passes
    assert "FOUND: B301 a.py:7: text" in words


def test_explanation_that_nothing_needs_any_more_fails_too() -> None:
    assert not read_bandit(bandit_report(), {"B603": "argument lists"})[0]


def test_file_that_bandit_cannot_read_fails() -> None:
    report = json.loads(bandit_report())
    report["errors"] = [{"filename": "a.py", "reason": "syntax error"}]
    assert not read_bandit(json.dumps(report), {})[0]
