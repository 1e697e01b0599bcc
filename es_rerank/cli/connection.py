"""The Elasticsearch client of a command."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any, TypeVar
from urllib.parse import urlsplit

import certifi
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    Elasticsearch,
    SerializationError,
    SSLError,
    TransportError,
)

from .. import node
from ..addresses import masked
from ..errors import SettingsError, UnreachableError
from ..node.probe import probe
from ..retrievers.execution.product import foreign, is_foreign, too_old
from ..settings import Settings
from .output import stderr
from .starting import shown_start

C = TypeVar("C", Elasticsearch, AsyncElasticsearch)

BULK_TIMEOUT_S = 120.0
"""Seconds for one bulk request: Elasticsearch may take long to add the vectors of long documents to the HNSW
graph."""

_THERE = frozenset({403, 405, 410})
"""Elasticsearch is there: it refuses only the request for its health, or serverless has none."""

_GREETING_S = 5.0
"""Seconds for the first answer; a node that runs answers in milliseconds."""


def connect(url: str | None, settings: Settings, *, request_timeout_s: float = 30.0) -> Elasticsearch:
    """Return a client of the Elasticsearch at ``url``, or else at the address in the settings, or else of the
    running local node.

    ``request_timeout_s`` limits each later request, in seconds. Raises SettingsError for an address or
    credentials that cannot be used, NodeError when no address is known, UnreachableError when no
    Elasticsearch answers there. An error response of Elasticsearch, such as 401, is raised unchanged.
    """
    where = node.address(url or settings.elasticsearch_url, settings.state_dir)
    client = client_of(where, settings, request_timeout_s=request_timeout_s)
    _greet(client, masked(where))
    _tell_version(client)
    return client


def client_of(url: str, settings: Settings, *, request_timeout_s: float = 30.0) -> Elasticsearch:
    """Return a client of ``url`` with the credentials in the settings, without sending any request.

    ``request_timeout_s`` limits each request, in seconds. Raises SettingsError for an address or credentials
    that cannot be used.
    """
    return _client(Elasticsearch, url, settings, request_timeout_s)


def async_client_of(url: str, settings: Settings, *, request_timeout_s: float = 30.0) -> AsyncElasticsearch:
    """Return an asynchronous client as ``client_of`` does. Raises the same error."""
    return _client(AsyncElasticsearch, url, settings, request_timeout_s)


def _client(kind: type[C], url: str, settings: Settings, request_timeout_s: float) -> C:
    key = settings.elasticsearch_api_key
    trusted = ca_certs(url, settings)
    try:
        return kind(
            with_port(url),
            **trusted,
            api_key=key.get_secret_value() if key else None,
            request_timeout=request_timeout_s,
        )
    except ValueError as error:
        raise SettingsError(
            f"cannot connect to {masked(url)}: {error}; check --elasticsearch-url and "
            "ES_RERANK_ELASTICSEARCH_API_KEY"
        ) from error


def found_or_started(url: str | None, settings: Settings, *, plugin: bool = False) -> node.Node:
    """Return the node at ``url``, or else our own local node, started if it does not run.

    ``plugin`` installs the plugin in a node that is started. This is for commands that write their own index:
    they never use the node that an environment variable names. Raises UnreachableError when nothing answers
    at ``url``, NodeError when no node can be started here.
    """
    if url is not None:
        url = node.address(url, settings.state_dir)
        key = settings.elasticsearch_api_key
        health = probe(
            url, api_key=key.get_secret_value() if key else None, ca_certs=settings.elasticsearch_ca_certs
        )
        return node.Node(
            url=url,
            version=health.version or "unknown",
            how="given",
            pid=None,
            home=None,
            distribution=health.distribution,
        )
    with shown_start() as progress:
        running = node.running(settings.state_dir) if plugin else None
        download_url = settings.elasticsearch_download_url
        return running or node.up(
            settings.state_dir, plugin=plugin, download_url=download_url, progress=progress
        )


def ca_certs(url: str, settings: Settings) -> dict[str, Any]:
    """Return the client's argument ``ca_certs``: the file of CAs that an ``https`` certificate is checked
    against.

    For another scheme the result is empty, because the client refuses the argument there. When the settings
    name no file, the result is the file of public CAs, which the client trusts by default. Raises
    SettingsError for a file that holds no certificates.
    """
    if urlsplit(url).scheme != "https":
        return {}
    path = settings.elasticsearch_ca_certs
    if path is None:
        return {"ca_certs": certifi.where()}
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise SettingsError(
            f"ES_RERANK_ELASTICSEARCH_CA_CERTS: cannot read certificates from {path}: {error}; name a PEM "
            "file, such as http_ca.crt"
        ) from error
    return {"ca_certs": str(path)}


def with_port(url: str) -> str:
    """Return ``url`` with an explicit port, as the elasticsearch client requires it."""
    parts = urlsplit(url)
    return (
        url
        if parts.port
        else parts._replace(
            netloc=f"{parts.netloc.rstrip(':')}:{443 if parts.scheme == 'https' else 80}"
        ).geturl()
    )


def _tell_version(client: Elasticsearch) -> None:
    """Print a line for an Elasticsearch that is older than what is supported. Its version may be unknown."""
    with contextlib.suppress(ApiError, TransportError):
        brief = client.options(request_timeout=_GREETING_S, max_retries=0)
        if (old := too_old(brief.info().body)) is not None:
            stderr.print(f"warning: {old}", markup=False, highlight=False, soft_wrap=True)


def _greet(client: Elasticsearch, url: str) -> None:
    """Ask for the cluster's health, and raise UnreachableError when there is no Elasticsearch.

    Every distribution answers this request; ``ping`` needs a root page that some do not have.
    """
    try:
        client.options(request_timeout=_GREETING_S, max_retries=0).cluster.health()
    except ApiError as error:
        if is_foreign(error.status_code, error.meta.headers):
            raise UnreachableError(
                f"{foreign(url)}; check --elasticsearch-url or ELASTICSEARCH_URL", url=url
            ) from error
        if error.status_code not in _THERE:
            raise
    except SerializationError as error:
        raise UnreachableError(
            f"{foreign(url)}; check --elasticsearch-url or ELASTICSEARCH_URL", url=url
        ) from error
    except SSLError as error:
        raise UnreachableError(
            f"the certificate of Elasticsearch at {url} is not trusted ({error.message}); name the file of "
            "its CA in ES_RERANK_ELASTICSEARCH_CA_CERTS",
            url=url,
        ) from error
    except TransportError as error:
        raise UnreachableError(
            f"no Elasticsearch answers at {url} ({error.message}); check --elasticsearch-url or "
            "ELASTICSEARCH_URL, or start a node with: es-rerank up",
            url=url,
        ) from error
