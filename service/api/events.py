"""Server-sent events of one study, told from the record: any gateway process can go on with them.

The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html: a client that
loses its connection names the last event it saw in ``Last-Event-ID`` and misses nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from starlette.concurrency import run_in_threadpool

from service.api.schemas import JobEventResponse
from service.application.errors import RecordUnavailable, StudyNotFound
from service.application.jobs import JobEvent
from service.application.ports import StudyStore

EVENT_STREAM: Final = "text/event-stream"

EVENT_SCHEMA: Final[dict[str, object]] = {
    "type": "object",
    "description": "One event of the stream, as the fields of its lines.",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": r"^[0-9]+$"},
        "event": {"const": "study"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobEventResponse"},
        },
    },
}

POLL_S: Final = 0.5
"""How often the record is asked for news; workers write progress once a second. Our choice."""

HEARTBEAT_S: Final = 15.0
"""A silent stream says this often that it is alive; proxies cut quiet ones after 30 s and more."""

RECONNECT_MS: Final = 2000
"""How long a client waits before it connects again; our choice."""


def event_number(last_event_id: str | None) -> int:
    """Return the number of the last event seen, 0 for none or for one that is not ours."""
    if last_event_id is None or not last_event_id.isascii() or not last_event_id.isdigit():
        return 0
    # Beyond what the record can hold there is no event: begin anew.
    number = int(last_event_id[:10])
    return number if number < 2**31 else 0


async def event_stream(
    store: StudyStore,
    study_id: str,
    first: Sequence[JobEvent],
    after: int,
    *,
    poll_s: float = POLL_S,
    heartbeat_s: float = HEARTBEAT_S,
) -> AsyncIterator[str]:
    """Send events as they come, those in ``first`` at once; ends with a final state of the study.

    ``after`` is the number of the last event that the client has seen. A study that is deleted
    meanwhile ends the stream with an event ``deleted``.
    """
    yield f"retry: {RECONNECT_MS}\n\n"
    events, silent_since = first, time.monotonic()
    while True:
        for event in events:
            after = event.number
            yield _message(event)
        if events:
            silent_since = time.monotonic()
            if events[-1].status.is_final:
                return
        elif time.monotonic() - silent_since >= heartbeat_s:
            silent_since = time.monotonic()
            yield ": alive\n\n"
        await asyncio.sleep(poll_s)
        try:
            events = await run_in_threadpool(store.events, study_id, after=after)
        except StudyNotFound:
            yield "event: deleted\ndata: {}\n\n"
            return
        except RecordUnavailable:
            # The client comes back and goes on where it was.
            return


def _message(event: JobEvent) -> str:
    data = JobEventResponse.of(event).model_dump_json()
    return f"id: {event.number}\nevent: study\ndata: {data}\n\n"
