"""How a command gets its Elasticsearch client."""

from __future__ import annotations

from urllib.parse import urlsplit

from elasticsearch import AuthorizationException, Elasticsearch, TransportError, UnsupportedProductError

from ..errors import SettingsError, UnreachableError
from ..node import address
from ..node.probe import masked
from ..settings import Settings

_GREETING_S = 5.0
"""Seconds that a first answer may take; a node that is up answers in milliseconds."""


def connect(url: str | None, settings: Settings, *, request_timeout_s: float = 30.0) -> Elasticsearch:
    """Return a client of the Elasticsearch at ``url``, else at the setting's address, else of the running local node.

    ``request_timeout_s`` bounds each later request, in seconds.
    Raises SettingsError for an address or credentials that cannot be used, NodeError when no address is known, and
    UnreachableError when no Elasticsearch answers there; its own refusals (401, say) pass through.
    """
    where = address(url or settings.elasticsearch_url, settings.state_dir)
    key = settings.elasticsearch_api_key
    try:
        client = Elasticsearch(_with_port(where), api_key=key.get_secret_value() if key else None, request_timeout=request_timeout_s)
    except ValueError as error:
        raise SettingsError(f"cannot connect to {masked(where)}: {error}; check --elasticsearch-url and ES_RERANK_ELASTICSEARCH_API_KEY") from error
    _greet(client, masked(where))
    return client


def _with_port(url: str) -> str:
    """Return ``url`` with its scheme's port written out, which the elasticsearch client insists on."""
    parts = urlsplit(url)
    return url if parts.port else parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{443 if parts.scheme == 'https' else 80}").geturl()


def _greet(client: Elasticsearch, url: str) -> None:
    """Ask for the cluster's health, which every distribution answers (``ping`` needs a root page that some lack)."""
    try:
        client.options(request_timeout=_GREETING_S, max_retries=0).cluster.health()
    except AuthorizationException:
        return  # it knows us and does not let us see its health: it is there
    except UnsupportedProductError as error:
        raise UnreachableError(f"what answers at {url} is not Elasticsearch; check --elasticsearch-url or ELASTICSEARCH_URL", url=url) from error
    except TransportError as error:
        raise UnreachableError(
            f"no Elasticsearch answers at {url} ({error.message}); check --elasticsearch-url or ELASTICSEARCH_URL, or start a node with: es-rerank up",
            url=url,
        ) from error
