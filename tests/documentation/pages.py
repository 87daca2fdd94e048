"""Fenced blocks of the pages: which there are, and why some are not run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"^(?P<marker><!-- not run by tests: (?P<why>[^\n]+?) -->\n+)?"
    r"^(?P<indent>[ ]*)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Fence:
    """A fenced block; ``why_not_run`` is what the marker above it says."""

    language: str
    text: str
    line: int
    why_not_run: str | None


def fences(page: str) -> Iterator[Fence]:
    """Give the fenced blocks of a page in their order."""
    for found in _FENCE.finditer(page):
        indent = found["indent"]
        lines = [line.removeprefix(indent) for line in found["text"].splitlines()]
        yield Fence(
            found["info"].split(maxsplit=1)[0] if found["info"].strip() else "",
            "\n".join(lines) + "\n",
            page.count("\n", 0, found.start()) + 1,
            found["why"],
        )


def pages_of(repository: Path) -> list[Path]:
    """Return every page of the documentation."""
    places = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    return [*(repository / name for name in places), *sorted((repository / "docs").rglob("*.md"))]
