"""Names of HTTP headers, by what they tell about the caller."""

from __future__ import annotations

WITHOUT_IDENTITY = frozenset(
    {
        "b3",
        "baggage",
        "cache-control",
        "dnt",
        "elastic-apm-traceparent",
        "forwarded",
        "newrelic",
        "pragma",
        "priority",
        "referer",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "uber-trace-id",
        "upgrade-insecure-requests",
        "via",
        "x-amzn-trace-id",
        "x-b3-flags",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-spanid",
        "x-b3-traceid",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-datadog-origin",
        "x-datadog-parent-id",
        "x-datadog-sampling-priority",
        "x-datadog-tags",
        "x-datadog-trace-id",
        "x-elastic-internal-origin",
        "x-elastic-product-origin",
        "x-elastic-product-use-case",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-opaque-id",
        "x-real-ip",
        "x-request-id",
        "x-request-start",
        "x-scheme",
    }
)
"""Headers in lower case that do not say who the caller is, nor what the caller may see.

They tell the way of a request (``via``, trace headers) or how its answer may be kept (``cache-control``).
"""
