"""DICOMweb (PS3.18): results by QIDO-RS and WADO-RS, as viewers and archives ask for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, BinaryIO, Final

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.api.access import Caller, Door
from service.api.dicomweb_answers import (
    DICOM,
    DICOM_JSON,
    MultipartObjects,
    accepts_single,
    matched,
    require_json,
)
from service.api.documentation import binary, problems
from service.api.sending import open_artefact, send_artefact
from service.api.wiring import GatewayParts, Parts
from service.application.access import Principal
from service.application.artefact_names import DICOM_METADATA
from service.application.errors import ArtefactUnavailable, DicomObjectNotFound
from service.application.result_instances import (
    LARGEST_LIMIT,
    SERIES_UID,
    SOP_UID,
    STUDY_UID,
    DicomQuery,
    QueryLevel,
    StoredInstance,
)

router = APIRouter(prefix="/dicomweb", tags=["dicomweb"])

UID_PATTERN: Final = r"^[0-9.]{1,64}$"

FUZZY_WARNING: Final = (
    '299 cacscore: "The fuzzymatching parameter is not supported. Only literal matching has been '
    'performed."'
)
"""PS3.18 8.3.4.2 asks for these words."""

StudyUid = Annotated[str, Path(pattern=UID_PATTERN, description="Study Instance UID.")]
SeriesUid = Annotated[str, Path(pattern=UID_PATTERN, description="Series Instance UID.")]
SopUid = Annotated[str, Path(pattern=UID_PATTERN, description="SOP Instance UID.")]

Limit = Annotated[int, Query(ge=1, description=f"At most so many; {LARGEST_LIMIT} in any case.")]
Offset = Annotated[int, Query(ge=0, le=2**31 - 1, description="So many matches are left out.")]
IncludeField = Annotated[
    list[str] | None,
    Query(description="`all` or attributes; an answer always has all that the service keeps."),
]
Fuzzy = Annotated[
    bool, Query(description="Fuzzy matching is not supported; the header `Warning` says so.")
]

_MATCHES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The matches.",
        "content": {
            DICOM_JSON: {"schema": {"type": "array", "items": {"type": "object"}}},
        },
    },
    204: {"description": "There is no match."},
    **problems(400, 406, 422, 503),
}
_METADATA: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Every attribute of each object but its pixels and documents.",
        "content": {DICOM_JSON: {"schema": {"type": "array", "items": {"type": "object"}}}},
    },
    **problems(404, 406, 422, 503),
}
_OBJECTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The objects, each a part of application/dicom.",
        "content": {"multipart/related": binary(), DICOM: binary()},
    },
    **problems(404, 406, 422, 503),
}

_PARAMETERS: Final = frozenset({"limit", "offset", "includefield", "fuzzymatching"})


def _in_path(*names: str) -> dict[str, Any]:
    """Describe parameters of a path that routes of one function do not all have."""
    schema = {"type": "string", "pattern": UID_PATTERN}
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": schema} for name in names
        ]
    }


@router.get("/studies", summary="Find studies", response_class=Response, responses=_MATCHES)
def find_studies(  # noqa: PLR0917 - the framework passes them by name
    request: Request,
    parts: Parts,
    caller: Caller,
    limit: Limit = LARGEST_LIMIT,
    offset: Offset = 0,
    includefield: IncludeField = None,  # noqa: ARG001 - every field is included
    fuzzymatching: Fuzzy = False,
) -> Response:
    """Find studies that have results, by `PatientID`, `StudyDate`, ... (QIDO-RS).

    Keys are keywords or tags. UIDs match by list, dates and times by range, texts with `*` and `?`.
    Only results are found, not the series that were sent.
    """
    return _found(request, parts, caller, QueryLevel.STUDY, {}, limit, offset, fuzzymatching)


@router.get("/series", summary="Find series", response_class=Response, responses=_MATCHES)
@router.get(
    "/studies/{study_instance_uid}/series",
    summary="Find the series of a study",
    response_class=Response,
    responses=_MATCHES,
    operation_id="find_series_of_study",
    openapi_extra=_in_path("study_instance_uid"),
)
def find_series(  # noqa: PLR0917 - the framework passes them by name
    request: Request,
    parts: Parts,
    caller: Caller,
    limit: Limit = LARGEST_LIMIT,
    offset: Offset = 0,
    includefield: IncludeField = None,  # noqa: ARG001 - every field is included
    fuzzymatching: Fuzzy = False,
) -> Response:
    """Find series of results (QIDO-RS), also by `Modality`, `SeriesNumber`, ..."""
    uids = _uids_of_path(request)
    return _found(request, parts, caller, QueryLevel.SERIES, uids, limit, offset, fuzzymatching)


@router.get("/instances", summary="Find objects", response_class=Response, responses=_MATCHES)
@router.get(
    "/studies/{study_instance_uid}/instances",
    summary="Find the objects of a study",
    response_class=Response,
    responses=_MATCHES,
    operation_id="find_instances_of_study",
    openapi_extra=_in_path("study_instance_uid"),
)
@router.get(
    "/studies/{study_instance_uid}/series/{series_instance_uid}/instances",
    summary="Find the objects of a series",
    response_class=Response,
    responses=_MATCHES,
    operation_id="find_instances_of_series",
    openapi_extra=_in_path("study_instance_uid", "series_instance_uid"),
)
def find_instances(  # noqa: PLR0917 - the framework passes them by name
    request: Request,
    parts: Parts,
    caller: Caller,
    limit: Limit = LARGEST_LIMIT,
    offset: Offset = 0,
    includefield: IncludeField = None,  # noqa: ARG001 - every field is included
    fuzzymatching: Fuzzy = False,
) -> Response:
    """Find objects of results (QIDO-RS), also by `SOPClassUID`, `InstanceNumber`, ..."""
    uids = _uids_of_path(request)
    return _found(request, parts, caller, QueryLevel.INSTANCE, uids, limit, offset, fuzzymatching)


@router.get(
    "/studies/{study_instance_uid}/metadata",
    summary="Attributes of a study's objects",
    response_class=Response,
    responses=_METADATA,
)
def get_study_metadata(
    study_instance_uid: StudyUid, request: Request, parts: Parts, caller: Caller, door: Door
) -> Response:
    """Return the attributes of every object of a study, as DICOM JSON (WADO-RS)."""
    return _metadata(request, parts, caller, door, {STUDY_UID: study_instance_uid})


@router.get(
    "/studies/{study_instance_uid}/series/{series_instance_uid}/metadata",
    summary="Attributes of a series' objects",
    response_class=Response,
    responses=_METADATA,
)
def get_series_metadata(  # noqa: PLR0917 - the framework passes them by name
    study_instance_uid: StudyUid,
    series_instance_uid: SeriesUid,
    request: Request,
    parts: Parts,
    caller: Caller,
    door: Door,
) -> Response:
    """Return the attributes of every object of a series, as DICOM JSON (WADO-RS)."""
    uids = {STUDY_UID: study_instance_uid, SERIES_UID: series_instance_uid}
    return _metadata(request, parts, caller, door, uids)


@router.get(
    "/studies/{study_instance_uid}/series/{series_instance_uid}/instances/{sop_instance_uid}"
    "/metadata",
    summary="Attributes of an object",
    response_class=Response,
    responses=_METADATA,
)
def get_instance_metadata(  # noqa: PLR0917 - the framework passes them by name
    study_instance_uid: StudyUid,
    series_instance_uid: SeriesUid,
    sop_instance_uid: SopUid,
    request: Request,
    parts: Parts,
    caller: Caller,
    door: Door,
) -> Response:
    """Return the attributes of an object, as DICOM JSON (WADO-RS)."""
    uids = {
        STUDY_UID: study_instance_uid,
        SERIES_UID: series_instance_uid,
        SOP_UID: sop_instance_uid,
    }
    return _metadata(request, parts, caller, door, uids)


@router.get(
    "/studies/{study_instance_uid}",
    summary="Objects of a study",
    response_class=Response,
    responses=_OBJECTS,
)
def get_study_objects(
    study_instance_uid: StudyUid, request: Request, parts: Parts, caller: Caller, door: Door
) -> Response:
    """Return every object of a study: masks, report, key images, printed page (WADO-RS)."""
    return _objects(request, parts, caller, door, {STUDY_UID: study_instance_uid})


@router.get(
    "/studies/{study_instance_uid}/series/{series_instance_uid}",
    summary="Objects of a series",
    response_class=Response,
    responses=_OBJECTS,
)
def get_series_objects(  # noqa: PLR0917 - the framework passes them by name
    study_instance_uid: StudyUid,
    series_instance_uid: SeriesUid,
    request: Request,
    parts: Parts,
    caller: Caller,
    door: Door,
) -> Response:
    """Return every object of a series (WADO-RS)."""
    uids = {STUDY_UID: study_instance_uid, SERIES_UID: series_instance_uid}
    return _objects(request, parts, caller, door, uids)


@router.get(
    "/studies/{study_instance_uid}/series/{series_instance_uid}/instances/{sop_instance_uid}",
    summary="An object",
    response_class=Response,
    responses=_OBJECTS,
)
def get_instance_object(  # noqa: PLR0917 - the framework passes them by name
    study_instance_uid: StudyUid,
    series_instance_uid: SeriesUid,
    sop_instance_uid: SopUid,
    request: Request,
    parts: Parts,
    caller: Caller,
    door: Door,
) -> Response:
    """Return an object, in a multipart body or as `application/dicom` by itself (WADO-RS)."""
    uids = {
        STUDY_UID: study_instance_uid,
        SERIES_UID: series_instance_uid,
        SOP_UID: sop_instance_uid,
    }
    return _objects(request, parts, caller, door, uids)


def _uids_of_path(request: Request) -> dict[str, str]:
    tags = {"study_instance_uid": STUDY_UID, "series_instance_uid": SERIES_UID}
    return {
        tag: request.path_params[name] for name, tag in tags.items() if name in request.path_params
    }


def _found(  # noqa: PLR0917 - one caller for each level
    request: Request,
    parts: GatewayParts,
    caller: Principal,
    level: QueryLevel,
    uids: Mapping[str, str],
    limit: int,
    offset: int,
    is_fuzzy: bool,
) -> Response:
    media_type = require_json(request.headers.get("accept", "*/*"))
    keys = [pair for pair in request.query_params.multi_items() if pair[0] not in _PARAMETERS]
    query = DicomQuery.of(
        level, [*uids.items(), *keys], limit=min(limit, LARGEST_LIMIT), offset=offset
    )
    matches = parts.dicom_index.search(query, tenant=caller.tenant)
    headers = {"Warning": FUZZY_WARNING} if is_fuzzy else {}
    if not matches:
        return Response(status_code=204, headers=headers)
    root = str(request.base_url).rstrip("/") + "/dicomweb"
    body = json.dumps([matched(one, level, root) for one in matches], ensure_ascii=False)
    return Response(body, media_type=media_type, headers=headers)


def _instances(
    parts: GatewayParts, caller: Principal, door: Door, uids: Mapping[str, str], action: str
) -> list[StoredInstance]:
    """Return objects and note in the audit log whose they are."""
    found = parts.dicom_index.instances(uids, tenant=caller.tenant)
    if not found:
        raise DicomObjectNotFound
    for study_id in dict.fromkeys(one.study_id for one in found):
        door.audit.append(caller, action, study_id)
    return found


def _metadata(
    request: Request, parts: GatewayParts, caller: Principal, door: Door, uids: Mapping[str, str]
) -> Response:
    media_type = require_json(request.headers.get("accept", "*/*"))
    documents: dict[str, dict[str, Any]] = {}
    said = []
    for one in _instances(parts, caller, door, uids, "metadata of results read by DICOMweb"):
        if one.result_key not in documents:
            with open_artefact(parts, one.study_id, f"{one.result_key}/{DICOM_METADATA}") as stream:
                documents[one.result_key] = json.load(stream)
        said.append(documents[one.result_key][one.name])
    return Response(json.dumps(said, ensure_ascii=False), media_type=media_type)


def _objects(
    request: Request, parts: GatewayParts, caller: Principal, door: Door, uids: Mapping[str, str]
) -> Response:
    is_single = accepts_single(request.headers.get("accept", "*/*"))
    found = _instances(parts, caller, door, uids, "results read by DICOMweb")
    if is_single and SOP_UID in uids:
        (one,) = found
        return send_artefact(parts, one.study_id, f"{one.result_key}/{one.name}", DICOM)
    files = _opened(parts, found)
    try:
        # One that is away is known before the answer begins.
        first = next(files)
    except StopIteration as error:
        raise ArtefactUnavailable("The files of the result are gone.") from error
    body = MultipartObjects(found, chain([first], files))
    return StreamingResponse(iter(body), media_type=body.media_type)


def _opened(parts: GatewayParts, found: list[StoredInstance]) -> Iterator[BinaryIO]:
    for one in found:
        yield open_artefact(parts, one.study_id, f"{one.result_key}/{one.name}")
