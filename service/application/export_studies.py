"""All results as one table, for research."""

from __future__ import annotations

import json
from collections.abc import Iterator

from service.application.access import DEFAULT_TENANT
from service.application.artefact_names import REPORT
from service.application.csv_row import Row, report_row
from service.application.errors import (
    ArtefactUnavailable,
    ScoreNotReady,
    StudyFailed,
    StudyNotFound,
)
from service.application.jobs import JobStatus
from service.application.ports import ArtefactStore, StudyStore

STUDIES_AT_ONCE = 200
"""Studies that are asked of the record at once; memory does not grow with their number."""


def exported_rows(
    store: StudyStore, artefacts: ArtefactStore, tenant: str = DEFAULT_TENANT
) -> Iterator[Row]:
    """Yield the row of each scored study of a tenant, the newest first.

    A study that is deleted meanwhile, or whose report is gone, is left out.
    """
    cursor: str | None = None
    while True:
        page = store.page(limit=STUDIES_AT_ONCE, cursor=cursor, tenant=tenant)
        for study in page.studies:
            if study.status is not JobStatus.SUCCEEDED:
                continue
            try:
                result = store.result(study.study_id)
                with artefacts.open(f"{result.result_key}/{REPORT}") as stream:
                    document = json.load(stream)
            except (StudyNotFound, ScoreNotReady, StudyFailed, ArtefactUnavailable):
                continue
            yield report_row(document, study.study_id)
        cursor = page.next_cursor
        if cursor is None:
            return
