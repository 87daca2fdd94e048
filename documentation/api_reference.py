"""The API reference as a page: ``openapi/openapi.json`` in words, made when the site is built."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from documentation.client_types import python_name, python_type

_INTRODUCTION: Final = """\
# HTTP API

The contract as the service serves it at `/openapi.json` (OpenAPI {openapi}), version {version}.
Every field of an answer is always present; what is not known is `null`. Numbers are unrounded,
times are UTC. Errors are problem objects ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with
a stable `code`: what to do about each is under [troubleshooting](../troubleshooting.md).

Types are written as in Python; those with a name of their own are [below](#types). The
[Python client](python-client.md) has the same names.

What every request may be answered, unless it needs no key, is not repeated below; each is a
[ProblemDocument](#problemdocument):

{common}
"""

PROBLEM: Final = "application/problem+json"
_METHODS: Final = ("get", "post", "put", "patch", "delete")


def api_page(document: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    operations = [
        (path, method, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    common = _common_answers([one for _, _, one in operations])
    parts = [
        _INTRODUCTION.format(
            openapi=document["openapi"],
            version=document["info"]["version"],
            common=_table(("Answer", "What"), sorted(common.items())),
        )
    ]
    tags = dict.fromkeys(tag for _, _, one in operations for tag in one.get("tags", ["other"]))
    for tag in tags:
        parts.append(f"## {tag.capitalize()}")
        parts += [
            "\n\n".join(_operation(path, method, one, common))
            for path, method, one in operations
            if tag in one.get("tags", ["other"])
        ]
    parts.append("## Types")
    schemas = document["components"]["schemas"]
    parts += [
        "\n\n".join(_schema(name, schemas[name])) for name in sorted(schemas, key=python_name)
    ]
    return "\n\n".join(parts) + "\n"


def _common_answers(operations: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the errors that most operations describe in the same words."""
    errors = Counter(
        (code, str(answer["description"]))
        for one in operations
        for code, answer in one["responses"].items()
        if int(code) >= HTTPStatus.BAD_REQUEST
    )
    most = len(operations) / 2
    return {code: description for (code, description), count in errors.items() if count > most}


def _operation(
    path: str, method: str, operation: Mapping[str, Any], common: Mapping[str, str]
) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`"
    yield f"**{operation.get('summary', '')}**"
    if operation.get("description"):
        yield str(operation["description"])
    parameters = operation.get("parameters", ())
    if parameters:
        yield _table(
            ("Parameter", "In", "Type", "Meaning"),
            (
                (
                    f"`{one['name']}`" + (" (required)" if one.get("required") else ""),
                    one["in"],
                    _type(one["schema"]),
                    _with_default(one),
                )
                for one in parameters
            ),
        )
    body = operation.get("requestBody")
    if body:
        yield "Body: " + "; ".join(_contents(body)) + _described(body)
    rows = [
        (code, f"{answer['description']} {', '.join(_contents(answer))}".strip())
        for code, answer in operation["responses"].items()
        if common.get(code) != answer["description"]
    ]
    yield _table(("Answer", "What"), rows)


def _described(body: Mapping[str, Any]) -> str:
    return f". {body['description']}" if body.get("description") else ""


def _contents(part: Mapping[str, Any]) -> Iterator[str]:
    for media_type, content in part.get("content", {}).items():
        schema = content.get("schema", {})
        if media_type == PROBLEM:
            continue
        named = _type(schema) if "$ref" in schema else ""
        yield f"`{media_type}` {named}".strip()


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {python_name(name)}"
    if schema.get("description"):
        yield str(schema["description"])
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + "."
        return
    required = set(schema.get("required", ()))
    yield _table(
        ("Field", "Type", "Meaning"),
        (
            (
                f"`{field}`" + ("" if field in required else " (optional)"),
                _type(one),
                str(one.get("description", "")),
            )
            for field, one in schema.get("properties", {}).items()
        ),
    )


def _type(schema: Mapping[str, Any]) -> str:
    """Return a type in words; named types are links within the page."""
    if "$ref" in schema:
        name = python_name(str(schema["$ref"]).rsplit("/", 1)[-1])
        return f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{json.dumps(value)}`" for value in values)
    kind = python_type(schema)
    return "`null`" if kind == "None" else f"`{kind}`"


def _with_default(parameter: Mapping[str, Any]) -> str:
    default = parameter["schema"].get("default")
    described = str(parameter.get("description", ""))
    return described if default is None else f"{described} Default: `{default}`."


def _table(headings: tuple[str, ...], rows: Any) -> str:  # noqa: ANN401 - any rows of text
    lines = [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    for row in rows:
        cells = [" ".join(cell.split()).replace("|", "\\|") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
