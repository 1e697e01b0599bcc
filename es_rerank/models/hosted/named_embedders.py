"""Embedders of OpenAI's and Cohere's, and of servers at other addresses with their APIs."""

from __future__ import annotations

import os

from pydantic import SecretStr

from ...errors import SettingsError
from ..embedder_spec import EmbedderSpec
from .remote_embedder import Measure, RemoteEmbedder

OPENAI_URL, COHERE_URL = "https://api.openai.com/v1", "https://api.cohere.com"


def openai_embedder(
    spec: EmbedderSpec, url: str | None, api_key: SecretStr | None, measure: Measure | None = None
) -> RemoteEmbedder:
    """Return an embedder of OpenAI's, or of the server at ``url``, which may need no key.

    Raises SettingsError when OpenAI itself is to be asked without a key.
    """
    if url is None and api_key is None:
        raise SettingsError(
            "openai: models need a key; set ES_RERANK_OPENAI_API_KEY or OPENAI_API_KEY, or the address of "
            "another server by ES_RERANK_OPENAI_URL"
        )
    return RemoteEmbedder(
        spec,
        url or OPENAI_URL,
        dialect="openai",
        model=spec.model,
        api_key=api_key,
        measure=measure,
        named_by="ES_RERANK_OPENAI_URL",
        key_setting="ES_RERANK_OPENAI_API_KEY, or OPENAI_API_KEY",
    )


def cohere_embedder(
    spec: EmbedderSpec, url: str | None, api_key: SecretStr | None, measure: Measure | None = None
) -> RemoteEmbedder:
    """Return an embedder of Cohere's, or of the private deployment at ``url``. It needs no SDK.

    Raises SettingsError when there is no key.
    """
    key = api_key or SecretStr(os.environ.get("CO_API_KEY", ""))
    if not key.get_secret_value():
        raise SettingsError(
            "cohere: models need a key; set ES_RERANK_COHERE_API_KEY or CO_API_KEY "
            "(https://dashboard.cohere.com/api-keys)"
        )
    return RemoteEmbedder(
        spec,
        url or os.environ.get("CO_API_URL") or COHERE_URL,
        dialect="cohere",
        model=spec.model,
        api_key=key,
        measure=measure,
        named_by="ES_RERANK_COHERE_URL",
        key_setting="ES_RERANK_COHERE_API_KEY, or CO_API_KEY",
    )
