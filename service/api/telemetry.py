"""What a gateway says about itself: metrics always, traces where a collector is named."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from calcium_scoring.version import __version__
from service.adapters.metrics.prometheus_metrics import GatewayMetrics
from service.adapters.tracing.open_tracing import open_tracing
from service.application.report_terms import SCHEMA_VERSION
from service.application.telemetry import (
    REQUEST_ID,
    AnsweredRequest,
    NoTracing,
    Tracing,
    current_request_id,
)

SERVICE_NAME = "cacscore-gateway"
"""Name of the gateway in traces."""


class GatewayTelemetry:
    """Made with the application, before it starts; traces are made from its start on."""

    def __init__(self) -> None:
        self.metrics = GatewayMetrics(service_version=__version__, schema_version=SCHEMA_VERSION)
        self._tracing: Tracing = NoTracing()

    def start(self, otlp_endpoint: str | None) -> None:
        """Begin to trace where a collector is named."""
        self._tracing = open_tracing(otlp_endpoint, service_name=SERVICE_NAME)

    def close(self) -> None:
        """Send what has not been sent yet."""
        self._tracing.close()

    def trace_request(
        self, method: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[AnsweredRequest]:
        """Trace a request to the end of the block."""
        return self._tracing.request(method, headers)

    def message_headers(self) -> dict[str, str]:
        """Return what a message carries along: its trace, and the id of its request."""
        headers = self._tracing.message_headers()
        request_id = current_request_id()
        if request_id is not None:
            headers[REQUEST_ID] = request_id
        return headers
