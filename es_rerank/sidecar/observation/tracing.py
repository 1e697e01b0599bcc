"""Decides whether requests are traced with OpenTelemetry. Can be imported without OpenTelemetry.

Requests are traced when the extra ``otel`` is installed and one of OpenTelemetry's own variables says where
the spans go (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/), or when the
program that started the sidecar has set a provider, as ``opentelemetry-instrument`` does.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from ...errors import SettingsError
from ...extras import missing_extra

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from .spans import Spans

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_EXPORTERS = "OTEL_TRACES_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def configure_tracing(*, texts: bool) -> None:
    """Set the provider of this process as OpenTelemetry's variables say, if they ask for traces.

    ``texts``: whether spans may hold queries, texts, the messages of errors and names of indices. Without it
    they are left out, also of the spans of a provider that another program has set. Raises MissingExtraError
    when the variables ask for traces and the extra is not installed, SettingsError for an exporter that is
    not there, and for a provider whose spans cannot be changed.
    """
    if not texts:
        _clean_spans_of_another()
    names = _names()
    if not names:
        return
    from opentelemetry import trace  # noqa: PLC0415 an extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    from .log import RELEASE  # noqa: PLC0415
    from .span_export import CleaningExporter  # noqa: PLC0415

    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return  # opentelemetry-instrument has set it
    resource = Resource.create()
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "es-rerank"}))
    if "service.version" not in resource.attributes:
        resource = resource.merge(Resource({"service.version": RELEASE}))
    provider = TracerProvider(resource=resource)
    for name in names:
        exporter = _exporter(name)
        provider.add_span_processor(BatchSpanProcessor(exporter if texts else CleaningExporter(exporter)))
    trace.set_tracer_provider(provider)


def _clean_spans_of_another() -> None:
    """Leave out what callers wrote of the spans of the provider that another program has set, if one has."""
    if find_spec("opentelemetry") is None:
        return
    from opentelemetry import trace  # noqa: PLC0415 an extra

    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return
    if not hasattr(provider, "_active_span_processor"):
        raise SettingsError(
            f"the spans of {type(provider).__module__}.{type(provider).__qualname__} may hold queries, and "
            "the sidecar cannot leave them out; set ES_RERANK_TRACE_TEXTS=true if they may, or use "
            "OpenTelemetry's own SDK"
        )
    from .span_export import clean  # noqa: PLC0415 an extra

    clean(cast("TracerProvider", provider))


def try_exporters() -> list[str]:
    """Make each exporter that ``configure_tracing`` would use, end it, and return their names.

    Nothing is traced. Raises what ``configure_tracing`` raises.
    """
    names = _names()
    for name in names:
        _exporter(name).shutdown()
    return names


def _names() -> list[str]:
    """Return the names of the exporters that OpenTelemetry's variables ask for; none if they ask for no
    traces.

    Raises MissingExtraError when they ask for some and the extra is not installed.
    """
    asked = [os.environ[name] for name in (*_ENDPOINTS, _EXPORTERS) if os.environ.get(name)]
    names = [name.strip() for name in (os.environ.get(_EXPORTERS) or "otlp").split(",")]
    if not asked or names == ["none"] or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return []
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise missing_extra(
            "variables of OpenTelemetry, which you can unset, ask for traces, and its SDK is not installed",
            "otel",
        )
    return names


def _exporter(name: str) -> SpanExporter:
    """Return one of the installed exporters; ``otlp`` is OTLP over HTTP, unless a variable says otherwise."""
    protocol = next((os.environ[each] for each in _PROTOCOLS if os.environ.get(each)), "http/protobuf")
    wanted = {"otlp": {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}.get(protocol, protocol)}
    found = entry_points(group="opentelemetry_traces_exporter", name=wanted.get(name, name))
    if not found:
        known = ", ".join(sorted(each.name for each in entry_points(group="opentelemetry_traces_exporter")))
        raise SettingsError(
            f"{_EXPORTERS}: no exporter [{wanted.get(name, name)}] is installed; installed: {known}"
        )
    exporter: SpanExporter = next(iter(found)).load()()
    return exporter


def spans(*, texts: bool, provider: Any = None) -> Spans | None:  # noqa: ANN401 a TracerProvider
    """Return what makes the spans of requests, or None if nobody gets them.

    ``provider``: where they go; None for the provider of this process, if one is set.
    """
    if find_spec("opentelemetry") is None:
        return None
    from opentelemetry import trace  # noqa: PLC0415 an extra

    from .spans import Spans  # noqa: PLC0415

    if provider is None and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None  # nobody has set one
    return Spans(provider, texts=texts)
