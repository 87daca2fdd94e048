"""The gateway: `uvicorn --factory service.api.app:create_app`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from calcium_scoring.version import __version__
from service.adapters.logs.json_logs import configure_logging
from service.api.docs_page import DOCS_HEADERS, docs_page
from service.api.documentation import DESCRIPTION, TITLE, build_openapi
from service.api.middleware import RequestGuard
from service.api.problems import add_problem_handlers
from service.api.reaper import reap_forever
from service.api.routes import jobs, operations, studies
from service.api.webhooks import deliver_forever
from service.api.wiring import gateway_parts
from service.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the gateway; ``settings`` come from the environment where they are not given."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logging(chosen.log_level)
        app.state.parts = gateway_parts(chosen)
        loops = [
            asyncio.create_task(reap_forever(app.state.parts)),
            asyncio.create_task(deliver_forever(app.state.parts)),
        ]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
                with suppress(asyncio.CancelledError):
                    await loop

    app = FastAPI(
        title=TITLE,
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        # The framework's pages load their scripts from elsewhere; a hospital has no elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(RequestGuard)
    add_problem_handlers(
        app, [*studies.router.routes, *jobs.router.routes, *operations.router.routes]
    )
    app.include_router(studies.router)
    app.include_router(jobs.router)
    app.include_router(operations.router)

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
