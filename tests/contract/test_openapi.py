"""The API that is written down is the API that answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.api.export_openapi import openapi_text


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(openapi_text())
    return loaded


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_committed_document_is_what_the_code_says(repository: Path) -> None:
    committed = (repository / "openapi" / "openapi.json").read_text(encoding="utf-8")
    assert committed == openapi_text(), "run `make openapi`"


def test_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


def test_upload_may_be_a_form_or_a_zip(document: dict[str, Any]) -> None:
    body = document["paths"]["/studies"]["post"]["requestBody"]
    assert set(body["content"]) == {"multipart/form-data", "application/zip"}


def test_every_error_is_described_as_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert "500" in operation["responses"], name
        for status, response in operation["responses"].items():
            # Readiness tells which dependency is missing in its own shape; STOW-RS, what became of
            # each instance (PS3.18 10.5.3).
            is_of_its_own = name == "GET /readyz" or (
                name.startswith("POST /dicomweb/studies") and status == "409"
            )
            if int(status) >= 400 and not is_of_its_own:
                assert list(response["content"]) == ["application/problem+json"], (name, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_main_answers_are_described(document: dict[str, Any]) -> None:
    score = document["paths"]["/studies/{study_id}/score"]["get"]["responses"]
    assert {"200", "202", "404", "422"} <= set(score)
    mask = document["paths"]["/studies/{study_id}/mask"]["get"]["responses"]
    assert set(mask["200"]["content"]) == {"application/dicom", "application/gzip"}
    assert "406" in mask
    submit = document["paths"]["/studies"]["post"]["responses"]
    assert {"202", "400", "413", "415", "422", "503"} <= set(submit)
    assert "Location" in submit["202"]["headers"]


def test_every_field_is_described_and_always_there(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        if schema["type"] != "object":
            continue
        properties = schema["properties"]
        # A request may leave out what has a default.
        if not name.endswith("Request"):
            assert set(schema["required"]) == set(properties), name
        for field, facts in properties.items():
            # A nested object describes itself.
            assert facts.get("description") or "$ref" in facts, f"{name}.{field}"
