"""How pages of the repository become pages of the site."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from documentation.site import PAGES_FROM_ELSEWHERE, expanded, with_site_links

KNOWN = {"scoring.md", "model-card.md", "how-to/results.md", "index.md", "reference/api.md"}


@pytest.mark.parametrize(
    ("uri", "written", "on_the_site"),
    [
        ("scoring.md", "[a](../model_training/MODEL_CARD.md)", "[a](model-card.md)"),
        ("how-to/results.md", "[a](../scoring.md#volume)", "[a](../scoring.md#volume)"),
        ("how-to/results.md", "[a](../../openapi/openapi.json)", "[a](../reference/api.md)"),
        ("model-card.md", "[a](../docs/scoring.md)", "[a](scoring.md)"),
        # A file of the repository that is no page is text, one that is nowhere stays and fails.
        ("scoring.md", "[the rules](../calcium_scoring/scoring/protocol.py)", "the rules"),
        ("scoring.md", "[a](nowhere.md)", "[a](nowhere.md)"),
        ("scoring.md", "[a](https://example.org/x)", "[a](https://example.org/x)"),
        ("scoring.md", "[a](#here)", "[a](#here)"),
        ("scoring.md", "```md\n[a](../README.md)\n```\n", "```md\n[a](../README.md)\n```\n"),
    ],
)
def test_link_of_the_repository_leads_to_the_page_of_the_site(
    uri: str, written: str, on_the_site: str
) -> None:
    assert with_site_links(written, uri, KNOWN) == on_the_site


def test_wildcard_of_the_navigation_stands_for_what_is_not_named() -> None:
    nav = [{"Run": ["how-to/b.md", "how-to/*.md"]}, {"Home": "index.md"}, "./*.md"]
    pages = ["index.md", "scale.md", "how-to/a.md", "how-to/b.md", "how-to/c.md"]

    assert expanded(nav, pages) == [
        {"Run": ["how-to/b.md", "how-to/a.md", "how-to/c.md"]},
        {"Home": "index.md"},
        "scale.md",
    ]


def test_pages_from_elsewhere_are_there(repository: Path) -> None:
    for source in PAGES_FROM_ELSEWHERE:
        assert (repository / source).is_file()


def test_notebook_is_one(repository: Path) -> None:
    path = repository / "docs" / "tutorials" / "volume-mask-and-agreement.ipynb"
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]

    nbformat.validate(notebook)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds.count("code") == 6
    assert not any(cell.get("outputs") for cell in notebook.cells)
