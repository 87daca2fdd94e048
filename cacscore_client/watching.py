"""Server-sent events of a study, read line by line; who fetches the lines is another matter.

The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import Final, TypeAlias, cast

import httpx

from cacscore_client.calls import BUSY_STATUSES, EVENT_STREAM, Call, events, refused, retry_after_s
from cacscore_client.documents import JobEvent, Study
from cacscore_client.errors import (
    ClientError,
    Conflict,
    NotFound,
    UnexpectedAnswer,
    Unreachable,
    WaitTimedOut,
    problem_kind,
)

FINAL_STATUSES: Final = frozenset({"succeeded", "failed", "cancelled"})

SILENCE_S: Final = 45.0
"""The service says every 15 s that it is alive; three times that is a lost connection."""

POLL_S: Final = 2.0
"""How often a study is asked for where there are no events. Our choice."""

RECONNECT_S: Final = 2.0
"""Pause before a lost stream is asked for again, until the service names another."""

MAX_LOST: Final = 30
"""So many connections in a row that told nothing are an end, a minute at the usual pause."""

StudyState: TypeAlias = Study | JobEvent
"""Both have ``status``, ``stage``, ``progress`` and ``attempt``."""


class NoEvents(ClientError):
    """What answered sends no events, as some proxies do; the study can still be asked for."""


class Deadline:
    """The moment after which nobody waits any longer; None is never."""

    def __init__(self, study_id: str, timeout_s: float | None, url: str) -> None:
        self._study_id = study_id
        self._timeout_s = timeout_s
        self._where = f"{url}/studies/{study_id}"
        self._end_s = None if timeout_s is None else time.monotonic() + timeout_s

    def left_s(self, at_most_s: float) -> float:
        """Return how long to wait at most; WaitTimedOut where no time is left."""
        if self._end_s is None or self._timeout_s is None:
            return at_most_s
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise WaitTimedOut(self._study_id, self._timeout_s, self._where)
        return min(at_most_s, left_s)

    def before_pause(self, pause_s: float) -> float:
        """Return the pause; WaitTimedOut where it would end too late."""
        if self._timeout_s is not None and self.left_s(pause_s) < pause_s:
            raise WaitTimedOut(self._study_id, self._timeout_s, self._where)
        return pause_s


class Watch:
    """Goes on with the events of one study, whatever happens to the connections."""

    def __init__(self, study_id: str, *, after: int, url: str) -> None:
        self._study_id = study_id
        self._url = url
        self._after = after
        self._lost_count = 0
        self._is_known = False
        self._fields: dict[str, list[str]] = {}
        self.is_over = False
        self.pause_s = RECONNECT_S

    def call(self) -> Call[None]:
        """Return the request for all events that were not seen yet."""
        self._fields = {}
        return events(self._study_id, self._after)

    def begin(self, answer: httpx.Response) -> bool:
        """Look at the head of an answer; True where lines follow, False where to ask again.

        A problem must have been read before. NoEvents where the answer is no stream of events.
        """
        if answer.status_code == HTTPStatus.NO_CONTENT:
            self.is_over = True
            return False
        if answer.status_code in BUSY_STATUSES:
            self._count_lost(refused(answer))
            self.pause_s = retry_after_s(answer)
            return False
        if not answer.is_success:
            raise refused(answer)
        kind = answer.headers.get("Content-Type", "")
        if not kind.startswith(EVENT_STREAM):
            raise NoEvents(f"{self._url} sends no events but {kind or 'nothing'}.")
        self._is_known = True
        return True

    def line(self, line: str) -> JobEvent | None:
        """Take a line of the stream; return the event that it completes."""
        if line:
            name, _, value = line.partition(":")
            if name:  # a line that begins with a colon is a comment
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
            return None
        fields, self._fields = self._fields, {}
        if "retry" in fields and fields["retry"][-1].isdigit():
            self.pause_s = int(fields["retry"][-1]) / 1000
        kind = fields.get("event", ["message"])[-1]
        if kind == "deleted":
            self.is_over = True
            raise NotFound(
                status=HTTPStatus.NOT_FOUND,
                code="study_not_found",
                title="There is no such study",
                detail="The study was deleted while it was watched.",
                evidence={},
            )
        if kind != "study" or "data" not in fields:
            return None
        try:
            event = cast("JobEvent", json.loads("\n".join(fields["data"])))
            self._after = int(event["number"])
            self.is_over = event["status"] in FINAL_STATUSES
        except (ValueError, KeyError, TypeError) as error:
            raise UnexpectedAnswer(
                f"{self._url} sends events of {self._study_id} that are not those of a study."
            ) from error
        self._lost_count = 0
        return event

    def lost(self, error: httpx.HTTPError) -> None:
        """Note a lost connection; Unreachable where it was the first, or one too many."""
        failure = unreachable(self._url, error)
        if not self._is_known:
            raise failure from error
        self._count_lost(failure)

    def _count_lost(self, failure: ClientError) -> None:
        self._lost_count += 1
        if self._lost_count >= MAX_LOST:
            raise failure


def unreachable(url: str, error: httpx.HTTPError) -> Unreachable:
    """Return what a failed transport means."""
    return Unreachable(
        f"No answer from {url}: {str(error) or type(error).__name__}. "
        "Is the service running there? `cacscore serve` starts one."
    )


def why_no_score(study: Study) -> ClientError | None:
    """Return why a study whose job has ended has no score; None for one that has."""
    problem = study["problem"]
    if problem is not None:
        kind = problem_kind(HTTPStatus.UNPROCESSABLE_ENTITY, problem["code"])
        return kind(
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
            code=problem["code"],
            title=problem["title"],
            detail=problem["detail"],
            evidence=problem["evidence"],
        )
    if study["status"] == "cancelled":
        return Conflict(
            status=HTTPStatus.CONFLICT,
            code="study_cancelled",
            title="Scoring was cancelled",
            detail="Its scoring was cancelled before there was a score; retry begins again.",
            evidence={},
        )
    return None
