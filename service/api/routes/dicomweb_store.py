"""STOW-RS (PS3.18 10.5): instances come in, and a complete request is a complete study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from calcium_scoring.upload.file_head import FileHead, read_file_head
from calcium_scoring.upload.study_uid import read_study_instance_uid
from service.api.access import Door, caller_of
from service.api.dicomweb_answers import DICOM_JSON, require_json
from service.api.documentation import problems
from service.api.multipart_related import DICOM, MULTIPART, received_parts
from service.api.routes.dicomweb import StudyUid
from service.api.wiring import Parts
from service.application.jobs import StudyJob
from service.application.received_instances import Reception, submit_instances

router = APIRouter(prefix="/dicomweb", tags=["dicomweb"])

CANNOT_UNDERSTAND: Final = 0xC000
"""No DICOM file, or none that names its study (PS3.4 table B.2-1)."""

PROCESSING_FAILURE: Final = 0x0110
"""It belongs to another study than the URL names (PS3.7 annex C)."""

_FAILED_SEQUENCE, _REFERENCED_SEQUENCE, _OTHER_FAILURES = "00081198", "00081199", "0008119A"
_RETRIEVE_URL, _FAILURE_REASON = "00081190", "00081197"
_CLASS_UID, _INSTANCE_UID = "00081150", "00081155"

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": f"A part of {DICOM} for each instance; the request is the whole study.",
        "content": {MULTIPART: {"schema": {"type": "string", "contentEncoding": "binary"}}},
    }
}
_STATUSES: Final = {
    200: "All instances were taken; header `Link` names what shows the scoring.",
    202: "Some instances were taken; the others are in FailedSOPSequence.",
    409: "No instance was taken; the reasons are in FailedSOPSequence.",
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    **{
        status: {
            "description": words,
            "content": {DICOM_JSON: {"schema": {"type": "object"}}},
        }
        for status, words in _STATUSES.items()
    },
    **problems(400, 406, 408, 413, 415, 422, 503),
}


@router.post(
    "/studies",
    summary="Store studies",
    openapi_extra=_BODY,
    response_class=Response,
    responses=_ANSWERS,
)
async def store_studies(request: Request, parts: Parts, door: Door) -> Response:
    """Take the instances of studies and have each study scored (STOW-RS).

    The same instances again, in any order and by any sender, are the same study: nothing is scored
    twice.
    """
    return await _store(request, parts, door, None)


@router.post(
    "/studies/{study_instance_uid}",
    summary="Store a study",
    openapi_extra=_BODY,
    response_class=Response,
    responses=_ANSWERS,
)
async def store_study(
    study_instance_uid: StudyUid, request: Request, parts: Parts, door: Door
) -> Response:
    """Take the instances of one study and have it scored; instances of others fail (STOW-RS)."""
    return await _store(request, parts, door, study_instance_uid)


@dataclass(frozen=True)
class _Part:
    """An instance of a request; ``failure_reason`` is None where it is taken."""

    path: Path
    head: FileHead | None
    study_instance_uid: str | None
    failure_reason: int | None

    @classmethod
    def of(cls, path: Path, wanted_study: str | None) -> _Part:
        head = read_file_head(path)
        study = None if head is None else read_study_instance_uid(path, head)
        if head is None or study is None:
            return cls(path, head, None, CANNOT_UNDERSTAND)
        is_wanted = wanted_study in {None, study}
        return cls(path, head, study, None if is_wanted else PROCESSING_FAILURE)


async def _store(request: Request, parts: Parts, door: Door, wanted_study: str | None) -> Response:
    media_type = require_json(request.headers.get("accept", "*/*"))
    caller = caller_of(request)
    reception = Reception(
        parts.store,
        parts.artefacts,
        parts.queue,
        door.audit,
        parts.archive_limits,
        parts.operations.queued_jobs,
        parts.queue_length,
    )
    await parts.admission.work(reception.check_room)
    async with (
        door.uploads.taken_by(caller),
        parts.admission.place(),
        received_parts(
            request, parts.artefacts, parts.upload_limits, parts.archive_limits
        ) as files,
    ):
        looked_at = await parts.admission.work(
            lambda: [_Part.of(file, wanted_study) for file in files]
        )
        taken: dict[str, list[Path]] = {}
        for one in looked_at:
            if one.failure_reason is None and one.study_instance_uid is not None:
                taken.setdefault(one.study_instance_uid, []).append(one.path)
        studies = [
            await parts.admission.work(
                submit_instances, instances=paths, reception=reception, principal=caller
            )
            for paths in taken.values()
        ]
    return _answer(looked_at, studies, media_type)


def _answer(parts: Sequence[_Part], studies: Sequence[StudyJob], media_type: str) -> Response:
    """Return the response dataset (PS3.18 table 10.5.3-2)."""
    # What was sent is not given out again: results are, by WADO-RS, once there are any.
    said: dict[str, Any] = {_RETRIEVE_URL: {"vr": "UR"}}
    stored = [_reference(one.head) for one in parts if one.failure_reason is None]
    failed = [
        _reference(one.head, one.failure_reason)
        for one in parts
        if one.failure_reason is not None and one.head is not None
    ]
    other = [
        {_FAILURE_REASON: {"vr": "US", "Value": [one.failure_reason]}}
        for one in parts
        if one.head is None
    ]
    sequences = (
        (_FAILED_SEQUENCE, failed),
        (_REFERENCED_SEQUENCE, stored),
        (_OTHER_FAILURES, other),
    )
    said |= {tag: {"vr": "SQ", "Value": items} for tag, items in sequences if items}
    status = HTTPStatus.OK
    if len(stored) < len(parts):
        status = HTTPStatus.ACCEPTED if stored else HTTPStatus.CONFLICT
    links = ", ".join(f'</studies/{one.study_id}>; rel="related"' for one in studies)
    return Response(
        json.dumps(said),
        status_code=status,
        media_type=media_type,
        headers={"Link": links} if links else {},
    )


def _reference(head: FileHead | None, failure_reason: int | None = None) -> dict[str, Any]:
    if head is None:
        raise ValueError("An instance without a head cannot be referred to.")
    item: dict[str, Any] = {
        _CLASS_UID: {"vr": "UI", "Value": [head.sop_class_uid]},
        _INSTANCE_UID: {"vr": "UI", "Value": [head.sop_instance_uid]},
    }
    if failure_reason is None:
        item[_RETRIEVE_URL] = {"vr": "UR"}
    else:
        item[_FAILURE_REASON] = {"vr": "US", "Value": [failure_reason]}
    return dict(sorted(item.items()))
