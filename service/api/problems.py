"""From errors to HTTP: one table of statuses, one shape of answer (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from calcium_scoring.errors import (
    CacscoreError,
    SeriesRejected,
    UploadRejected,
    UploadTooLarge,
)
from service.api.errors import (
    ChecksumMismatch,
    MalformedForm,
    MalformedUploadRequest,
    NotAcceptable,
    TusVersionNotSupported,
    UnsupportedMediaType,
    UploadOffsetMismatch,
    UploadTimedOut,
)
from service.api.schemas import ProblemResponse
from service.application.errors import (
    ArtefactNotFound,
    CallbackNotAllowed,
    DependencyUnavailable,
    DestinationNotFound,
    DicomObjectNotFound,
    InvalidCursor,
    InvalidDicomQuery,
    InvalidTenant,
    JobGivenUp,
    JobHasEnded,
    KeyNotFound,
    NotAllowed,
    NotAuthenticated,
    OnlyLocal,
    ResultVersionNotFound,
    RetryNotPossible,
    RiskAgeOutOfRange,
    RiskInputsMissing,
    ScoreNotReady,
    SliceNotFound,
    StorageFull,
    StudyBusy,
    StudyCancelled,
    StudyFailed,
    StudyNotFound,
    TooBusy,
    TooManyRequests,
    UploadBusy,
    UploadNotFound,
    UploadTooLong,
)
from service.application.problem import Problem

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"

TUS_VERSION: Final = "1.0.0"
"""Version of the tus protocol, in every answer about resumable uploads."""

CHECKSUM_MISMATCH: Final = 460
"""A status of the tus protocol, of its extension checksum."""

STATUS_OF_ERROR: Final[dict[type[CacscoreError], int]] = {
    UploadRejected: HTTPStatus.UNPROCESSABLE_ENTITY,
    UploadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    MalformedForm: HTTPStatus.BAD_REQUEST,
    UploadTimedOut: HTTPStatus.REQUEST_TIMEOUT,
    SeriesRejected: HTTPStatus.UNPROCESSABLE_ENTITY,
    JobGivenUp: HTTPStatus.UNPROCESSABLE_ENTITY,
    StudyFailed: HTTPStatus.UNPROCESSABLE_ENTITY,
    ScoreNotReady: HTTPStatus.CONFLICT,
    StudyBusy: HTTPStatus.CONFLICT,
    JobHasEnded: HTTPStatus.CONFLICT,
    CallbackNotAllowed: HTTPStatus.UNPROCESSABLE_ENTITY,
    StudyCancelled: HTTPStatus.CONFLICT,
    RetryNotPossible: HTTPStatus.CONFLICT,
    ResultVersionNotFound: HTTPStatus.NOT_FOUND,
    StudyNotFound: HTTPStatus.NOT_FOUND,
    SliceNotFound: HTTPStatus.NOT_FOUND,
    ArtefactNotFound: HTTPStatus.NOT_FOUND,
    RiskInputsMissing: HTTPStatus.UNPROCESSABLE_ENTITY,
    RiskAgeOutOfRange: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidCursor: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    NotAllowed: HTTPStatus.FORBIDDEN,
    OnlyLocal: HTTPStatus.FORBIDDEN,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    InvalidTenant: HTTPStatus.UNPROCESSABLE_ENTITY,
    KeyNotFound: HTTPStatus.NOT_FOUND,
    MalformedUploadRequest: HTTPStatus.BAD_REQUEST,
    TusVersionNotSupported: HTTPStatus.PRECONDITION_FAILED,
    UploadOffsetMismatch: HTTPStatus.CONFLICT,
    ChecksumMismatch: CHECKSUM_MISMATCH,
    UploadNotFound: HTTPStatus.NOT_FOUND,
    UploadBusy: HTTPStatus.LOCKED,
    UploadTooLong: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    DestinationNotFound: HTTPStatus.NOT_FOUND,
    InvalidDicomQuery: HTTPStatus.BAD_REQUEST,
    DicomObjectNotFound: HTTPStatus.NOT_FOUND,
    DependencyUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    CacscoreError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The nearest class of an error's ancestry decides."""

RETRY_AFTER_S: Final[dict[type[CacscoreError], int]] = {
    ScoreNotReady: 2,
    DependencyUnavailable: 5,
    StorageFull: 60,
    TooBusy: 10,
}
"""When it makes sense to ask again; our choice."""


PROBLEM_CODE: Final = "problem_code"
"""In the state of a request: the code of the problem that answered it."""


def problem_response(
    problem: Problem, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer that shows a problem."""
    return Response(
        ProblemResponse.of(problem, status).model_dump_json(),
        status_code=status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=dict(headers or {}),
    )


def internal_error() -> Response:
    """Return the answer to an error nobody foresaw; it tells nothing about its cause."""
    return problem_response(
        Problem(
            "internal_error",
            "The service failed",
            "Something went wrong in the service; its log says where. The request may be repeated.",
        ),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )


def status_of(error: CacscoreError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS_OF_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_OF_ERROR)


def add_problem_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Answer every error with a problem, those of the framework included.

    ``routes`` are asked which methods a path has; the application hides those of its routers.
    """

    def on_http_exception(request: Request, error: Exception) -> Response:
        return _on_http_exception(request, error, routes)

    app.add_exception_handler(CacscoreError, _on_cacscore_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)


def _on_cacscore_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, CacscoreError):
        raise error
    problem = error.problem if isinstance(error, StudyFailed) else Problem.of(error)
    retry_after_s = next(
        (RETRY_AFTER_S[kind] for kind in type(error).__mro__ if kind in RETRY_AFTER_S), None
    )
    if isinstance(error, TooManyRequests):
        retry_after_s = max(1, math.ceil(error.retry_after_s))
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    request.state.problem_code = problem.code
    if request.scope["path"].startswith("/uploads"):
        headers["Tus-Resumable"] = TUS_VERSION
    if isinstance(error, TusVersionNotSupported):
        headers["Tus-Version"] = TUS_VERSION
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(problem, status_of(error), headers)


def _on_http_exception(request: Request, error: Exception, routes: Sequence[BaseRoute]) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: "There is nothing at this path; see /docs for what there is.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This path does not know this method; see header Allow.",
    }
    headers = dict(error.headers or {})
    methods = _methods_of_path(request, routes)
    if status is HTTPStatus.METHOD_NOT_ALLOWED and methods:
        headers["Allow"] = ", ".join(methods)
    request.state.problem_code = status.name.lower()
    return problem_response(
        Problem(status.name.lower(), status.phrase, details.get(status, f"{status.description}.")),
        status,
        headers,
    )


def _methods_of_path(request: Request, routes: Sequence[BaseRoute]) -> list[str]:
    """Return every method that the path answers; the router names those of its first route."""
    path = request.scope["path"]
    matching = [
        route for route in routes if isinstance(route, Route) and route.path_regex.match(path)
    ]
    # The path of an export has the form of a study's too, and is none.
    matching = [one for one in matching if one.path == path] or matching
    # Of routes that the API document does not name GET and HEAD answer; others refuse.
    return sorted(
        {
            method
            for one in matching
            for method in one.methods or ()
            if one.include_in_schema or method in {"GET", "HEAD"}
        }
    )


def _on_invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    # The values that were sent are left out: they may be anything.
    complaints = [
        {"location": [str(part) for part in one["loc"]], "message": str(one["msg"])}
        for one in error.errors()
    ]
    request.state.problem_code = "invalid_request"
    return problem_response(
        Problem(
            "invalid_request",
            "A parameter is not valid",
            "; ".join(f"{'.'.join(one['location'])}: {one['message']}" for one in complaints) + ".",
            {"complaints": complaints},
        ),
        HTTPStatus.UNPROCESSABLE_ENTITY,
    )
