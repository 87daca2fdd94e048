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
    WorkerResponse,
)
from service.api.wiring import Parts
from service.application.errors import (
    DependencyUnavailable,
    ModelUnavailable,
    WorkerUnavailable,
)
from service.application.operations import SeenWorker, worker_problem
from service.application.report_terms import INTENDED_USE, SCHEMA_VERSION

router = APIRouter(tags=["operations"])

CheckName = Literal["database", "broker", "artefact_folder", "model_file", "worker"]


# Load balancers ask with HEAD; the server leaves the body out.
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Is the gateway alive?")
async def healthz() -> HealthResponse:
    """Answer; a gateway that does not should be restarted."""
    return HealthResponse(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Can uploads be accepted, and are waiting studies taken up?",
    responses={503: {"model": ReadinessResponse, "description": "A check failed."}},
)
def readyz(response: Response, parts: Parts) -> ReadinessResponse:
    """Check what an upload needs; 503 where something is missing, and the answer says what.

    `database`, `broker` and `artefact_folder` are used; `model_file` is looked for on the machine
    of the gateway, not loaded. `worker` is what the workers say of themselves every few seconds:
    it fails while none has loaded its model, once all have been silent for CACSCORE_WORKER_LOST_S,
    and once a study has waited for CACSCORE_UNATTENDED_S while no worker scored anything.
    """
    seen: list[SeenWorker] = []
    free_bytes: list[int] = []

    def model_file_exists() -> None:
        if not parts.model_path.is_file():
            raise ModelUnavailable("There is no model file at CACSCORE_MODEL_PATH.")

    def room_is_left() -> None:
        free_bytes.append(parts.artefacts.free_bytes())
        parts.artefacts.check()

    def studies_are_taken_up() -> None:
        seen.extend(parts.operations.workers())
        problem = worker_problem(seen)
        if problem is not None:
            raise WorkerUnavailable(problem)
        if parts.store.is_unattended(parts.unattended_after):
            raise WorkerUnavailable(
                f"A study has waited for more than {parts.unattended_after.total_seconds():g} s "
                "and no worker is scoring anything; is one running?"
            )

    checks = [
        _check("database", parts.store.check),
        _check("broker", parts.queue.depth),
        _check("artefact_folder", room_is_left),
        _check("model_file", model_file_exists),
        _check("worker", studies_are_taken_up),
    ]
    is_ready = all(check.is_ok for check in checks)
    if not is_ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return ReadinessResponse(
        is_ready=is_ready,
        checks=checks,
        free_bytes=free_bytes[0] if free_bytes else None,
        workers=[WorkerResponse.of(one) for one in seen],
    )


@router.head("/version", include_in_schema=False)
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
