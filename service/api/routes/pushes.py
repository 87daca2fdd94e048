"""Sending the results of a study to a destination, once more or for the first time."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter

from service.api.documentation import problems
from service.api.routes.studies import StudyId
from service.api.schemas import PushRequest, StudyResponse
from service.api.wiring import Parts
from service.application.errors import DestinationNotFound

router = APIRouter(prefix="/studies/{study_id}", tags=["results"])


@router.post(
    "/push",
    status_code=HTTPStatus.ACCEPTED,
    summary="Send the results of a study to a destination",
    openapi_extra={"requestBody": {"description": "Which destination."}},
    responses=problems(400, 404, 409, 422, 503),
)
def push(study_id: StudyId, wish: PushRequest, parts: Parts) -> StudyResponse:
    """Send the newest result to a destination of the settings, at once.

    Asked again it is sent again; the objects have the same UIDs, so the destination has each once.
    How far it is stands in `pushes` of the study.
    """
    if wish.to not in parts.destination_names:
        raise DestinationNotFound(list(parts.destination_names))
    parts.store.result(study_id)
    parts.push_outbox.request(study_id, wish.to)
    return StudyResponse.of(parts.store.find(study_id))
