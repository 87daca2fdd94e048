"""What came of a study, in standard objects: reports, every file, and all studies as a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from enum import StrEnum
from http import HTTPStatus
from typing import IO, Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.api.access import Caller
from service.api.documentation import binary, problems
from service.api.errors import NotAcceptable
from service.api.negotiation import preferred_type
from service.api.schemas import ResponseModel
from service.api.sending import open_artefact, send_artefact
from service.api.wiring import GatewayParts, Parts
from service.application import artefact_names as names
from service.application.csv_row import column_names, csv_lines
from service.application.errors import ArtefactNotFound, ArtefactUnavailable
from service.application.export_studies import exported_rows

router = APIRouter(prefix="/studies", tags=["results"])

PARQUET: Final = "application/vnd.apache.parquet"

_CHUNK_BYTES: Final = 256 * 1024
_FIRST_FILES: Final = (names.REPORT, names.MASK_DICOM, names.MASK_NIFTI)
"""What results of older versions have, which left no record of their files."""

StudyId = Annotated[
    str, Path(description="`id` of the study.", examples=["4oymiquy7qobjgx36tejs35zeq"])
]


class ReportFormat(StrEnum):
    """Form of a report."""

    JSON = "json"
    SR = "sr"
    PDF = "pdf"
    FHIR = "fhir"
    CSV = "csv"


class ExportFormat(StrEnum):
    """Form of a table."""

    CSV = "csv"
    PARQUET = "parquet"


REPORTS: Final = {
    names.JSON: names.REPORT,
    names.DICOM: names.REPORT_SR,
    names.PDF: names.REPORT_PDF,
    names.FHIR: names.REPORT_FHIR,
    names.CSV: names.REPORT_CSV,
}
"""The file of each media type, the preferred first."""

_TYPE_OF_FORMAT: Final = {
    ReportFormat.JSON: names.JSON,
    ReportFormat.SR: names.DICOM,
    ReportFormat.PDF: names.PDF,
    ReportFormat.FHIR: names.FHIR,
    ReportFormat.CSV: names.CSV,
}


class ArtefactResponse(ResponseModel):
    """A file of a result."""

    name: str
    """`report.json`, `mask.dcm`, `report.dcm` (SR), `key-image-1.dcm`, `provenance.json`, …"""
    media_type: str
    """`application/dicom`, `application/json`, `application/pdf`, `application/fhir+json`, …"""
    size_bytes: int
    """Size of the file."""
    sha256: str
    """SHA-256 of the file, in hex."""
    href: str
    """Path from which it is fetched."""


class ArtefactsResponse(ResponseModel):
    """The files of a result."""

    artifacts: list[ArtefactResponse]
    """Each file once; the record of where they come from is the last."""


@router.api_route("/export", methods=["DELETE"], include_in_schema=False)
def refuse_to_delete_export() -> None:
    """Answer 405: the path of a study has the same form, and this is none."""
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)


@router.get(
    "/export",
    summary="All scores as a table",
    response_class=Response,
    responses={
        200: {
            "description": "One row for each scored study, the newest first.",
            "content": {names.CSV: {"schema": {"type": "string"}}, PARQUET: binary()},
        },
        **problems(406, 422, 503),
    },
)
def get_export(
    parts: Parts,
    caller: Caller,
    table_format: Annotated[
        ExportFormat, Query(alias="format", description="`csv` (RFC 4180) or `parquet`.")
    ] = ExportFormat.CSV,
) -> StreamingResponse:
    """Return one row for each scored study: scores, arteries, conventions, categories, scan, model.

    Numbers are unrounded and carry their unit in the name of the column; what is not known is
    empty. `parquet` needs pyarrow beside the gateway.
    """
    rows, columns = exported_rows(parts.store, parts.artefacts, caller.tenant), column_names()
    name = f"cacscore-studies.{table_format.value}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if table_format is ExportFormat.CSV:
        return StreamingResponse(
            csv_lines(rows, columns), media_type=f"{names.CSV}; charset=utf-8", headers=headers
        )
    try:
        # Only where it is asked for: pyarrow is optional.
        from service.api.parquet import write_parquet  # noqa: PLC0415

        file = write_parquet(rows, columns)
    except ModuleNotFoundError as error:
        raise NotAcceptable(
            "This service has no pyarrow and cannot write Parquet; CSV is available.",
            available=[names.CSV],
        ) from error
    return StreamingResponse(_chunks(file), media_type=PARQUET, headers=headers)


@router.get(
    "/{study_id}/report",
    summary="Report of a study",
    response_class=Response,
    responses={
        200: {
            "description": "The report: JSON, DICOM SR, PDF, FHIR R4 bundle or CSV.",
            "content": {
                names.JSON: {"schema": {"$ref": "#/components/schemas/CalciumReportResponse"}},
                names.DICOM: binary(),
                names.PDF: binary(),
                names.FHIR: {"schema": {"type": "object"}},
                names.CSV: {"schema": {"type": "string"}},
            },
        },
        **problems(404, 406, 409, 422, 503),
    },
)
def get_report(
    study_id: StudyId,
    request: Request,
    parts: Parts,
    report_format: Annotated[
        ReportFormat | None,
        Query(alias="format", description="Overrides the header `Accept`."),
    ] = None,
) -> Response:
    """Return the report as `Accept` asks for it.

    `application/json`, `application/dicom` (Comprehensive 3D SR, TID 1500), `application/pdf`,
    `application/fhir+json` (R4 Bundle of DiagnosticReport and Observations) or `text/csv`.
    """
    media_type = (
        preferred_type(request.headers.get("accept", "*/*"), tuple(REPORTS))
        if report_format is None
        else _TYPE_OF_FORMAT[report_format]
    )
    if media_type is None:
        raise NotAcceptable(
            f"The report is available as {', '.join(REPORTS)}.", available=list(REPORTS)
        )
    result = parts.store.result(study_id)
    name = REPORTS[media_type]
    return send_artefact(
        parts,
        study_id,
        f"{result.result_key}/{name}",
        media_type,
        file_name=None if media_type == names.JSON else f"{study_id}-{name}",
    )


@router.get(
    "/{study_id}/artifacts",
    summary="Files of a study",
    responses=problems(404, 409, 422, 503),
)
def get_artifacts(study_id: StudyId, parts: Parts) -> ArtefactsResponse:
    """List every file of the result with media type, size, digest and path.

    `provenance.json` says where they come from, and is signed.
    """
    result = parts.store.result(study_id)
    return ArtefactsResponse(
        artifacts=[
            ArtefactResponse(**one, href=f"/studies/{study_id}/artifacts/{one['name']}")
            for one in _files_of(parts, study_id, result.result_key)
        ]
    )


@router.get(
    "/{study_id}/artifacts/{name}",
    summary="A file of a study",
    response_class=Response,
    responses={
        200: {
            "description": "The file.",
            "content": {
                kind: binary()
                for kind in (names.DICOM, names.PDF, names.GZIP, names.FHIR, names.CSV, names.JSON)
            },
        },
        **problems(404, 409, 422, 503),
    },
)
def get_artifact(
    study_id: StudyId,
    name: Annotated[str, Path(description="`name` of the file.", examples=["report.dcm"])],
    parts: Parts,
) -> Response:
    """Return one file of the list of files."""
    result = parts.store.result(study_id)
    files = {one["name"]: one for one in _files_of(parts, study_id, result.result_key)}
    if name not in files:
        raise ArtefactNotFound(sorted(files))
    return send_artefact(
        parts,
        study_id,
        f"{result.result_key}/{name}",
        files[name]["media_type"],
        file_name=f"{study_id}-{name}",
    )


def _files_of(parts: GatewayParts, study_id: str, result_key: str) -> list[dict[str, Any]]:
    """Return name, media type, size and digest of each file, as the record of the result has them.

    The record itself, and the files of a result that has none, are measured here.
    """
    try:
        with parts.artefacts.open(f"{result_key}/{names.PROVENANCE}") as stream:
            record = json.load(stream)
    except ArtefactUnavailable:
        return [_measured(parts, study_id, result_key, name) for name in _FIRST_FILES]
    return [*record["artefacts"], _measured(parts, study_id, result_key, names.PROVENANCE)]


def _measured(parts: GatewayParts, study_id: str, result_key: str, name: str) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open_artefact(parts, study_id, f"{result_key}/{name}") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
        size_bytes = stream.tell()
    return {
        "name": name,
        "media_type": names.media_type(name),
        "size_bytes": size_bytes,
        "sha256": digest.hexdigest(),
    }


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
