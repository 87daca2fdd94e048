"""Every command of the README and of the tutorials, as it stands there, at a running service.

A block that cannot run has the reason in a comment right above it: `<!-- not run by tests: … -->`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documentation.pages import Fence, fences
from tests.e2e.running_service import CACSCORE, RunningService

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]

SHELLS = ("sh", "bash")

STANDS_FOR = {
    "make demo": "a step of .ci/run of its own",
    "make test": "it is what runs this test",
    ".venv/bin/cacscore serve": "the service of this test",
}
"""Commands of the README that are not run here, and who runs them."""


@pytest.fixture(scope="module")
def documented_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("documented-service")
    running = RunningService(folder / "data", folder / "words.txt")
    yield running
    running.end()


@pytest.fixture
def desk(tmp_path: Path, phantom_folder: Path) -> Path:
    """A folder as the reader has it: the commands in .venv/bin, and a series."""
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    script = commands / "cacscore"
    script.write_text(f'#!/bin/sh\nexec {" ".join(CACSCORE)} "$@"\n')
    script.chmod(0o755)
    shutil.copy(phantom_folder / "ct.zip", tmp_path / "series.zip")
    shutil.copy(phantom_folder / "truth_mask.nii.gz", tmp_path / "reader.nii.gz")
    return tmp_path


def run(desk: Path, url: str, command: tuple[str, ...], script: str) -> str:
    """Run a script at the reader's desk; return what it printed."""
    ended = subprocess.run(
        [*command, script],
        cwd=desk,
        env={
            **os.environ,
            "URL": url,
            "PATH": f"{desk / '.venv' / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).parents[2])),
            "CACSCORE_DATA_DIR": str(desk / "cacscore-data"),
            "MPLBACKEND": "Agg",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def blocks(page: Path, *languages: str) -> list[Fence]:
    return [one for one in fences(page.read_text(encoding="utf-8")) if one.language in languages]


def runnable(page: Path, *languages: str) -> str:
    """Return what is to be run of a page, each block behind the other."""
    found = [one for one in blocks(page, *languages) if one.why_not_run is None]
    assert found, page
    return "\n".join(one.text for one in found)


def shell(script: str) -> str:
    return f"set -euo pipefail\n{script}"


def test_no_tutorial_has_a_block_that_is_neither_run_nor_explained(repository: Path) -> None:
    for page in sorted((repository / "docs" / "tutorials").glob("*.md")):
        languages = {one.language for one in fences(page.read_text(encoding="utf-8"))}
        # One kind of commands a page: all of its blocks are run as one script.
        assert languages in ({"sh"}, {"python"}), page.name
    curl = repository / "docs" / "tutorials" / "from-zip-to-score-curl.md"
    assert [one.why_not_run is None for one in blocks(curl, "sh")][:3] == [False, False, True]


def test_tutorial_with_curl(
    documented_service: RunningService, desk: Path, repository: Path
) -> None:
    (desk / "series.zip").unlink()  # the tutorial makes its own
    page = repository / "docs" / "tutorials" / "from-zip-to-score-curl.md"

    printed = run(desk, documented_service.url, ("bash", "-c"), shell(runnable(page, "sh")))

    report = json.loads((desk / "report.json").read_text())
    first = json.loads((desk / "first.json").read_text())
    truth = json.loads((desk / "phantoms" / "patient-0001" / "truth.json").read_text())
    assert first == report
    assert report["series"] == truth["report"]["series"]
    assert f"Agatston score {round(report['agatston_score'], 1)}" in printed
    assert "Equal: all" in printed
    assert (desk / "slice.png").read_bytes().startswith(b"\x89PNG")
    assert (desk / "report.pdf").read_bytes().startswith(b"%PDF")
    assert re.search(r"event: study\ndata: .*\"succeeded\"", (desk / "events.txt").read_text())


def test_tutorial_with_python(
    documented_service: RunningService, desk: Path, repository: Path
) -> None:
    page = repository / "docs" / "tutorials" / "from-zip-to-score-python.md"

    printed = run(desk, documented_service.url, (sys.executable, "-c"), runnable(page, "python"))

    report = json.loads((desk / "results" / "report.json").read_text())
    assert f"Agatston score {report['agatston_score']:.1f}" in printed
    assert "not_a_zip" in printed
    assert str({"series.zip": report["agatston_score"]}) in printed
    assert str(report["agatston_score"]) in (desk / "studies.csv").read_text()


def test_tutorial_with_pictures(
    documented_service: RunningService, desk: Path, repository: Path
) -> None:
    page = repository / "docs" / "tutorials" / "volume-mask-and-agreement.md"

    printed = run(desk, documented_service.url, (sys.executable, "-c"), runnable(page, "python"))

    for name in ("slice.png", "bland-altman.png"):
        assert (desk / name).read_bytes().startswith(b"\x89PNG")
    limits = re.search(r"bias (\S+), limits of agreement (\S+) to (\S+)", printed)
    assert limits is not None
    bias, low, high = (float(one) for one in limits.groups())
    assert low < bias < high
    # 1.96 standard deviations to either side, as printed with one decimal.
    assert bias - low == pytest.approx(high - bias, abs=0.11)


def test_commands_of_the_readme(
    documented_service: RunningService, desk: Path, repository: Path
) -> None:
    study_id = documented_service.upload(desk / "series.zip").document["id"]
    assert documented_service.wait_until_final(study_id)["status"] == "succeeded"
    script = runnable(repository / "README.md", *SHELLS)
    for command, instead in STANDS_FOR.items():
        script, count = re.subn(
            rf"^{re.escape(command)}(?=\s|$)", f": {command} #", script, flags=re.MULTILINE
        )
        assert count == 1, f"{command} ({instead}) stands {count} times in the README"
    script = script.replace("http://127.0.0.1:8000", documented_service.url)
    script = re.sub(r"(?<=/studies/)\w+\.\.\.", study_id, script)

    printed = run(desk, documented_service.url, ("bash", "-c"), shell(script))

    assert study_id in printed
    assert "Equal: all" in printed
    assert (desk / "slice.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((desk / "report.json").read_text())["agatston_score"] >= 0.0
    assert (desk / "results" / "provenance.json").is_file()
