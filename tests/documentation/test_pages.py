"""Pages that name things of the code name all of them, and nothing that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import service.api.errors
import service.application.errors  # noqa: F401 - the whole tree
from calcium_scoring.errors import CacscoreError
from calcium_scoring.version import __version__
from documentation.references import REFERENCES, Reference
from tests.documentation.pages import fences, pages_of

NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda one: one.path.name)
def test_generated_file_is_up_to_date(reference: Reference) -> None:
    assert reference.path.read_text(encoding="utf-8") == reference.written(), (
        f"{reference.path.name} is not what the code says; run `make references`"
    )


def functions_of(module: Path) -> set[str]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_a_requirement_names_exists(repository: Path) -> None:
    page = (repository / "docs" / "regulatory.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (R\d+) \|.*$", page, re.MULTILINE)
    named = NAMED_TEST.findall(page)

    assert rows == [f"R{number}" for number in range(1, len(rows) + 1)]
    for row in re.findall(r"^\| R\d+ \|.*$", page, re.MULTILINE):
        assert NAMED_TEST.search(row), f"no test shows {row[:40]}"
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (repository / file).is_file() or name not in functions_of(repository / file)
    ]
    assert missing == []


def branches(error: type[CacscoreError]) -> Iterator[type[CacscoreError]]:
    yield error
    for branch in error.__subclasses__():
        yield from branches(branch)


FRAMEWORK_CODES = {"not_found", "method_not_allowed", "invalid_request"}
"""Given by service/api/problems.py without a class of their own."""


def test_troubleshooting_has_every_code_once_and_no_other(repository: Path) -> None:
    page = (repository / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| (`[^|]+`) \|", page, re.MULTILINE)
    listed = [code for cell in first_cells for code in re.findall(r"`(\w+)`", cell)]
    of_the_product = {
        one.code
        for one in branches(CacscoreError)
        if one.__module__.split(".")[0] in ("calcium_scoring", "service")
    }

    assert set(listed) == of_the_product | FRAMEWORK_CODES
    assert len(listed) == len(set(listed))


def test_citation_is_complete_and_of_this_version(repository: Path) -> None:
    citation: dict[str, Any] = yaml.safe_load((repository / "CITATION.cff").read_text("utf-8"))

    # What the Citation File Format 1.2.0 demands, and what tools build a reference from.
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type", "license", "version"} <= set(citation)
    assert all({"name"} == set(author) for author in citation["authors"])
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"


LANGUAGES = {"sh", "bash", "python", "json", "text", "yaml", "mermaid", "js", "toml", "console", ""}


def test_fences_name_a_language_that_the_site_can_colour(repository: Path) -> None:
    for page in pages_of(repository):
        for fence in fences(page.read_text(encoding="utf-8")):
            assert fence.language in LANGUAGES, (page.name, fence.language)
