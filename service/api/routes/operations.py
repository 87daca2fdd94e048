"""For operators: is it alive, is it ready, which version is it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Response

from calcium_scoring.version import __version__
from service.api.schemas import (
    CheckResponse,
    HealthResponse,
    ReadinessResponse,
    VersionResponse,
)
from service.api.wiring import Parts
from service.application.errors import DependencyUnavailable, ModelUnavailable
from service.application.report_document import INTENDED_USE, SCHEMA_VERSION

router = APIRouter(tags=["operations"])

CheckName = Literal["database", "broker", "artefact_folder", "model_file"]


@router.get("/healthz", summary="Is the gateway alive?")
async def healthz() -> HealthResponse:
    """Answer; a gateway that does not should be restarted."""
    return HealthResponse(status="ok")


@router.get(
    "/readyz",
    summary="Can studies be accepted and scored?",
    responses={503: {"model": ReadinessResponse, "description": "A dependency is missing."}},
)
def readyz(response: Response, parts: Parts) -> ReadinessResponse:
    """Check every dependency; 503 where one is missing, and the answer says which and why."""

    def model_file_exists() -> None:
        if not parts.model_path.is_file():
            raise ModelUnavailable("There is no model file at CACSCORE_MODEL_PATH.")

    checks = [
        _check("database", parts.store.check),
        _check("broker", parts.queue.depth),
        _check("artefact_folder", parts.artefacts.check),
        _check("model_file", model_file_exists),
    ]
    is_ready = all(check.is_ok for check in checks)
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return ReadinessResponse(is_ready=is_ready, checks=checks)


@router.get("/version", summary="Which code answers?")
async def version() -> VersionResponse:
    """Return the version of the code and of the report schema."""
    return VersionResponse(
        service_version=__version__, schema_version=SCHEMA_VERSION, intended_use=INTENDED_USE
    )


def _check(name: CheckName, test: Callable[[], object]) -> CheckResponse:
    try:
        test()
    except DependencyUnavailable as error:
        return CheckResponse(name=name, is_ok=False, detail=error.message)
    return CheckResponse(name=name, is_ok=True, detail=None)
