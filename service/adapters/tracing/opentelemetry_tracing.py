"""Traces from the request of an upload through its message to every stage of its scoring.

OpenTelemetry over OTLP/HTTP. The trace travels in the headers of the message (W3C trace context).
Spans carry the job's and the study's id, routes and codes; no patient attribute, no UID, no path.

Imported only where CACSCORE_OTLP_ENDPOINT is set; the packages are the extra ``tracing``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.application.jobs import Claim, Stage
from service.application.operations import TIMED_STAGES, AttemptOutcome

_TRACES_PATH: Final = "/v1/traces"
"""Where a collector takes traces: OTLP/HTTP, section "OTLP/HTTP Request"."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
"""The trace alone: W3C baggage may hold anything, and is not passed on."""

EXPORT_TIMEOUT_S: Final = 5
"""A collector that is away must not keep anybody waiting; our choice."""


class OpenTelemetryTracing:
    """Makes and exports the spans of one process; to be made after a fork, not before.

    Parameters
    ----------
    endpoint
        Base URL of the collector, such as ``http://collector:4318``.
    service_name, service_version
        What the spans are of.
    """

    def __init__(self, endpoint: str, *, service_name: str, service_version: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create(
                {"service.name": service_name, "service.version": service_version}
            )
        )
        exporter = OTLPSpanExporter(
            endpoint=endpoint.rstrip("/") + _TRACES_PATH, timeout=EXPORT_TIMEOUT_S
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("cacscore", service_version)

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """Make the span of a request, within the trace of its caller if it names one."""
        with self._tracer.start_as_current_span(
            method,
            context=_PROPAGATOR.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
            record_exception=False,
        ) as span:
            yield RequestSpan(span, method)

    def message_headers(self) -> dict[str, str]:
        """Return the headers by which a worker goes on with the trace of this moment."""
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers)
        return headers

    @contextmanager
    def attempt(self, headers: Mapping[str, str]) -> Iterator[AttemptSpans]:
        """Observe the attempt that a message with these headers begins."""
        spans = AttemptSpans(self._tracer, _PROPAGATOR.extract(headers))
        try:
            yield spans
        finally:
            spans.close()


class RequestSpan:
    """The span of a request, named once its route is known."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def answered(self, route: str | None, status: int, code: str | None) -> None:
        """Say what came of the request; ``code`` is that of its problem."""
        if route is not None:
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if code is not None:
            self._span.set_attribute("error.type", code)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)


class AttemptSpans:
    """An AttemptObserver: one span for the attempt, one below it for each stage."""

    def __init__(self, tracer: trace.Tracer, parent: Context) -> None:
        self._tracer = tracer
        self._parent = parent
        self._attempt: Span | None = None
        self._stage: Span | None = None

    def begun(self, claim: Claim) -> None:
        """Begin the span of the attempt."""
        self._attempt = self._tracer.start_span(
            "score_study",
            context=self._parent,
            kind=SpanKind.CONSUMER,
            attributes={
                "cacscore.job_id": claim.job_id,
                "cacscore.study_id": claim.study_id,
                "cacscore.attempt": claim.attempt,
            },
        )

    def stage_begun(self, stage: Stage) -> None:
        """End the span of the stage before and begin that of this one."""
        self._end_stage()
        if stage in TIMED_STAGES and self._attempt is not None:
            self._stage = self._tracer.start_span(
                stage, context=trace.set_span_in_context(self._attempt)
            )

    def ended(self, outcome: AttemptOutcome, code: str | None) -> None:
        """End both spans."""
        self._end_stage()
        if self._attempt is None:
            return
        self._attempt.set_attribute("cacscore.outcome", outcome)
        if code is not None:
            self._attempt.set_attribute("error.type", code)
        if outcome is AttemptOutcome.FAILED:
            self._attempt.set_status(StatusCode.ERROR)
        self._attempt.end()
        self._attempt = None

    def close(self) -> None:
        """End what is still open: the attempt was interrupted between two steps."""
        self._end_stage()
        if self._attempt is not None:
            self._attempt.end()
            self._attempt = None

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._stage.end()
            self._stage = None
