"""For Prometheus: everything that docs/how-to/monitor.md lists."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from service.adapters.metrics.prometheus_metrics import CONTENT_TYPE
from service.api.wiring import Parts

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses={
        200: {"description": "Prometheus' text format; no patient, UID or id in any label."}
    },
)
def get_metrics(parts: Parts) -> Response:
    """Return metrics of this gateway, and of the record, broker and store that all share.

    A part that is away leaves out its metrics and has `cacscore_dependency_up` 0.
    """
    return Response(parts.metrics.text(), media_type=CONTENT_TYPE)
