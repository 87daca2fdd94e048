"""What OpenAPI cannot learn from the signatures of the routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from calcium_scoring.version import __version__
from service.api.access import OPEN_PATHS
from service.api.problems import PROBLEM_MEDIA_TYPE
from service.api.schemas import ProblemResponse
from service.api.uploads import FORM, FORM_FIELD
from service.application.report_terms import INTENDED_USE

TITLE: Final = "cacscore"

DESCRIPTION: Final = f"""Coronary artery calcium scores from CT series.

Send a zip archive with the DICOM files of a study, ask for its score, fetch the mask.
Errors are problem details (RFC 9457) with a stable `code`.

**{INTENDED_USE}**
"""

SUBMIT_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "A zip archive with the DICOM files of one study, in any folders.",
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "required": [FORM_FIELD],
                "properties": {
                    FORM_FIELD: {
                        "type": "string",
                        "contentMediaType": "application/zip",
                        "description": "The zip archive.",
                    }
                },
            },
            "encoding": {FORM_FIELD: {"contentType": "application/zip"}},
        },
        "application/zip": {"schema": {"type": "string", "contentMediaType": "application/zip"}},
    },
}

_REASONS: Final = {
    400: "The form or query cannot be read.",
    401: "No API key or bearer token, or one that is not valid.",
    403: "The key or token may not do this; or authentication is off and the caller is elsewhere.",
    404: "There is no such study, or no such slice, file or version of its result.",
    406: "It is not available in an accepted type; `evidence.available` lists those that are.",
    408: "The upload stalled or took too long.",
    409: "The study is not in a state that allows it, or has not been scored yet.",
    412: "The tus protocol is spoken in version 1.0.0; the request does not say so.",
    413: "The upload exceeds a limit.",
    415: "The body has a type that is not accepted.",
    423: "Another request writes to the upload.",
    460: "The checksum does not fit the bytes; nothing of them was kept.",
    422: "The upload or a parameter is refused, or the study could not be scored.",
    429: "The caller asks too often, or has too many uploads under way; see `Retry-After`.",
    503: "A part of the service is unavailable; see `Retry-After`.",
}

SECURITY_SCHEMES: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`cacscore keys create`) or a token of the identity provider.",
    },
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems of a route."""
    return {
        status: {
            "description": _REASONS[status],
            "content": {
                PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemResponse"}}
            },
        }
        for status in statuses
    }


def binary() -> dict[str, Any]:
    """Describe a body of bytes."""
    return {"schema": {"type": "string", "contentEncoding": "binary"}}


def build_openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the gateway."""
    document = get_openapi(
        title=TITLE,
        version=__version__,
        description=DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        tags=[
            {"name": "studies", "description": "Uploads and their scores."},
            {
                "name": "uploads",
                "description": "Uploads that can be resumed: tus 1.0.0, <https://tus.io>.",
            },
            {
                "name": "results",
                "description": "Scores in standard objects: SR, PDF, FHIR, tables.",
            },
            {
                "name": "dicomweb",
                "description": "Series by STOW-RS; results by QIDO-RS and WADO-RS (PS3.18).",
            },
            {"name": "operations", "description": "For operators and monitoring."},
        ],
    )
    schemas = document["components"]["schemas"]
    schemas["ProblemResponse"] = ProblemResponse.model_json_schema(mode="serialization")
    # The framework's own shape of a 422 is never sent.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    for name, path in document["paths"].items():
        for operation in path.values():
            if name not in OPEN_PATHS:
                operation["security"] = [{scheme: []} for scheme in SECURITY_SCHEMES]
                for status, answer in problems(401, 403, 413, 429, 503).items():
                    operation["responses"].setdefault(str(status), answer)
            responses = operation["responses"]
            schema = str(responses.get("422", {}).get("content", {}).get("application/json"))
            if "HTTPValidationError" in schema:
                responses["422"] = problems(HTTPStatus.UNPROCESSABLE_ENTITY)[422]
            responses["500"] = {
                "description": "The service failed.",
                "content": problems(404)[404]["content"],
            }
    return document
