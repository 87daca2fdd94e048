"""Removes old studies beside the requests of the gateway; see service.application.retention."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool

from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.ended_studies import SqlEndedStudies
from service.adapters.database.engine import open_engine
from service.api.wiring import GatewayParts
from service.application.errors import DependencyUnavailable
from service.application.retention import RetentionTerms, remove_old_studies
from service.settings import Settings

_log = structlog.get_logger(__name__)

INTERVAL: Final = timedelta(minutes=5)
"""Days do not end more precisely; our choice."""


def retention_of(settings: Settings, parts: GatewayParts) -> Callable[[], int]:
    """Return what removes the studies that are due."""
    engine = open_engine(settings.record_url)
    days = settings.retention_days
    terms = RetentionTerms(
        None if days is None else timedelta(days=days), settings.retention_free_percent / 100.0
    )

    def free_fraction() -> float:
        usage = shutil.disk_usage(settings.data_dir)
        return usage.free / usage.total

    def remove() -> int:
        return remove_old_studies(
            terms,
            ended=SqlEndedStudies(engine),
            store=parts.store,
            artefacts=parts.artefacts,
            audit=SqlAuditLog(engine),
            free_fraction=free_fraction,
        )

    return remove


async def retain_forever(settings: Settings, parts: GatewayParts) -> None:
    """Remove what is due until cancelled; returns at once where studies stay for ever."""
    if settings.retention_days is None and not settings.retention_free_percent:
        return
    remove = retention_of(settings, parts)
    while True:
        try:
            await run_in_threadpool(remove)
        except DependencyUnavailable as error:
            _log.warning("retention_waits", code=error.code)
        except Exception:  # noqa: BLE001 - one failure must not keep studies for ever
            _log.exception("retention_failed")
        await asyncio.sleep(INTERVAL.total_seconds())
