"""The gateway: `uvicorn --factory service.api.app:create_app`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from calcium_scoring.version import __version__
from service.adapters.logs.json_logs import configure_logging
from service.api.access import authorize
from service.api.body_limit import BodyLimit
from service.api.docs_page import DOCS_HEADERS, docs_page
from service.api.documentation import DESCRIPTION, TITLE, build_openapi
from service.api.middleware import RequestGuard
from service.api.problems import add_problem_handlers
from service.api.reaper import reap_forever
from service.api.resumable import remove_expired_uploads_forever
from service.api.retention import retain_forever
from service.api.routes import (
    dicomweb,
    dicomweb_store,
    jobs,
    metrics,
    operations,
    pushes,
    results,
    studies,
    uploads,
)
from service.api.telemetry import GatewayTelemetry
from service.api.webhooks import deliver_forever
from service.api.wiring import gateway_parts, metric_sources
from service.api.wiring_access import gateway_access
from service.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the gateway; ``settings`` come from the environment where they are not given."""
    chosen = settings or Settings()
    telemetry = GatewayTelemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logging(chosen.log_level)
        telemetry.start(chosen.otlp_endpoint)
        app.state.parts = gateway_parts(chosen, telemetry)
        telemetry.metrics.watch(metric_sources(app.state.parts))
        app.state.access = gateway_access(chosen)
        loops = [
            asyncio.create_task(reap_forever(app.state.parts)),
            asyncio.create_task(deliver_forever(app.state.parts)),
            asyncio.create_task(retain_forever(chosen, app.state.parts)),
            asyncio.create_task(remove_expired_uploads_forever(app.state.parts)),
        ]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
                with suppress(asyncio.CancelledError):
                    await loop
            await run_in_threadpool(telemetry.close)

    app = FastAPI(
        title=TITLE,
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        # The framework's pages load their scripts from elsewhere; a hospital has no elsewhere.
        docs_url=None,
        redoc_url=None,
        # Every route, whoever adds it, is behind the door.
        dependencies=[Depends(authorize)],
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestGuard, telemetry=telemetry)
    # Results first: the path of an export looks like that of a study.
    routers = (
        results.router,
        studies.router,
        uploads.router,
        jobs.router,
        pushes.router,
        dicomweb.router,
        dicomweb_store.router,
        operations.router,
        metrics.router,
    )
    add_problem_handlers(app, [route for router in routers for route in router.routes])
    for router in routers:
        app.include_router(router)

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            app.openapi_schema = build_openapi(app)
        return app.openapi_schema

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        """Show the API to a reader."""
        return HTMLResponse(docs_page(app.openapi()), headers=DOCS_HEADERS)

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend it
    return app
