"""Cohere's hosted rerankers, through Cohere's own SDK. Queries and passages leave this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import httpx
from pydantic import SecretStr

from ...bounded_answers import Bound
from ...errors import RemoteScoreError, RequestError, SettingsError
from ...extras import missing_extra
from ...types import Scale
from .answers import FEW_BYTES, Answer, reason, values_by_index
from .http_reranker import HttpReranker, Terms
from .http_service import CONCURRENCY, SERVICE_TIMEOUT_S, service_address
from .secrets import without_secrets

if TYPE_CHECKING:
    from cohere import AsyncClientV2

_LOG = logging.getLogger(__name__)

MOST_DOCUMENTS = 1_000
"""Most documents in one request: Cohere advises against more (https://docs.cohere.com/reference/rerank)."""

_BYTES_OF_ROW = 256
"""Most bytes of a row: an index and a number, without the text."""

MAX_TOKENS_PER_DOC = 4_096
"""Cohere's own default (same page as above)."""


class CohereReranker(HttpReranker[Terms]):
    """A reranker that Cohere hosts, such as ``rerank-v3.5``. It is used only when the user names it.

    **Query and passages are sent to Cohere**, or to the private deployment at ``base_url``, which bills them.
    The scores are Cohere's relevance scores, from 0 to 1. The score of a passage does not depend on the other
    passages, so a list of more than a thousand may be split. Cohere cuts a passage to ``max_tokens_per_doc``
    tokens and does not report it: ``truncated`` marks only a passage so long that some of its characters were
    not sent. Warnings from Cohere are logged. Cohere refuses empty texts: a passage of white space alone is
    not sent and gets the score 0, and an empty query raises RequestError.

    When ``api_key`` is None, the SDK reads CO_API_KEY. When ``base_url`` is None, the SDK reads CO_API_URL,
    or uses Cohere's own address. Further arguments and errors are those of ``HttpReranker``.
    Raises MissingExtraError when the SDK is not installed, SettingsError when there is no key.
    """

    scale: Scale = "probability"
    key_setting = "ES_RERANK_COHERE_API_KEY, or CO_API_KEY"
    transient = frozenset({500, 502, 503, 504})

    def __init__(
        self,
        model: str,
        *,
        name: str | None = None,
        api_key: SecretStr | None = None,
        base_url: str | None = None,
        max_tokens_per_doc: int = MAX_TOKENS_PER_DOC,
        timeout_s: float = SERVICE_TIMEOUT_S,
        concurrency: int = CONCURRENCY,
    ) -> None:
        if not model:
            raise SettingsError(
                "no model of Cohere's is named; write cohere:MODEL, for example cohere:rerank-v3.5"
            )
        if max_tokens_per_doc < 1:
            raise SettingsError(f"max_tokens_per_doc must be at least 1, found {max_tokens_per_doc}")
        if base_url is not None and service_address(base_url, "ES_RERANK_COHERE_URL").userinfo:
            raise SettingsError(
                "the address that ES_RERANK_COHERE_URL names holds credentials; give the key as "
                "ES_RERANK_COHERE_API_KEY"
            )
        key = api_key or SecretStr(os.environ.get("CO_API_KEY", ""))
        if not key.get_secret_value():
            raise SettingsError(
                "cohere: models need a key; set ES_RERANK_COHERE_API_KEY or CO_API_KEY "
                "(https://dashboard.cohere.com/api-keys)"
            )
        self._model, self._max_tokens_per_doc, self._base_url = model, max_tokens_per_doc, base_url
        super().__init__(
            name=name or model,
            service=f"Cohere's {model}",
            api_key=key,
            timeout_s=timeout_s,
            concurrency=concurrency,
        )

    def _connect(self) -> None:
        super()._connect()
        assert self._key is not None  # noqa: S101 the constructor checks it
        self._client = _client(self._key.get_secret_value(), self._base_url, self._http)

    async def _ask(self, terms: Terms, query: str, texts: Sequence[str], timeout_s: float) -> Answer:
        from cohere.core import ApiError, ParsingError  # noqa: PLC0415 the SDK is an extra

        try:
            with self._over_the_network(Bound(FEW_BYTES + _BYTES_OF_ROW * len(texts))):
                answer = await self._client.rerank(
                    model=self._model,
                    query=query,
                    documents=texts,
                    max_tokens_per_doc=self._max_tokens_per_doc,
                    # No retries by the SDK: its waits ignore the deadline.
                    request_options={"timeout": timeout_s, "max_retries": 0},
                )
            rows = [(row.index, row.relevance_score) for row in answer.results]
            warnings = (answer.meta and answer.meta.warnings) or []
        except (ApiError, ParsingError) as error:
            raise self._refusal(error.status_code or 0, error.headers or {}, error.body) from None
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            # The SDK checks neither types nor levels nor encoding: unexpected answers cause these errors.
            raise RemoteScoreError(
                f"{self._service} answered in a shape that Cohere's SDK cannot read "
                f"({without_secrets(str(error), self._secrets)}); check the address (ES_RERANK_COHERE_URL)",
                service=self._service,
            ) from error
        if warnings:
            # Their text may repeat what was sent, which the sidecar's log never has.
            _LOG.warning("%s sent %d warnings with its answer", self._service, len(warnings))
            _LOG.debug("%s warns: %s", self._service, reason(warnings, self._secrets))
        return Answer(values_by_index(rows, len(texts), terms.scale, self._service))

    async def _terms(self, timeout_s: float) -> Terms:  # noqa: ARG002 they are known
        return Terms(MOST_DOCUMENTS, self.scale)

    def _wording(self, query: str) -> str:
        if not query.strip():
            raise RequestError("the query is empty, which Cohere refuses; give one with words in it")
        return query

    def _reads(self, terms: Terms, text: str) -> bool:  # noqa: ARG002 the scale is always the same
        return bool(text.strip())


def _client(key: str, base_url: str | None, http: httpx.AsyncClient) -> AsyncClientV2:
    """Return the SDK's client. Raises MissingExtraError when the SDK is not installed."""
    try:
        from cohere import AsyncClientV2  # noqa: PLC0415 the SDK is an extra
    except ImportError as error:
        what = "cohere: models need Cohere's SDK, which is not installed"
        raise missing_extra(what, "cohere") from error
    if base_url is None:
        return AsyncClientV2(key, httpx_client=http, log_warning_experimental_features=False)
    return AsyncClientV2(key, base_url=base_url, httpx_client=http, log_warning_experimental_features=False)
