"""Hooks of ``mkdocs.yml``: pages from outside ``docs/``, links between all, offline diagrams.

Every page is also read as plain Markdown in the repository, so links are those of the repository.
On the site a link to another page goes to that page; a link to a file that is no page is text.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from documentation.api_reference import api_page

REPOSITORY: Final = Path(__file__).resolve().parents[1]

PAGES_FROM_ELSEWHERE: Final = {
    "model_training/MODEL_CARD.md": "model-card.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "openapi/openapi.json": "reference/api.md",
}
"""Files of the repository that are pages of the site, and under which name."""

INSTEAD: Final = {
    "README.md": "index.md",
    "docs": "index.md",
    "docs/decisions": "decisions/0001-we-record-decisions.md",
    "docs/how-to": "index.md",
    "docs/tutorials": "tutorials/from-zip-to-score-curl.md",
}
"""Where a link to a file or folder leads that is no page itself."""

MERMAID: Final = REPOSITORY / "build" / "mermaid" / "package" / "dist" / "mermaid.min.js"
MERMAID_URI: Final = "javascripts/mermaid.min.js"
"""`make setup-docs` puts it there where npm can be reached; without it diagrams stay text, and no
page asks a server elsewhere for it."""

_LINK: Final = re.compile(
    r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)"
)
_FENCE: Final = re.compile(r"^(```.*?^```[ \t]*$)", re.MULTILINE | re.DOTALL)
_INFO: Final = re.compile(r"^( *```[a-z]+)[ \t]+[^\n`]+$", re.MULTILINE)
"""A word behind the language of a block, by which a test finds it."""
_ELSEWHERE: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|#|/)", re.IGNORECASE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Expand the wildcards of the navigation, and take the script of diagrams where it is there."""
    if config.nav is not None:
        every = sorted(
            path.relative_to(config.docs_dir).as_posix()
            for path in Path(config.docs_dir).rglob("*.md")
        )
        config.nav = expanded(config.nav, every)
    if MERMAID.is_file():
        config.extra_javascript.append(MERMAID_URI)
    return config


def expanded(nav: Any, every: list[str]) -> Any:  # noqa: ANN401 - as YAML gives it
    """Return the navigation with each ``folder/*.md`` as the pages that it does not name itself."""
    named = set(_entries(nav))

    def of(entry: Any) -> list[Any]:  # noqa: ANN401
        if isinstance(entry, dict):
            return [{title: expand(inner) for title, inner in entry.items()}]
        if not entry.endswith("/*.md"):
            return [entry]
        folder = posixpath.dirname(entry).removeprefix(".")
        return [path for path in every if posixpath.dirname(path) == folder and path not in named]

    def expand(inner: Any) -> Any:  # noqa: ANN401
        if isinstance(inner, str):
            return inner
        return [one for entry in inner for one in of(entry)]

    return expand(nav)


def _entries(nav: Any) -> list[str]:  # noqa: ANN401
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [entry for one in inner for entry in _entries(one)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from elsewhere in the repository."""
    for source, uri in PAGES_FROM_ELSEWHERE.items():
        text = (REPOSITORY / source).read_text(encoding="utf-8")
        content = api_page(json.loads(text)) if source.endswith(".json") else text
        files.append(File.generated(config, uri, content=content))
    if MERMAID.is_file():
        files.append(File.generated(config, MERMAID_URI, abs_src_path=str(MERMAID)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site."""
    del config
    uri = page.file.src_uri
    is_written_for_site = uri == PAGES_FROM_ELSEWHERE["openapi/openapi.json"]
    if not is_written_for_site:
        markdown = with_site_links(markdown, uri, set(files.src_uris))
    markdown = _INFO.sub(r"\1", markdown)
    return markdown if MERMAID.is_file() else markdown.replace("```mermaid", "```text")


def with_site_links(markdown: str, uri: str, known: set[str]) -> str:
    """Return a page whose links lead to other pages of the site; code is left as it is."""
    origin = next(
        (source for source, page in PAGES_FROM_ELSEWHERE.items() if page == uri), f"docs/{uri}"
    )

    def link(found: re.Match[str]) -> str:
        target, text = found["target"], found["text"]
        if _ELSEWHERE.match(target):
            return found[0]
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        page = PAGES_FROM_ELSEWHERE.get(place) or INSTEAD.get(place)
        if page is None and place.startswith("docs/"):
            page = place.removeprefix("docs/")
        if page in known:
            to = posixpath.relpath(page, PurePosixPath(uri).parent.as_posix())
            return f"{found['image']}[{text}]({to}{'#' + anchor if anchor else ''})"
        # What is nowhere stays a link, and fails the build.
        return text if (REPOSITORY / place).exists() and not found["image"] else found[0]

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)
