"""Removes uploads that nobody goes on with, beside the requests of the gateway."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool

from service.api.wiring import GatewayParts

_log = structlog.get_logger(__name__)

INTERVAL: Final = timedelta(minutes=10)
"""Expired uploads cannot be continued anyway; our choice."""


async def remove_expired_uploads_forever(parts: GatewayParts) -> None:
    """Remove expired uploads until cancelled; no failure ends it."""
    while True:
        try:
            removed = await run_in_threadpool(parts.partial_uploads.remove_expired)
            if removed:
                _log.info("expired_uploads_removed", count=removed)
        except Exception:  # noqa: BLE001 - without this loop the disk would fill
            _log.exception("removing_expired_uploads_failed")
        await asyncio.sleep(INTERVAL.total_seconds())
