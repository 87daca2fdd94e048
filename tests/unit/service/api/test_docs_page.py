"""The page at `/docs`: everything about the API, and nothing from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.api.docs_page import docs_page


@pytest.fixture
def document(repository: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((repository / "openapi" / "openapi.json").read_text())
    return loaded


def test_page_references_no_foreign_host_and_runs_no_script(document: dict[str, Any]) -> None:
    page = docs_page(document)

    references = re.findall(r"\b(?:href|src|action|url)\s*[=(]\s*[\"']?([^\"'\s)>]+)", page)
    assert references == ["/openapi.json"]
    assert "://" not in page
    assert "<script" not in page
    assert "@import" not in page


def test_page_names_every_operation_of_the_document(document: dict[str, Any]) -> None:
    page = docs_page(document)

    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in page


def test_text_of_the_document_is_escaped(document: dict[str, Any]) -> None:
    document["info"]["description"] = "<b>bold</b> `code` **strong**"

    page = docs_page(document)

    assert "&lt;b&gt;bold&lt;/b&gt; <code>code</code> <strong>strong</strong>" in page
