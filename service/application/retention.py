"""Studies do not stay for ever: they go by age, and the oldest ones when the disk gets full.

Only studies whose scoring has ended are removed, and each removal stands in the audit log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from service.application.access import Principal, utc_now
from service.application.audit import AuditLog
from service.application.delete_study import delete_study
from service.application.errors import StudyNotFound
from service.application.ports import ArtefactStore, StudyStore

_log = structlog.get_logger(__name__)

ACTOR: Final = "retention"
_STUDIES_AT_ONCE: Final = 100


@dataclass(frozen=True)
class RetentionTerms:
    """How long studies stay; None and 0 are for ever.

    ``free_fraction`` is the share of the disk that is to be free: with less, the oldest studies go.
    """

    longest: timedelta | None = None
    free_fraction: float = 0.0


@dataclass(frozen=True)
class EndedStudy:
    """A study that nobody works on."""

    study_id: str
    tenant: str


class EndedStudies(Protocol):
    """Finds what may be removed."""

    def oldest(self, *, before: datetime | None, limit: int) -> list[EndedStudy]:
        """Return ended studies, the oldest first, or only those sent before a time."""
        ...


def remove_old_studies(
    terms: RetentionTerms,
    *,
    ended: EndedStudies,
    store: StudyStore,
    artefacts: ArtefactStore,
    audit: AuditLog,
    free_fraction: Callable[[], float],
    now: Callable[[], datetime] = utc_now,
) -> int:
    """Remove what is due; return how many studies that were."""

    def remove(study: EndedStudy, why: str) -> None:
        audit.append(Principal(ACTOR, study.tenant, frozenset()), why, study.study_id)
        try:
            delete_study(study.study_id, store=store, artefacts=artefacts)
        except StudyNotFound:
            return  # somebody else was faster

    count = 0
    if terms.longest is not None:
        while due := ended.oldest(before=now() - terms.longest, limit=_STUDIES_AT_ONCE):
            for study in due:
                remove(study, "removed by age")
            count += len(due)
    while terms.free_fraction and free_fraction() < terms.free_fraction:
        oldest = ended.oldest(before=None, limit=1)
        if not oldest:
            _log.warning("disk_above_watermark", free_fraction=round(free_fraction(), 3))
            break
        remove(oldest[0], "removed for room")
        count += 1
    if count:
        _log.info("studies_removed", study_count=count)
    return count
