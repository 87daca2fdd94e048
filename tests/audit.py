"""What is known to be unsafe in what we install and in what we wrote: `python -m tests.audit`.

Three steps: pip-audit asks the advisory database of PyPI about every pin of constraints.txt;
bandit reads our own code; cyclonedx-py writes the bill of materials of this environment. The
first needs the network: where the advisories cannot be had that is said, and nothing is claimed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[1]
CODE: Final = ("cacscore_client", "calcium_scoring", "service", "model_training")

ADVISORY_TIMEOUT_S: Final = 900.0


@dataclass(frozen=True)
class Advisories:
    """What pip-audit found: how many pins were judged, which could not be, and each finding."""

    audited: int
    not_audited: tuple[str, ...]
    findings: tuple[str, ...]
    """``name version: ID`` of every advisory that is not explained."""
    explained: tuple[str, ...]


def read_advisories(report: str, explanations: Mapping[str, str]) -> Advisories | None:
    """Read pip-audit's JSON; None where it did not get so far as to write any."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    findings, explained = [], []
    for one in dependencies:
        for advisory in one.get("vulns", []):
            names = {advisory["id"], *advisory.get("aliases", [])}
            reason = next((explanations[name] for name in names if name in explanations), None)
            line = f"{one['name']} {one['version']}: {advisory['id']}"
            if reason is None:
                findings.append(line)
            else:
                explained.append(f"{line}: {reason}")
    skipped = tuple(one["name"] for one in dependencies if "skip_reason" in one)
    return Advisories(
        audited=len(dependencies) - len(skipped),
        not_audited=skipped,
        findings=tuple(findings),
        explained=tuple(explained),
    )


def advisory_verdict(advisories: Advisories | None) -> tuple[bool, str]:
    """Return whether the audit may pass, and what to say."""
    if advisories is None or advisories.audited == 0:
        return True, (
            "NOT AUDITED: the advisory service cannot be reached from here, so nothing is known "
            "about the pins. Run `make audit` where PyPI can be reached."
        )
    lines = [f"{advisories.audited} pins were judged."]
    if advisories.not_audited:
        lines.append(f"Not known to the service: {', '.join(advisories.not_audited)}.")
    lines += [f"Explained: {line}" for line in advisories.explained]
    lines += [f"FOUND: {line}" for line in advisories.findings]
    return not advisories.findings, "\n".join(lines)


def read_bandit(report: str, explanations: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether every finding of bandit's JSON is explained, and what to say."""
    found = json.loads(report)
    counts = Counter(one["test_id"] for one in found["results"])
    lines = [f"{found['metrics']['_totals']['loc']} lines were read."]
    lines += [
        f"Explained: {test} ({count} places): {explanations[test]}"
        for test, count in sorted(counts.items())
        if test in explanations
    ]
    lines += [f"An explanation without a finding: {one}." for one in explanations.keys() - counts]
    unexplained = [one for one in found["results"] if one["test_id"] not in explanations]
    lines += [
        f"FOUND: {one['test_id']} {one['filename']}:{one['line_number']}: {one['issue_text']}"
        for one in unexplained
    ]
    errors = [f"NOT READ: {one['filename']}: {one['reason']}" for one in found["errors"]]
    is_clean = not unexplained and not errors and explanations.keys() <= counts.keys()
    return is_clean, "\n".join(lines + errors)


def main() -> int:
    """Run all steps; 1 where something was found that nobody explained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sbom", type=Path, required=True, help="where to write the SBOM")
    arguments = parser.parse_args()
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["cacscore"]
    explanations: dict[str, dict[str, str]] = settings["audit"]

    pip_audit = _run(
        [sys.executable, "-m", "pip_audit", "--requirement", "constraints.txt"],
        ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"],
    )
    pins_pass, words = advisory_verdict(read_advisories(pip_audit, explanations["advisories"]))
    _say("pip-audit", words)

    bandit = _run([sys.executable, "-m", "bandit", "--quiet", "--recursive", *CODE], ["-f", "json"])
    code_passes, words = read_bandit(bandit, explanations["bandit"])
    _say("bandit", words)

    arguments.sbom.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "environment", sys.executable),
            *("--pyproject", "pyproject.toml", "--output-reproducible", "--spec-version", "1.6"),
            *("--output-format", "JSON", "--output-file", str(arguments.sbom)),
        ],
        check=True,
        cwd=REPOSITORY,
    )
    components = json.loads(arguments.sbom.read_text())["components"]
    _say("SBOM", f"{len(components)} components in {arguments.sbom} (CycloneDX 1.6).")
    return 0 if pins_pass and code_passes else 1


def _run(command: list[str], options: list[str]) -> str:
    """Return what a tool wrote; its exit status only repeats that."""
    ended = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=ADVISORY_TIMEOUT_S,
    )
    return ended.stdout


def _say(step: str, words: str) -> None:
    sys.stdout.write(f"== {step}\n{words}\n")


if __name__ == "__main__":
    sys.exit(main())
