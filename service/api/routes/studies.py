"""Studies: send one, ask how far it is, fetch what came of it, delete it."""

from __future__ import annotations

import json
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.api.access import Caller, Door, caller_of
from service.api.documentation import SUBMIT_BODY, binary, problems
from service.api.errors import NotAcceptable
from service.api.negotiation import preferred_type
from service.api.problems import RETRY_AFTER_S
from service.api.schemas import (
    CalciumReportResponse,
    CategoriesResponse,
    RiskRequest,
    RiskResponse,
    StudyPageResponse,
    StudyResponse,
)
from service.api.sending import open_artefact as _open
from service.api.sending import send_artefact as _send
from service.api.uploads import received_upload
from service.api.wiring import GatewayParts, Parts
from service.application.artefact_names import MASK_DICOM, MASK_NIFTI, PREVIEW, REPORT
from service.application.categories import categories_document, facts_of_report
from service.application.delete_study import delete_study
from service.application.errors import ScoreNotReady, SliceNotFound
from service.application.jobs import JobRequest, Priority
from service.application.preview import render_slice
from service.application.report_document import INTENDED_USE
from service.application.submit_study import refuse_without_room, submit_study
from service.application.webhooks import LONGEST_URL

router = APIRouter(prefix="/studies", tags=["studies"])

DICOM: Final = "application/dicom"
GZIP: Final = "application/gzip"
PNG: Final = "image/png"

StudyId = Annotated[
    str, Path(description="`id` of the study.", examples=["4oymiquy7qobjgx36tejs35zeq"])
]

Version = Annotated[
    int | None,
    Query(ge=1, le=2**31 - 1, description="Version of the result; the newest one by default."),
]


class MaskFormat(StrEnum):
    """File format of a mask."""

    DICOM = "dicom"
    NIFTI = "nifti"


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    summary="Send a study",
    openapi_extra={"requestBody": SUBMIT_BODY},
    responses={
        202: {
            "description": "Accepted, or known already: the same bytes are the same study.",
            "headers": {
                "Location": {
                    "description": "Path of the study.",
                    "schema": {"type": "string"},
                }
            },
        },
        **problems(400, 408, 413, 415, 422, 503),
    },
)
async def submit(  # noqa: PLR0917 - the framework passes them by name
    request: Request,
    response: Response,
    parts: Parts,
    door: Door,
    priority: Annotated[
        Priority, Query(description="`stat` is begun before every `routine` study.")
    ] = Priority.ROUTINE,
    callback_url: Annotated[
        str | None,
        Query(
            max_length=LONGEST_URL,
            description="Is sent a signed POST (Standard Webhooks) when the study has ended; the "
            "operator allows URLs.",
        ),
    ] = None,
) -> StudyResponse:
    """Send a zip archive with the DICOM files of one study.

    The archive is checked at once: `not_a_zip`, `unsafe_archive`, `upload_too_large`,
    `no_dicom_found`. Which series is scored, and whether it can be measured, is found later: see
    the status of the study. The same bytes again return the same id and start nothing; a study that
    waits as `routine` becomes `stat` if that is asked for now.
    """
    if callback_url is not None:
        parts.webhook_policy.check(callback_url)
    caller = caller_of(request)
    await parts.admission.work(_refuse_without_room, parts=parts)
    async with (
        door.uploads.taken_by(caller),
        parts.admission.place(),
        received_upload(request, parts.artefacts, parts.upload_limits) as upload,
    ):
        parts.metrics.upload_received(upload.size_bytes)
        study = await parts.admission.work(
            submit_study,
            upload=upload,
            store=parts.store,
            artefacts=parts.artefacts,
            queue=parts.queue,
            limits=parts.archive_limits,
            tenant=caller.tenant,
            request=JobRequest(priority, callback_url=callback_url),
        )
    await run_in_threadpool(door.audit.append, caller, "study received", study.study_id)
    response.headers["Location"] = f"/studies/{study.study_id}"
    return StudyResponse.of(study)


@router.get("", summary="List studies", responses=problems(422, 503))
def list_studies(
    parts: Parts,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=200, description="At most so many studies.")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next_cursor` of the page before.")
    ] = None,
) -> StudyPageResponse:
    """List studies, the newest first."""
    return StudyPageResponse.of(parts.store.page(limit=limit, cursor=cursor, tenant=caller.tenant))


@router.get("/{study_id}", summary="Status of a study", responses=problems(404, 503))
def get_study(study_id: StudyId, parts: Parts) -> StudyResponse:
    """Say how far the scoring of a study has come, and why it failed if it did."""
    return StudyResponse.of(parts.store.find(study_id))


@router.get(
    "/{study_id}/score",
    summary="Score of a study",
    response_model=CalciumReportResponse,
    responses={
        202: {
            "description": "Not scored yet; ask again after the seconds of `Retry-After`.",
            "model": StudyResponse,
            "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
        },
        **problems(404, 422, 503),
    },
)
def get_score(study_id: StudyId, parts: Parts, version: Version = None) -> Response:
    """Return the report of a study.

    While there is no result yet the answer is 202; a study that cannot be scored is a 422 problem
    whose `code` is the reason. A study that is scored once more keeps its score until then.
    """
    try:
        result = parts.store.result(study_id, version)
    except ScoreNotReady:
        return Response(
            StudyResponse.of(parts.store.find(study_id)).model_dump_json(),
            status_code=HTTPStatus.ACCEPTED,
            media_type="application/json",
            headers={"Retry-After": str(RETRY_AFTER_S[ScoreNotReady])},
        )
    return _send(parts, study_id, f"{result.result_key}/{REPORT}", "application/json")


@router.post(
    "/{study_id}/risk",
    summary="What the score means for the patient",
    openapi_extra={
        "requestBody": {
            "description": "What is known of the patient; whatever is not may be left out."
        }
    },
    responses=problems(404, 409, 422, 503),
)
def post_risk(study_id: StudyId, known: RiskRequest, parts: Parts) -> RiskResponse:
    """Compare the score of a study with people like the patient, and say the ten-year risk.

    Age and sex are those of the header unless they are given. With race or ethnicity there is a
    MESA percentile; with risk factors as well, the MESA ten-year risk of coronary heart disease:
    `risk_inputs_missing` and `risk_age_out_of_range` (45 to 85 years) say why not. Nothing that is
    sent is stored or logged.
    """
    result = parts.store.result(study_id)
    with _open(parts, study_id, f"{result.result_key}/{REPORT}") as stream:
        report = json.load(stream)
    return RiskResponse(
        intended_use=INTENDED_USE,
        agatston_score=report["agatston_score"],
        categories=CategoriesResponse.model_validate(
            categories_document(
                report["agatston_score"],
                report["vessel_count"],
                facts_of_report(report),
                known.facts(),
            )
        ),
    )


@router.get(
    "/{study_id}/mask",
    summary="Calcium mask of a study",
    response_class=Response,
    responses={
        200: {
            "description": "The mask on the grid of the scored series.",
            "content": {DICOM: binary(), GZIP: binary()},
        },
        **problems(404, 406, 409, 422, 503),
    },
)
def get_mask(
    study_id: StudyId,
    request: Request,
    parts: Parts,
    mask_format: Annotated[
        MaskFormat | None,
        Query(alias="format", description="Overrides the header `Accept`."),
    ] = None,
    version: Version = None,
) -> Response:
    """Return the calcium mask as DICOM SEG (`application/dicom`) or NIfTI (`application/gzip`)."""
    accepted = request.headers.get("accept", "*/*")
    media_type = (
        preferred_type(accepted, (DICOM, GZIP))
        if mask_format is None
        else {MaskFormat.DICOM: DICOM, MaskFormat.NIFTI: GZIP}[mask_format]
    )
    if media_type is None:
        raise NotAcceptable(
            f"The mask is available as {DICOM} (DICOM SEG) and {GZIP} (NIfTI).",
            available=[DICOM, GZIP],
        )
    name = MASK_DICOM if media_type == DICOM else MASK_NIFTI
    result = parts.store.result(study_id, version)
    return _send(
        parts,
        study_id,
        f"{result.result_key}/{name}",
        media_type,
        file_name=f"{study_id}-{name}",
    )


@router.get(
    "/{study_id}/slices/{slice_index}.png",
    summary="Picture of a slice",
    response_class=Response,
    responses={
        200: {
            "description": "The slice in a mediastinal window, calcium coloured.",
            "content": {PNG: binary()},
        },
        **problems(404, 409, 422, 503),
    },
)
def get_slice(
    study_id: StudyId,
    slice_index: Annotated[int, Path(description="Index of the slice; 0 is the lowest.")],
    parts: Parts,
    version: Version = None,
) -> Response:
    """Return a slice of the scored series with its calcium marked."""
    result = parts.store.result(study_id, version)
    if not 0 <= slice_index < result.slice_count:
        raise SliceNotFound(slice_index, result.slice_count)
    with _open(parts, study_id, f"{result.result_key}/{PREVIEW}") as preview:
        return Response(render_slice(preview, slice_index), media_type=PNG)


@router.delete(
    "/{study_id}",
    status_code=HTTPStatus.NO_CONTENT,
    response_class=Response,
    summary="Delete a study",
    responses=problems(404, 503),
)
def delete(study_id: StudyId, parts: Parts) -> None:
    """Remove upload, results and record of a study; a worker that is busy with it stops."""
    delete_study(study_id, store=parts.store, artefacts=parts.artefacts)


def _refuse_without_room(parts: GatewayParts) -> None:
    """Raise StorageFull or TooBusy where an upload had better come later."""
    refuse_without_room(parts.artefacts, parts.operations.queued_jobs, parts.queue_length)
