"""``GET /metrics``: figures of this process in the formats of Prometheus and OpenMetrics.

Metrics of models have the names of Hugging Face's text-embeddings-inference (core/src/infer.rs,
core/src/queue.rs and router/src/http/server.rs there), so that its dashboards and alerts fit. Each label has
one of a closed set of values: nothing that a caller writes becomes one.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ...errors import DeadlineError, LoadingError, OverloadError, RequestError, TooLargeError
from ...observation import Part
from ..record import Record
from .log import RELEASE
from .log_stream import LogStream

if TYPE_CHECKING:
    from ..service import Service

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = tuple(float(2**power) for power in range(9))
_TOKENS = tuple(float(2**power) for power in range(2, 16))

_PARTS: tuple[Part, ...] = get_args(Part)


class Metrics:
    """The metrics of one application, in a registry of their own; gets the record of each request."""

    def __init__(self, service: Service, log: LogStream) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        registry.register(_State(service, log))
        self._tei = _Counts(registry)
        self._requests = Counter(
            "es_rerank_http_requests",
            "Requests by method, template of the route and status; 499: the caller left.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "es_rerank_http_request_duration_seconds",
            "Time from the head of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._received = Counter(
            "es_rerank_http_request_bytes", "Bytes of the bodies of requests.", ("route",), registry=registry
        )
        self._sent = Counter(
            "es_rerank_http_response_bytes", "Bytes of the bodies of answers.", ("route",), registry=registry
        )
        self._outcomes = Counter("es_rerank_outcomes", "How requests ended.", ("outcome",), registry=registry)
        self._searches = Counter(
            "es_rerank_searches",
            "How searches ended; an _msearch has several, and one if Elasticsearch answers it as a whole.",
            ("outcome",),
            registry=registry,
        )
        self._fallbacks = Counter(
            "es_rerank_fallbacks",
            "Why searches were not reranked as a whole.",
            ("reason",),
            registry=registry,
        )
        self._refusals = Counter(
            "es_rerank_refusals",
            "Requests that the sidecar refused, by the error type of the answer.",
            ("reason",),
            registry=registry,
        )
        self._troubles = Counter(
            "es_rerank_elasticsearch_errors",
            "Errors of Elasticsearch: refused 4xx, rejected 429, failed 5xx, timeout, unreachable.",
            ("kind",),
            registry=registry,
        )
        self._stages = Histogram(
            "es_rerank_stage_duration_seconds",
            "Time of each stage of a request.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._documents = Counter(
            "es_rerank_documents", "Documents given to rerankers and embedders.", registry=registry
        )
        self._tokens = Counter(
            "es_rerank_tokens",
            "Tokens that models read for requests. /_rerank/status counts those of the start too.",
            registry=registry,
        )
        self._whole = Histogram(
            "te_request_duration", "Time of a request, seconds.", buckets=_SECONDS, registry=registry
        )
        self._parts = {
            part: Histogram(
                f"te_request_{part}_duration",
                f"Time of {part}, seconds.",
                buckets=_SECONDS,
                registry=registry,
            )
            for part in _PARTS
        }
        self._sizes = Histogram(
            "te_batch_next_size",
            "Batch size of a model run, in sequences.",
            buckets=_SIZES,
            registry=registry,
        )
        self._run_tokens = Histogram(
            "te_batch_next_tokens",
            "Batch size of a model run, in tokens.",
            buckets=_TOKENS,
            registry=registry,
        )

    def write(self, record: Record) -> None:
        """Count a request that has ended."""
        route = record.route
        self._requests.labels(record.method, route, str(record.status)).inc()
        self._seconds.labels(route).observe(record.seconds)
        if record.bytes_in:
            self._received.labels(route).inc(record.bytes_in)
        self._sent.labels(route).inc(record.bytes_out)
        self._outcomes.labels(record.outcome).inc()
        for outcome, count in record.searches.items():
            self._searches.labels(outcome).inc(count)
        for reason in record.fallbacks:
            self._fallbacks.labels(reason).inc()
        if (refusal := record.refusal) is not None:
            self._refusals.labels(refusal).inc()
        for kind in record.troubles:
            self._troubles.labels(kind).inc()
        for stage, seconds in record.stages.items():
            self._stages.labels(stage).observe(seconds)
        if record.documents:
            self._documents.inc(record.documents)
        if record.asks_models or record.passages or record.batches:
            self._write_models(record)

    def _write_models(self, record: Record) -> None:
        """Count a request that asks the models, or a search that did."""
        method = "single" if record.documents == 1 else "batch"
        self._tei.add("te_request_count", method)
        if record.status < 400:
            self._tei.add("te_request_success", method)
            self._whole.observe(record.seconds)
        else:
            self._tei.add("te_request_failure", _failure(record))
        for part, seconds in record.parts.items():
            self._parts[cast("Part", part)].observe(seconds)
        if record.tokens:
            self._tokens.inc(record.tokens)
        for size, tokens in record.batches:
            self._sizes.observe(size)
            self._run_tokens.observe(tokens)

    def exposed(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their media type, in the format that ``accept`` prefers."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (DeadlineError, "deadline"),
    (OverloadError, "overloaded"),
    (LoadingError, "unhealthy"),
    (TooLargeError, "batch_size"),
    (RequestError, "validation"),
)
"""TEI's labels of failed requests by class of error, the first that fits; ``deadline`` is ours."""


def _failure(record: Record) -> str:
    """Return TEI's label of a failed request; ``left`` is ours."""
    if record.left:
        return "left"
    other = "validation" if record.status < 500 else "inference"
    return next((label for kind, label in _FAILURES if isinstance(record.error, kind)), other)


class _Counts(Collector):
    """Counters whose names do not end in ``_total``, as those of TEI. OpenMetrics has no such counters, so
    that their type is unknown there.
    """

    _LABELS = (
        ("te_request_count", "method", "Requests that ask the models, by number of texts."),
        ("te_request_success", "method", "Requests that ask the models and end with a status below 400."),
        ("te_request_failure", "err", "Requests that ask the models and end with an error, by cause."),
    )

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, str], int] = {}
        registry.register(self)

    def add(self, name: str, label: str) -> None:
        """Add one."""
        with self._lock:
            self._values[name, label] = self._values.get((name, label), 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Yield the counters."""
        with self._lock:
            values = dict(self._values)
        for name, label, about in self._LABELS:
            family = Metric(name, about, "unknown")
            for (counted, value), count in values.items():
                if counted == name:
                    family.add_sample(name, {label: value}, count)
            yield family


class _State(Collector):
    """What is so at the moment of the request for the metrics."""

    def __init__(self, service: Service, log: LogStream) -> None:
        self._service, self._log = service, log

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        found: list[Metric] = [
            _gauge(
                "es_rerank_build_info", "The release.", 1, version=RELEASE, python=platform.python_version()
            ),
            _gauge(
                "es_rerank_ready",
                "Whether /readyz answers 200, as far as it is known.",
                int(self._service.is_ready()),
            ),
            _gauge(
                "es_rerank_models_loaded", "Whether the models are loaded.", int(self._service.fault == "")
            ),
            _count(
                "es_rerank_key_file_failures",
                "Files of keys that could not be read again; the keys before stay in force.",
                self._service.keys.failures,
            ),
            _count(
                "es_rerank_log_dropped",
                "Lines that were left out because the log cannot be written.",
                self._log.dropped,
            ),
        ]
        if self._service.fault == "":
            models = self._service.models()
            found.append(_gauge("es_rerank_rerankers", "Rerankers that are loaded.", len(models.rerankers)))
        if (pool := self._service.pool) is not None:
            figures = pool.figures()
            found += [
                _gauge("te_queue_size", "Items that wait for a model.", figures.waiting),
                _gauge("es_rerank_running", "Items that models work on.", figures.running),
                _gauge("es_rerank_waiting_seconds", "Estimated seconds of waiting work.", figures.waiting_s),
                _count("es_rerank_calls_refused", "Calls refused: they would be late.", figures.refused),
                _count("es_rerank_calls_late", "Calls not complete by their deadline.", figures.late),
                _count("es_rerank_calls_dropped", "Calls whose caller left.", figures.dropped),
            ]
        if (connections := self._service.connections) is not None:
            now = connections.figures()
            ended = CounterMetricFamily(
                "es_rerank_connections_ended", "Connections that the sidecar ended.", labels=["reason"]
            )
            for reason, count in now.ended.items():
                ended.add_metric([reason], count)
            found += [
                _gauge("es_rerank_connections", "Open connections.", now.open),
                _gauge("es_rerank_connections_busy", "Connections with a request.", now.busy),
                ended,
            ]
        if (cache := self._service.cache) is not None:
            held = cache.figures()
            found += [
                _gauge("es_rerank_score_cache_entries", "Scores in the cache.", held.entries),
                _count("es_rerank_score_cache_hits", "Scores found in the cache.", held.hits),
                _count(
                    "es_rerank_score_cache_misses",
                    "Scores computed, because the cache had none.",
                    held.misses,
                ),
            ]
        return found


def _gauge(name: str, about: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(name, about, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _count(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(name, about, value=value)
