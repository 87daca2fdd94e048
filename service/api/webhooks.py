"""Sends webhooks beside the requests of the gateway; see :mod:`service.application.webhooks`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool

from service.api.wiring import GatewayParts
from service.application.errors import DependencyUnavailable
from service.application.webhooks import deliver_due

_log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0


async def deliver_forever(parts: GatewayParts) -> None:
    """Deliver until cancelled; no failure ends it."""
    while True:
        try:
            await run_in_threadpool(
                deliver_due,
                outbox=parts.outbox,
                sender=parts.webhook_sender,
                policy=parts.webhook_policy,
                now=datetime.now(UTC),
                limits=parts.delivery_limits,
            )
        except DependencyUnavailable as error:
            _log.warning("webhooks_wait", code=error.code)
        except Exception:  # noqa: BLE001 - without this loop nobody would be told any more
            _log.exception("webhooks_failed")
        await asyncio.sleep(INTERVAL_S)
