"""Pages and modules that are written from the code: ``make references``; a test compares them.

The API reference is written from ``openapi/openapi.json`` when the site is built, see ``site.py``.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer
from typer.cli import get_docs_for_click

from cacscore_client import CacscoreClient, errors
from documentation import client_types, notebook
from service.application.report_terms import INTENDED_USE
from service.cli.main import app
from service.cli.outcome import EXIT_CODES_HELP
from service.settings import DEFAULT_MODEL_PATH, ENVIRONMENT_PREFIX, Settings

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PAGES: Final = REPOSITORY / "docs" / "reference"

_WRITTEN_FROM: Final = "<!-- Written from {source} by `make references`; edit that, not this. -->"


@dataclass(frozen=True)
class Reference:
    """A file that is written from the code."""

    path: Path
    written: Callable[[], str]


def command_line_page() -> str:
    """Return the page of all commands, from their own help."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="cacscore")
    page = get_docs_for_click(obj=command, ctx=context, name="cacscore", title="Command line")
    # What is true of all commands is said once, above them.
    for repeated in (INTENDED_USE, EXIT_CODES_HELP):
        page = re.sub(rf"^{re.escape(repeated)}\n\n?", "", page, flags=re.MULTILINE)
    page = re.sub(r"^\* `--help`: Show this message and exit\.\n", "", page, flags=re.MULTILINE)
    page = re.sub(r"^\*\*Options\*\*:\n\n(?!\*)", "", page, flags=re.MULTILINE)
    title, _, rest = "\n".join(_with_whole_sentences(page, command)).partition("\n\n")
    parts = [title, _WRITTEN_FROM.format(source="the commands"), EXIT_CODES_HELP, rest.strip()]
    return "\n\n".join(parts) + "\n"


def _with_whole_sentences(page: str, command: Any) -> Iterator[str]:  # noqa: ANN401
    """Give the lines of the page; lists of commands say the first sentence of each as a whole."""
    sentences = dict(_sentences(command, "cacscore"))
    section = "cacscore"
    for line in page.splitlines():
        heading = re.match(r"## `(.+)`$", line)
        section = section if heading is None else heading[1]
        listed = re.match(r"\* `([a-z-]+)`: ", line)
        sentence = None if listed is None else sentences.get(f"{section} {listed[1]}")
        yield line if listed is None or sentence is None else f"{listed[0]}{sentence}"


def _sentences(command: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    for name, one in getattr(command, "commands", {}).items():
        first = inspect.cleandoc(one.help or "").partition("\n\n")[0]
        yield f"{path} {name}", first.replace("\n", " ")
        yield from _sentences(one, f"{path} {name}")


_SETTING_GROUPS: Final = (
    ("Artefacts in an S3-compatible store", r"s3_"),
    ("Who may ask", r"auth$|oidc_|rate_limit_"),
    ("How long studies stay", r"retention_"),
    ("Webhooks", r"webhook_"),
    ("The score", r"protocol$|tube_voltage_table$|mass_calibration_factor$"),
    ("The network", r"model_path$|onnx_"),
    ("Uploads and their limits", r"upload|archive_|disk_reserve_bytes$|queue_length$"),
    (
        "Jobs and workers",
        r"lease_s$|heartbeat_s$|max_attempts$|retry_delay_s$|task_|reaper_|unattended_s$|worker_",
    ),
    ("Where things are, and what is told", r"data_dir$|database_url$|broker_url$|otlp_|log_"),
)
"""Headings of the page, and what the names of their settings begin with."""

_OTHER_SETTINGS: Final = "Everything else"

_SETTINGS_WORDS: Final = """\
Environment variables of gateway, worker and `cacscore serve`. Every part of one service needs the
same ones; a value that is not possible ends the start with a sentence. Secrets (keys, passwords,
URLs that hold one) are never logged."""


def settings_page() -> str:
    """Return the page of all settings with type, default and meaning."""
    schema = Settings.model_json_schema()
    groups: dict[str, list[str]] = {}
    for name, field in Settings.model_fields.items():
        heading = next(
            (title for title, names in _SETTING_GROUPS if re.match(names, name)), _OTHER_SETTINGS
        )
        default = field.get_default(call_default_factory=True)
        groups.setdefault(heading, []).append(
            f"| `{ENVIRONMENT_PREFIX}{name.upper()}` | {_kind(schema['properties'][name])} | "
            f"{_default(default)} | {_cell(field.description or '')} |"
        )
    order = [*(title for title, _ in reversed(_SETTING_GROUPS)), _OTHER_SETTINGS]
    parts = [
        "# Settings",
        _WRITTEN_FROM.format(source="`service/settings.py`"),
        _SETTINGS_WORDS,
    ]
    parts += [
        "\n".join(
            [f"## {title}\n", "| Variable | Type | Default | Meaning |", "|---|---|---|---|"]
            + groups[title]
        )
        for title in order
        if title in groups
    ]
    parts.append(
        "## Of clients\n\n"
        "| Variable | Type | Default | Meaning |\n|---|---|---|---|\n"
        "| `CACSCORE_API_KEY` | secret | not set | Key that `cacscore submit` and the "
        "[Python client](python-client.md) send where none is given. |"
    )
    return "\n\n".join(parts) + "\n"


_BOUNDS: Final = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
}


def _kind(schema: dict[str, Any]) -> str:
    options = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return " or ".join(_simple_kind(one) for one in options)


def _simple_kind(schema: dict[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{value}`" for value in values)
    words = {
        "integer": "whole number",
        "array": "comma-separated list",
        "number": "number",
        "boolean": "`true` or `false`",
    }.get(schema["type"], "text")
    if schema.get("format") == "password":
        return "secret"
    if schema.get("format") == "path":
        return "path"
    bounds = [f"{sign} {schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join((words, ", ".join(bounds))).strip()


def _default(value: object) -> str:
    if value == DEFAULT_MODEL_PATH:
        return "the bundled network"
    if value is None or value in ((), ""):
        return "not set"
    if isinstance(value, tuple):
        return f"`{','.join(str(one) for one in value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_CLIENT_WORDS: Final = """\
In the environment of your programs, with the path of a copy of this repository:

```sh
pip install '/path/to/cacscore[client]'
```

`CacscoreClient` waits for its answers; `AsyncCacscoreClient` has the same methods, to be awaited,
and `aclose()`. Answers are the dicts of the JSON; their types are in `cacscore_client.documents`,
written from the [API](../../openapi/openapi.json). First steps:
[From zip to score with Python](../tutorials/from-zip-to-score-python.md). What to do about a code:
[troubleshooting](../troubleshooting.md)."""


def python_client_page() -> str:
    """Return the page of the client library, from its docstrings."""
    methods = [
        (name, method)
        for name, method in inspect.getmembers(CacscoreClient, inspect.isfunction)
        if not name.startswith("_")
    ]
    methods.sort(key=lambda one: one[1].__code__.co_firstlineno)
    parts = [
        "# Python client",
        _WRITTEN_FROM.format(source="`cacscore_client/`"),
        _CLIENT_WORDS,
        "## Errors\n\n" + _plain(errors.__doc__),
        f"## `CacscoreClient`\n\n{_plain(CacscoreClient.__doc__)}",
    ]
    parts += [
        f"### `{name}`\n\n```python\n{_signature(name, method)}\n```\n\n{_plain(method.__doc__)}"
        for name, method in methods
    ]
    return "\n\n".join(parts) + "\n"


def _signature(name: str, method: Callable[..., object]) -> str:
    signature = inspect.signature(method)
    parameters = []
    for one in list(signature.parameters.values())[1:]:
        if one.kind is one.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        shown = f"{one.name}: {one.annotation}"
        if callable(one.default) and one.default is not one.empty:
            shown += " = ..."
        elif one.default is not one.empty:
            shown += f" = {one.default!r}"
        parameters.append(shown)
    line = f"{name}({', '.join(parameters)}) -> {signature.return_annotation}"
    if len(line) <= 96:
        return line
    inner = "".join(f"    {one},\n" for one in parameters)
    return f"{name}(\n{inner}) -> {signature.return_annotation}"


def _plain(docstring: str | None) -> str:
    """Return a docstring as Markdown: roles become names, double backticks single ones."""
    text = inspect.cleandoc(docstring or "")
    text = re.sub(r":(?:class|meth|func|mod):`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"(?<!`)``(?!`)", "`", text)


REFERENCES: Final = (
    Reference(client_types.TARGET, client_types.written),
    Reference(PAGES / "command-line.md", command_line_page),
    Reference(PAGES / "settings.md", settings_page),
    Reference(PAGES / "python-client.md", python_client_page),
    Reference(notebook.TARGET, notebook.notebook_text),
)


def main() -> None:
    """Write every reference; say which have changed."""
    for reference in REFERENCES:
        text = reference.written()
        reference.path.parent.mkdir(parents=True, exist_ok=True)
        if not reference.path.is_file() or reference.path.read_text(encoding="utf-8") != text:
            reference.path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{reference.path.relative_to(REPOSITORY)} is new.\n")


if __name__ == "__main__":
    main()
