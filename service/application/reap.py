"""The reaper: sees to it that no job waits for a message or a worker that will never come.

It runs in the gateway, every few seconds: that process is always there, never forks (a thread in
the parent of prefork workers would), and several gateways may do it at once, since every step is
one atomic change of the record and a message too many does no harm.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from service.application.errors import QueueUnavailable
from service.application.ports import ArtefactStore, JobQueue, StudyStore

_log = structlog.get_logger(__name__)

REANNOUNCE_AFTER: Final = timedelta(seconds=60)
"""A queued job this long after its message, with an empty queue, has lost its message."""

ABANDONED_AFTER: Final = timedelta(hours=1)
"""Longer than any upload or attempt may take, so that no file in the making is removed."""


def reap_jobs(*, store: StudyStore, queue: JobQueue) -> None:
    """Take jobs back from silent workers and announce every job that needs a message."""
    for job_id in store.expire_leases():
        _log.warning("lease_expired", job_id=job_id)
    try:
        messages_were_lost = queue.depth() == 0
        due = store.due_for_announcement(
            announced_before=REANNOUNCE_AFTER if messages_were_lost else None
        )
        for job_id in due:
            queue.announce(job_id, store.priority_of(job_id))
            store.mark_announced(job_id)
            _log.info("job_announced", job_id=job_id)
    except QueueUnavailable:
        _log.warning("queue_unavailable")


def reap_files(*, store: StudyStore, artefacts: ArtefactStore) -> None:
    """Remove files that belong to no study: a crash between two steps left them."""
    # Folders are read before the record, or a study added in between would look abandoned.
    candidates = artefacts.untouched_since(ABANDONED_AFTER)
    known = store.folders()
    for key in candidates:
        if key not in known:
            artefacts.remove(key)
            _log.warning("abandoned_files_removed")
