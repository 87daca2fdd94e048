"""Write ``cacscore_client/documents.py`` from ``openapi/openapi.json``: one TypedDict a schema."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
OPENAPI: Final = REPOSITORY / "openapi" / "openapi.json"
TARGET: Final = REPOSITORY / "cacscore_client" / "documents.py"

HEADER: Final = '''\
"""What the service is sent and answers, as types; at run time these are the dicts of the JSON.

Written from openapi/openapi.json by ``make references``; edit that, not this. A newer service may
answer with more keys than are named here.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict'''

RENAMED: Final = {"WarningResponse": "SeriesWarning", "ProblemResponse": "ProblemDocument"}
"""What would hide a builtin, or be taken for an exception, without its suffix."""

_DOCSTRING_WIDTH: Final = 96
_SIMPLE: Final = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}


def client_types(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the module for the schemas of an OpenAPI document."""
    enums = [name for name in schemas if "enum" in schemas[name]]
    objects = [name for name in schemas if name not in enums]
    parts = [HEADER]
    parts += [_alias(name, schemas[name]) for name in sorted(enums, key=python_name)]
    parts += [_typed_dict(name, schemas[name]) for name in sorted(objects, key=python_name)]
    return "\n\n".join(parts)


def python_name(schema: str) -> str:
    """Return the name of a schema in the client."""
    return RENAMED.get(schema, schema.removesuffix("Response"))


def python_type(schema: Mapping[str, Any]) -> str:
    """Return the annotation for a JSON schema; ValueError where it says something unforeseen."""
    if "$ref" in schema:
        return python_name(str(schema["$ref"]).rsplit("/", 1)[-1])
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return f"Literal[{', '.join(repr(value) for value in values)}]"
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(python_type(part) for part in schema["anyOf"]))
    kind = schema.get("type")
    if kind == "array":
        return f"list[{python_type(schema['items'])}]"
    if kind == "object":
        entries = schema.get("additionalProperties", True)
        return f"dict[str, {'Any' if isinstance(entries, bool) else python_type(entries)}]"
    if kind in _SIMPLE:
        return _SIMPLE[str(kind)]
    raise ValueError(f"No Python type is known for the schema {json.dumps(schema)}.")


def _alias(name: str, schema: Mapping[str, Any]) -> str:
    described = _docstring(schema.get("description"), "")
    return f"{python_name(name)}: TypeAlias = {python_type(schema)}\n" + "\n".join(described)


def _typed_dict(name: str, schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    lines = [f"class {python_name(name)}(TypedDict):"]
    lines += _docstring(schema.get("description") or f"The schema {name}.", "    ")
    lines.append("")
    for field, field_schema in schema.get("properties", {}).items():
        kind = python_type(field_schema)
        lines.append(f"    {field}: {kind if field in required else f'NotRequired[{kind}]'}")
        lines += _docstring(field_schema.get("description"), "    ")
    return "\n".join(lines)


def _docstring(text: str | None, indent: str) -> Iterator[str]:
    if not text:
        return
    flat = " ".join(text.split()).replace("\\", "\\\\").replace('"""', "'''")
    one_line = f'{indent}"""{flat}"""'
    if len(one_line) <= _DOCSTRING_WIDTH + len(indent):
        yield one_line
        return
    summary, _, rest = flat.partition(". ")
    if rest and len(summary) + len(indent) < _DOCSTRING_WIDTH:
        yield f'{indent}"""{summary}.'
        yield ""
        body = rest
    else:
        first, *others = textwrap.wrap(flat, _DOCSTRING_WIDTH - len(indent))
        yield f'{indent}"""{first}'
        body = " ".join(others)
    for line in textwrap.wrap(body, _DOCSTRING_WIDTH - len(indent)):
        yield f"{indent}{line}"
    yield f'{indent}"""'


def formatted(source: str) -> str:
    """Return Python source as the formatter of the repository writes it."""
    return subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    ).stdout


def written() -> str:
    """Return what the file should hold."""
    document = json.loads(OPENAPI.read_text(encoding="utf-8"))
    return formatted(client_types(document["components"]["schemas"]) + "\n")
