"""What can go wrong when a service is asked, as one tree.

```text
ClientError
├── InvalidUrl               the address of the service is no URL
├── NothingToSend            a folder holds no files
├── Unreachable              nobody answered: no such host, refused, cut, too slow
├── UnexpectedAnswer         somebody answered, but not as a cacscore service does
├── WaitTimedOut             the study was not scored in the time that was given; it goes on
├── DigestMismatch           a file arrived with other bytes than the service says it has
└── ServiceProblem           the service said why not (RFC 9457): status, code, detail, evidence
    ├── Refused                what was sent cannot be used or scored; the code says why
    ├── StudyGivenUp           the service could not finish a study that may be sound; retry it
    ├── ScoreNotReady          the study is still queued or running
    ├── Conflict               the study is in no state for this, such as cancelled
    ├── NotFound               no such study, file, slice or version
    ├── NotAuthenticated       a key or token is needed, or this one is not known
    ├── NotAllowed             the key may not do this
    ├── Busy                   too many requests, or a part is away; asked again in vain
    └── ServiceFailed          a fault of the service
```

``code`` is stable and public; docs/troubleshooting.md says what to do about each.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

GIVEN_UP_CODES: Final = frozenset(
    {"job_given_up", "too_many_attempts", "poison", "scoring_timed_out"}
)
"""Codes of a failed study that say nothing about its series."""

SCORE_NOT_READY_CODE: Final = "score_not_ready"


class ClientError(Exception):
    """Anything that keeps a client from its answer; ``str()`` of it is a sentence to show."""


class InvalidUrl(ClientError):
    """The address of the service is no URL."""


class NothingToSend(ClientError):
    """A folder that was to be sent holds no files."""


class Unreachable(ClientError):
    """Nobody answered at the address of the service."""


class UnexpectedAnswer(ClientError):
    """The answer is not one of a cacscore service, for instance a proxy's own page."""


class WaitTimedOut(ClientError):
    """A study was not scored in the time that was given; the service goes on with it."""

    def __init__(self, study_id: str, timeout_s: float, where: str) -> None:
        super().__init__(
            f"The study {study_id} was not scored within {timeout_s:.0f} s; it goes on at {where}"
        )
        self.study_id = study_id


class DigestMismatch(ClientError):
    """A file arrived with other bytes than the service says it has; it was not kept."""

    def __init__(self, name: str, *, expected_sha256: str, found_sha256: str) -> None:
        super().__init__(
            f"{name} arrived with SHA-256 {found_sha256}; the service has {expected_sha256}. "
            "Fetch it again."
        )
        self.expected_sha256 = expected_sha256
        self.found_sha256 = found_sha256


class ServiceProblem(ClientError):
    """The service said why it does not do what it was asked (RFC 9457).

    ``detail`` says what was found, where, and what would be accepted; ``evidence`` holds the same
    facts for machines; ``retry_after_s`` is None where the service named no time.
    """

    def __init__(
        self,
        *,
        status: int,
        code: str,
        title: str,
        detail: str,
        evidence: Mapping[str, Any],
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{title}. {detail} (code: {code})")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.evidence = evidence
        self.retry_after_s = retry_after_s


class Refused(ServiceProblem):
    """What was sent cannot be used, or the series cannot be scored."""


class StudyGivenUp(ServiceProblem):
    """The service could not finish a study that may be sound; ``retry`` begins again."""


class ScoreNotReady(ServiceProblem):
    """The study is still queued or running."""


class Conflict(ServiceProblem):
    """The study is in no state for this."""


class NotFound(ServiceProblem):
    """There is no such study, file, slice or version, or no longer."""


class NotAuthenticated(ServiceProblem):
    """A key or token is needed, or the one that was sent is not known."""


class NotAllowed(ServiceProblem):
    """The caller is known but may not do this, or asks from another machine."""


class Busy(ServiceProblem):
    """The service asked to come back later, more often than we were willing to."""


class ServiceFailed(ServiceProblem):
    """The service failed, or says something that this client does not foresee."""


_KIND_OF_STATUS: Final[dict[int, type[ServiceProblem]]] = {
    HTTPStatus.BAD_REQUEST: Refused,
    HTTPStatus.UNAUTHORIZED: NotAuthenticated,
    HTTPStatus.FORBIDDEN: NotAllowed,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.NOT_ACCEPTABLE: Refused,
    HTTPStatus.REQUEST_TIMEOUT: Refused,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Refused,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Refused,
    HTTPStatus.UNPROCESSABLE_ENTITY: Refused,
    HTTPStatus.TOO_MANY_REQUESTS: Busy,
    HTTPStatus.SERVICE_UNAVAILABLE: Busy,
}


def problem_kind(status: int, code: str) -> type[ServiceProblem]:
    """Return the class of a problem with this HTTP status and code."""
    if code in GIVEN_UP_CODES:
        return StudyGivenUp
    if code == SCORE_NOT_READY_CODE:
        return ScoreNotReady
    return _KIND_OF_STATUS.get(status, ServiceFailed)
