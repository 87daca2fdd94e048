"""What can be done about the scoring of a study: watch, cancel, retry, score again."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from service.api.documentation import problems
from service.api.events import EVENT_SCHEMA, EVENT_STREAM, event_number, event_stream
from service.api.routes.studies import StudyId
from service.api.schemas import (
    JobEventResponse,
    RerunRequest,
    ResultVersionsResponse,
    StudyResponse,
)
from service.api.wiring import Parts
from service.application.submit_study import announce

router = APIRouter(prefix="/studies/{study_id}", tags=["studies"])

_LOCATION: Final = {
    "Location": {
        "description": "Where the score of the new job will be.",
        "schema": {"type": "string"},
    }
}


@router.get(
    "/events",
    summary="Watch a study",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events; the data of each is a `JobEventResponse`.",
            "model": JobEventResponse,
            "content": {EVENT_STREAM: {"schema": EVENT_SCHEMA}},
        },
        204: {"description": "The study has ended, and the client has seen its last event."},
        **problems(404, 422, 503),
    },
)
async def watch(
    study_id: StudyId,
    parts: Parts,
    last_event_id: Annotated[
        str | None,
        Header(description="`id` of the last event that was seen; the stream goes on after it."),
    ] = None,
) -> Response:
    """Tell what happens to a study, from its upload on, until its job has ended.

    Each event has an `id`, the name `study`, and as data its status, stage, progress and attempt.
    A comment is sent every 15 s. A browser's `EventSource` connects again by itself, misses nothing
    and stops at the 204.
    """
    after = event_number(last_event_id)
    events = await run_in_threadpool(parts.store.events, study_id, after=after)
    if not events:
        study = await run_in_threadpool(parts.store.find, study_id)
        if study.status.is_final:
            return Response(status_code=HTTPStatus.NO_CONTENT)
    return StreamingResponse(
        event_stream(parts.store, study_id, events, after),
        media_type=EVENT_STREAM,
        # Proxies of the nginx kind would keep the events back.
        headers={"X-Accel-Buffering": "no"},
    )


@router.post("/cancel", summary="Cancel the scoring of a study", responses=problems(404, 409, 503))
def cancel(study_id: StudyId, parts: Parts) -> StudyResponse:
    """End the job of a study: at once while it waits, at the worker's next step while it runs.

    The upload and earlier results stay; `retry` begins again. Cancelling twice is cancelling once;
    a study that has succeeded or failed answers `job_has_ended`.
    """
    return StudyResponse.of(parts.store.cancel(study_id))


@router.post(
    "/retry",
    status_code=HTTPStatus.ACCEPTED,
    summary="Score a failed or cancelled study again",
    responses={202: {"headers": _LOCATION}, **problems(404, 409, 503)},
)
def retry(study_id: StudyId, response: Response, parts: Parts) -> StudyResponse:
    """Queue a new job like the last one, which was cancelled, or given up by the service.

    A refused study answers `retry_not_possible`: its upload is not kept, and the same files would
    be refused again.
    """
    study = parts.store.retry(study_id)
    announce(study, store=parts.store, queue=parts.queue)
    response.headers["Location"] = f"/studies/{study_id}/score?version={study.job_number}"
    return StudyResponse.of(study)


@router.post(
    "/rerun",
    status_code=HTTPStatus.ACCEPTED,
    summary="Score a study once more",
    openapi_extra={
        "requestBody": {"description": "What is to be different; `{}` for nothing but a new run."}
    },
    responses={202: {"headers": _LOCATION}, **problems(400, 404, 409, 422, 503)},
)
def rerun(study_id: StudyId, wish: RerunRequest, response: Response, parts: Parts) -> StudyResponse:
    """Queue a new job, by the model that the workers have now, with another protocol if you wish.

    Its result is a version of its own; earlier ones stay readable with `?version=`, see `results`.
    Until it is there, the score of the study is the latest one that there is.
    """
    if wish.callback_url is not None:
        parts.webhook_policy.check(wish.callback_url)
    study = parts.store.rerun(study_id, wish.request())
    announce(study, store=parts.store, queue=parts.queue)
    response.headers["Location"] = f"/studies/{study_id}/score?version={study.job_number}"
    return StudyResponse.of(study)


@router.get("/results", summary="All results of a study", responses=problems(404, 503))
def results(study_id: StudyId, parts: Parts) -> ResultVersionsResponse:
    """List the versions of the result, the newest first, with the model that made each."""
    return ResultVersionsResponse.of(parts.store.results(study_id))
