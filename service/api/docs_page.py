"""The page at `/docs`: the OpenAPI document as plain HTML, without scripts or foreign hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

DOCS_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}
"""The page holds everything it needs; nothing else is loaded even if somebody slips it in."""

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; border-top: 1px solid; padding-top: 1rem; font-size: 1.1rem }
code { font-family: ui-monospace, monospace }
td, th { text-align: left; vertical-align: top; padding: 0.1rem 1rem 0.1rem 0 }
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """Return a page that lists every operation of an OpenAPI document."""
    info = document["info"]
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>\n"
        f"{_paragraphs(info['description'])}"
        '<p>Every field is described in the OpenAPI document: <a href="/openapi.json">'
        "/openapi.json</a>.</p>\n"
        f"{operations}</body></html>\n"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{_inline(words)}</td></tr>"
        for name, words in (*_inputs(operation), *_answers(operation))
    )
    return (
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>\n"
        f"<p><strong>{_inline(operation['summary'])}</strong></p>\n"
        f"{_paragraphs(operation.get('description', ''))}<table>{rows}</table>\n"
    )


def _inputs(operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for parameter in operation.get("parameters", ()):
        yield f"{parameter['name']} ({parameter['in']})", parameter.get("description", "")
    body = operation.get("requestBody")
    if body is not None:
        yield "body", f"{body['description']} As {' or '.join(body['content'])}."


def _answers(operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for status, response in operation["responses"].items():
        types = ", ".join(response.get("content", {}))
        yield status, response["description"] + (f" ({types})" if types else "")


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>\n" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    """Escape a text and keep what its Markdown marks as code or as strong."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", marked)
