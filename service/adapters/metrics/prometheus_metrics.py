"""Metrics in Prometheus' text format: of this gateway, and of the record that all share.

What is in the record is read from it at every scrape: it is the same at every gateway, and right
whatever was restarted. What a gateway alone knows (its requests, its memory) it counts itself; one
process is one gateway. No label holds a patient, a UID or an id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from service.application.errors import GIVEN_UP_CODES, DependencyUnavailable
from service.application.operations import (
    STAGE_BOUNDS_S,
    DurationHistogram,
    ServiceFacts,
    WorkerState,
)
from service.application.webhooks import DeliveryState

_log = structlog.get_logger(__name__)

# The time at which a counter began is of no use where the record counts.
disable_created_metrics()  # type: ignore[no-untyped-call]

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

HTTP_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
"""Buckets of the time a request takes: Prometheus' own up to 10 s, then what uploads take."""

UNMATCHED_ROUTE: Final = "unmatched"
"""Route of requests for a path that there is not: the path itself is never a label."""

_Fact = TypeVar("_Fact")
_Label = TypeVar("_Label", bound=str)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class Sources:
    """Where the metrics of all gateways come from; each may raise DependencyUnavailable."""

    facts: Callable[[], ServiceFacts]
    queue_depth: Callable[[], int]
    free_bytes: Callable[[], int]
    is_unattended: Callable[[], bool]
    webhook_deliveries: Callable[[], Mapping[DeliveryState, int]]


class GatewayMetrics:
    """The metrics of one gateway process."""

    def __init__(self, *, service_version: str, schema_version: int) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        Gauge(
            "cacscore_build_info",
            "Versions of the code and of the report schema; always 1.",
            ("service_version", "schema_version"),
            registry=self._registry,
        ).labels(service_version, str(schema_version)).set(1)
        self._durations = Histogram(
            "cacscore_http_request_duration_seconds",
            "Time from the first byte of a request to the last one of its answer.",
            ("method", "route", "status"),
            buckets=HTTP_BOUNDS_S,
            registry=self._registry,
        )
        self._in_progress = Gauge(
            "cacscore_http_requests_in_progress",
            "Requests that are being answered.",
            registry=self._registry,
        )
        self._problems = Counter(
            "cacscore_http_problems",
            "Answers that were a problem, by its code: refused uploads, and everything else.",
            ("code",),
            registry=self._registry,
        )
        self._uploads = Gauge(
            "cacscore_uploads",
            "Uploads at the door of this gateway: received now, or waiting for a place.",
            ("state",),
            registry=self._registry,
        )
        self._upload_bytes = Counter(
            "cacscore_upload_bytes", "Bytes of uploads that were received.", registry=self._registry
        )
        self._collector: Collector | None = None

    def watch(self, sources: Sources) -> None:
        """Read these sources from the next scrape on, instead of any before."""
        if self._collector is not None:
            self._registry.unregister(self._collector)
        self._collector = _SharedFacts(sources)
        self._registry.register(self._collector)

    def request_begun(self) -> None:
        """Count a request as being answered."""
        self._in_progress.inc()

    def request_ended(
        self, *, method: str, route: str | None, status: int, duration_s: float, code: str | None
    ) -> None:
        """Count an answered request; ``code`` is that of its problem."""
        self._in_progress.dec()
        known_method = method if method in _METHODS else "OTHER"
        self._durations.labels(known_method, route or UNMATCHED_ROUTE, str(status)).observe(
            duration_s
        )
        if code is not None:
            self._problems.labels(code).inc()

    def uploads_at_door(self, *, received: int, waiting: int) -> None:
        """Say how many uploads there are now."""
        self._uploads.labels("received").set(received)
        self._uploads.labels("waiting").set(waiting)

    def upload_received(self, size_bytes: int) -> None:
        """Count an upload that arrived completely."""
        self._upload_bytes.inc(size_bytes)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class _SharedFacts(Collector):
    """Asks the record, the broker and the store at each scrape."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> list[Metric]:
        # Nothing is read at registration: the record may be away when a gateway starts.
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "cacscore_dependency_up",
            "1 where a part of the service could be asked at this scrape.",
            labels=("dependency",),
        )
        facts = _asked(up, "record", self._sources.facts)
        is_unattended = _asked(None, "record", self._sources.is_unattended)
        deliveries = _asked(None, "record", self._sources.webhook_deliveries)
        depth = _asked(up, "broker", self._sources.queue_depth)
        free_bytes = _asked(up, "artefacts", self._sources.free_bytes)
        yield up
        if facts is not None:
            yield from _record_metrics(facts)
        if is_unattended is not None:
            yield GaugeMetricFamily(
                "cacscore_queue_unattended",
                "1 where a study has waited for CACSCORE_UNATTENDED_S and no worker did anything.",
                value=float(is_unattended),
            )
        if deliveries is not None:
            yield _gauge(
                "cacscore_webhook_deliveries",
                "Callbacks of studies that are still here: pending, delivered, or given up.",
                "state",
                deliveries,
            )
        if depth is not None:
            yield GaugeMetricFamily(
                "cacscore_queue_depth",
                "Messages in the broker that no worker has taken.",
                value=depth,
            )
        if free_bytes is not None:
            yield GaugeMetricFamily(
                "cacscore_storage_free_bytes",
                "Room where uploads arrive, in bytes.",
                value=free_bytes,
            )


def _asked(up: GaugeMetricFamily | None, name: str, source: Callable[[], _Fact]) -> _Fact | None:
    """Return what a source says, None where it cannot be asked; note which in ``up``."""
    try:
        fact = source()
    except DependencyUnavailable as error:
        _log.warning("metrics_source_unavailable", dependency=name, code=error.code)
        fact = None
    if up is not None:
        up.add_metric([name], float(fact is not None))
    return fact


def _record_metrics(facts: ServiceFacts) -> Iterator[Metric]:
    yield _gauge("cacscore_jobs", "Jobs in the record.", "status", facts.jobs_by_status)
    yield GaugeMetricFamily(
        "cacscore_jobs_due", "Queued jobs whose time has come.", value=facts.due_jobs
    )
    yield GaugeMetricFamily(
        "cacscore_oldest_due_job_age_seconds",
        "How long the longest waiting of them has been due; 0 where none waits.",
        value=facts.oldest_due_s,
    )
    scores = CounterMetricFamily(
        "cacscore_scores",
        "Scores produced, deleted studies included.",
        labels=("model_name", "model_version"),
    )
    for model, count in facts.scores.items():
        scores.add_metric(model, count)
    yield scores
    yield _counter(
        "cacscore_jobs_failed",
        "Jobs that ended without a score, by the code of their refusal or failure.",
        "code",
        # From zero on, or the first failure of its kind would be no increase.
        {**dict.fromkeys(GIVEN_UP_CODES, 0), **facts.failures},
    )
    yield _counter("cacscore_attempts", "Attempts by how they ended.", "outcome", facts.attempts)
    durations = HistogramMetricFamily(
        "cacscore_stage_duration_seconds",
        "Time that a stage of an attempt took, where it was completed.",
        labels=("stage",),
    )
    for stage, histogram in facts.stage_durations.items():
        durations.add_metric([stage], _buckets(histogram), histogram.sum_s)
    yield durations
    yield from _push_metrics(facts)
    yield from _worker_metrics(facts)


def _push_metrics(facts: ServiceFacts) -> Iterator[Metric]:
    counts = GaugeMetricFamily(
        "cacscore_pushes",
        "Results of studies that are still here on their way to a destination of the settings.",
        labels=("destination", "state"),
    )
    for (destination, state), count in facts.pushes.items():
        counts.add_metric([destination, state], count)
    yield counts
    oldest = GaugeMetricFamily(
        "cacscore_oldest_push_age_seconds",
        "How long ago the longest waiting result was to be sent; 0 where none waits.",
        labels=("destination",),
    )
    for destination, age_s in facts.oldest_push_s.items():
        oldest.add_metric([destination], age_s)
    yield oldest


def _worker_metrics(facts: ServiceFacts) -> Iterator[Metric]:
    states = dict.fromkeys(WorkerState, 0)
    models: dict[tuple[str, str, str], int] = {}
    for worker in facts.workers:
        states[worker.state] += 1
        beat = worker.beat
        if worker.state is WorkerState.READY:
            kind = (beat.model_name or "", beat.model_version or "", beat.execution_provider or "")
            models[kind] = models.get(kind, 0) + 1
    yield _gauge("cacscore_workers", "Scoring processes that were seen.", "state", states)
    info = GaugeMetricFamily(
        "cacscore_workers_model",
        "Scoring processes that are ready, by their model and what its session really runs on.",
        labels=("model_name", "model_version", "execution_provider"),
    )
    for kind, count in models.items():
        info.add_metric(kind, count)
    yield info


def _gauge(name: str, text: str, label: str, values: Mapping[_Label, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for kind, value in values.items():
        family.add_metric([kind], value)
    return family


def _counter(name: str, text: str, label: str, values: Mapping[_Label, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for kind, value in values.items():
        family.add_metric([kind], value)
    return family


def _buckets(histogram: DurationHistogram) -> list[tuple[str, float]]:
    bounds = zip(STAGE_BOUNDS_S, histogram.cumulative, strict=True)
    return [*((f"{bound:g}", float(count)) for bound, count in bounds), ("+Inf", histogram.count)]
