"""Runs the reaper beside the requests of the gateway; see :mod:`service.application.reap`."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool

from service.api.wiring import GatewayParts
from service.application.errors import DependencyUnavailable
from service.application.reap import reap_files, reap_jobs

_log = structlog.get_logger(__name__)

_FILES_INTERVAL: Final = timedelta(minutes=10)
"""Leftovers are rare and small; our choice."""


async def reap_forever(parts: GatewayParts) -> None:
    """Reap until cancelled; no failure ends it."""
    files_due_at = 0.0
    while True:
        try:
            await run_in_threadpool(reap_jobs, store=parts.store, queue=parts.queue)
            if time.monotonic() >= files_due_at:
                files_due_at = time.monotonic() + _FILES_INTERVAL.total_seconds()
                await run_in_threadpool(reap_files, store=parts.store, artefacts=parts.artefacts)
        except DependencyUnavailable as error:
            _log.warning("reaper_waits", code=error.code)
        except Exception:  # noqa: BLE001 - without the reaper jobs would wait for ever
            _log.exception("reaper_failed")
        await asyncio.sleep(parts.reaper_interval.total_seconds())
