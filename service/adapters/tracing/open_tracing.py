"""Tracing where a collector is named; without it nothing of OpenTelemetry is imported."""

from __future__ import annotations

from importlib.util import find_spec

from calcium_scoring.version import __version__
from service.application.errors import DependencyUnavailable
from service.application.telemetry import NoTracing, Tracing


def open_tracing(endpoint: str | None, *, service_name: str) -> Tracing:
    """Return what traces the work of this process; to be called after a fork, not before.

    ``endpoint`` is the base URL of an OTLP/HTTP collector. Raises DependencyUnavailable where one
    is named and the packages are not installed.
    """
    if endpoint is None:
        return NoTracing()
    if find_spec("opentelemetry.sdk") is None or find_spec("opentelemetry.exporter") is None:
        raise DependencyUnavailable(
            "CACSCORE_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: "
            "pip install 'cacscore[tracing]'."
        )
    from service.adapters.tracing.opentelemetry_tracing import (  # noqa: PLC0415 - an extra
        OpenTelemetryTracing,
    )

    return OpenTelemetryTracing(endpoint, service_name=service_name, service_version=__version__)
