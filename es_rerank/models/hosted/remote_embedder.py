"""An embedder over any embedding service: OpenAI's, Cohere's, another es-rerank sidecar, or a server in one
of the dialects of ``dialects.asking_vectors``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import httpx
from pydantic import SecretStr

from ...addresses import query_secrets
from ...bounded_answers import Bound
from ...dialects.asking import below
from ...dialects.asking_vectors import (
    VECTOR_EXAMPLE,
    VECTORS_BY_NAME,
    AskVectors,
    HeardVectors,
    VectorService,
    names_vectors,
    told_at,
    vector_trials,
)
from ...errors import RemoteModelError, SettingsError
from ...text.chunking import Chunker
from .. import Vectors
from ..embedder_spec import MOST_INDEXED_DIMS, EmbedderSpec
from .answers import FEW_BYTES, json_of, said_in
from .http_embedder import EmbedderTerms, HttpEmbedder, Purpose
from .http_service import service_address
from .retrying import TransientError
from .service_facts import EmbedderFacts, embedder_facts_in
from .vector_answers import most_vector_bytes, unit_vectors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LOG = logging.getLogger(__name__)

_NOT_NOW = frozenset({401, 402, 403, 407, 408, 425, 429, 500, 502, 503, 504})
"""Statuses of a trial that say nothing about the dialect."""

Measure = Callable[[str], "tuple[Tokenizer, str | None]"]
"""Returns, for the name of a model, the tokenizer by which its passages are cut, and the tokenizer's name,
which is None if it is the model's own."""

_LONGEST_WORDS = 60
"""Most characters that the message of a failed trial repeats of one answer."""

_LONGEST_NAME = 256
"""Most characters of a model's name: an index records it, and messages repeat it."""


class RemoteEmbedder(HttpEmbedder):
    """Embeds texts with the model of a service. **It sends the texts to that service**, which may bill them.

    ``spec`` says which: see ``embedder_spec``. ``url`` is the address of the service, ``dialect`` the name of
    a row of ``dialects.asking_vectors``. Without it, the dialect is found by one trial: ``GET /info`` tells a
    sidecar and TEI; otherwise two short texts are sent in one format after the other, until one is
    understood. The path of ``url`` is kept if it says what is asked there (``…/embeddings``, ``…/embed``),
    else the path of the dialect is put behind it. ``?model=NAME`` chooses a model.

    ``name`` is the name of the model, whatever the address: a sidecar and TEI tell it, others are asked for
    one by name, or name it in their answers. A service that answers with another model than before raises
    RemoteModelError: vectors of two models cannot be compared. Credentials in the address are sent as basic
    authentication, ``api_key`` as ``Authorization: Bearer``. Raises SettingsError for an address that cannot
    be used.
    """

    calls_at_once = 2
    """So many calls of ``embed_accepted`` keep requests in flight while the vectors of one are taken."""

    def __init__(
        self,
        spec: EmbedderSpec,
        url: str,
        *,
        dialect: str | None = None,
        model: str | None = None,
        api_key: SecretStr | None = None,
        measure: Measure | None = None,
        named_by: str = "remote:",
        key_setting: str = "ES_RERANK_REMOTE_API_KEY",
        most: int | None = None,
        timeout_s: float = 60.0,
        patience_s: float = 600.0,
    ) -> None:
        self.key_setting = key_setting
        address = service_address(url, named_by)
        credentials = (address.username, address.password) if address.userinfo else None
        if credentials and api_key:
            raise SettingsError(
                f"both the address of {address.host} and {key_setting} hold credentials; give one of them"
            )
        self.spec, self._dialect = spec, None if dialect is None else VECTORS_BY_NAME[dialect]
        self._path = address.path.rstrip("/")
        self._address = address.copy_with(userinfo=b"", fragment=None, path=self._path or "/")
        self._model = model or address.params.get("model") or None
        if self._dialect is not None and self._dialect.needs_model and not self._model:
            raise SettingsError(f"remote:{dialect}: needs a model; write remote:{dialect}:URL?model=NAME")
        super().__init__(
            service=f"the embedding service {self._address.copy_with(query=None)}",
            api_key=api_key,
            most=most,
            timeout_s=timeout_s,
            patience_s=patience_s,
            credentials=credentials,
            secrets=query_secrets(url),
        )
        self._measure = measure
        self._named_most, self._facts = most, EmbedderFacts()
        self._asked: tuple[VectorService, httpx.URL] | None = None
        self._answered: str | None = None
        self._dims = spec.dims
        self._doubted = False

    @property
    def dialect(self) -> str | None:
        """The dialect in which the service is asked; None until it is found."""
        return self._asked[0].name if self._asked else self._dialect.name if self._dialect else None

    @property
    def origin(self) -> str:
        """Scheme, host and port of the service: what an index may record of the address."""
        return f"{self._address.scheme}://{self._address.netloc.decode()}"

    @property
    def name(self) -> str:
        """The model's own name, which an index records in its mapping's ``_meta``."""
        return self._stated_name or super().name

    @property
    def dims(self) -> int:
        """The number of dimensions of a vector: those asked for, else those that the service answers."""
        return self._dims or super().dims

    @property
    def _stated_name(self) -> str | None:
        return self.spec.name_with(self.spec.model) if self.spec.kind in ("openai", "cohere") else None

    @property
    def room(self) -> int | None:
        """How many tokens of a passage the model reads behind ``?passage_prefix=``, as far as it is stated;
        None if it is not.
        """
        room, prefix = (
            self.spec.room or (None if self._stated_name else self.learnt.room),
            self._prefix("passage"),
        )
        if room is None or not prefix or self._measure is None:
            return room
        return max(room - Chunker(self.tokenizer).count_before(prefix), 1)

    @property
    def scripts(self) -> tuple[str, ...] | None:
        """The scripts that a sidecar's model was trained on, known after the first texts."""
        return self._facts.scripts

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer by which passages are cut: the model's own if it is installed here, or else a
        measure.
        """
        return self._measured[0]

    def cut_by(self) -> str | None:
        """Return the name of that tokenizer; None if it is the model's own."""
        return self._measured[1]

    def served_by(self) -> dict[str, str]:
        """Return what an index records of the service: ``dialect`` and ``origin``, without credentials or
        path.
        """
        return {"dialect": self.dialect or "", "origin": self.origin}

    @cached_property
    def _measured(self) -> tuple[Tokenizer, str | None]:
        if self._measure is None:
            raise SettingsError(f"{self._service} has no tokenizer here; give one by --tokenizer")
        return self._measure(self.name)

    def _prefix(self, purpose: Purpose) -> str:
        return self.spec.query_prefix if purpose == "query" else self.spec.passage_prefix

    # --- finding out how it is asked ------------------------------------------------------------------------

    async def _learn(self, timeout_s: float) -> EmbedderTerms:
        facts = await self._told(timeout_s) if self._dialect is None or self._tells else EmbedderFacts()
        service, heard = await self._found(facts, timeout_s)
        vectors = self._checked(heard, len(VECTOR_EXAMPLE))
        dims = vectors.shape[1]
        if dims > MOST_INDEXED_DIMS:
            raise RemoteModelError(
                f"{self._service} makes vectors of {dims} dimensions, and Elasticsearch indexes at most "
                f"{MOST_INDEXED_DIMS}; ask for fewer by ?dims=, if the model can",
                service=self._service,
            )
        model = facts.model if service.name == "es-rerank" else self._model or facts.model or heard.model
        if service.name == "elasticsearch":
            model = model or self._path.rpartition("/")[2]
        if not model:
            raise RemoteModelError(
                f"{self._service} does not say which model it has, and an index records that; add "
                "?model=NAME to the address",
                service=self._service,
            )
        if len(model) > _LONGEST_NAME or not model.isprintable():
            raise RemoteModelError(
                f"{self._service} says that its model is {ascii(model)[:_LONGEST_WORDS]}, which is no name "
                f"of at most {_LONGEST_NAME} characters that can be printed; name it by ?model=NAME",
                service=self._service,
            )
        self._facts, self._dims, self._answered = facts, dims, heard.model
        self._most = self._named_most or min(facts.batch or service.most, service.most)
        _LOG.info("%s is asked in the dialect %s", self._service, service.name)
        if heard.model and self._model and heard.model[:_LONGEST_NAME] != self._model and service.names_model:
            # It may be an alias, or the name of a deployment.
            said = ascii(heard.model)[:_LONGEST_WORDS]
            _LOG.warning("%s calls the model %s %s; the first is recorded", self._service, self._model, said)
        return EmbedderTerms(self.spec.name_with(model), dims, facts.room)

    @property
    def _tells(self) -> bool:
        return self._dialect is not None and self._dialect.name in ("es-rerank", "tei")

    async def _found(self, facts: EmbedderFacts, timeout_s: float) -> tuple[VectorService, HeardVectors]:
        """Return how the service is asked, and its answer to the example."""
        trials = self._trials(facts)
        tried: list[str] = []
        for service, path in trials:
            url = self._url_of(service, path)
            response, parsed = await self._post(service, url, VECTOR_EXAMPLE, "passage", timeout_s)
            status = response.status_code
            heard = service.read(parsed, len(VECTOR_EXAMPLE)) if status == 200 else None
            if heard is not None:
                self._asked = service, url
                return service, heard
            if status in _NOT_NOW or len(trials) == 1:
                raise self._refusal(status, response.headers, said_in(response, parsed))
            words = self._said(status, said_in(response, parsed))
            tried.append(f"{service.name} at {path}: it {words[:_LONGEST_WORDS]}")
        raise RemoteModelError(
            f"{self._service} understands no dialect of embedding services ({'; '.join(tried)}); check the "
            "address, add the model if it needs one (URL?model=NAME), or name the dialect "
            f"(remote:DIALECT:URL, with one of {', '.join(VECTORS_BY_NAME)})",
            service=self._service,
        )

    def _trials(self, facts: EmbedderFacts) -> list[tuple[VectorService, str]]:
        named = self._dialect
        if facts.ours and named is not None and named.name == "tei":
            # Its path of TEI takes no name of a model, and answers with the default.
            named = self._dialect = None
        if named is None and facts.of_tei:
            named = VECTORS_BY_NAME["es-rerank" if facts.ours else "tei"]
        if named is None:
            return vector_trials(self._path, named=self._model is not None)
        if self._dialect is None:
            root = told_at(self._path).removesuffix("/info")
            return [(named, root + named.path)]
        return [(named, self._path if names_vectors(self._path) else below(self._path, named.path))]

    async def _told(self, timeout_s: float) -> EmbedderFacts:
        """Return what the service says about its embedder; nothing if it has no such path."""
        if "/_inference/" in self._path:
            return EmbedderFacts()
        path = told_at(self._path)
        facts = embedder_facts_in(await self._get(path, self._model, timeout_s))
        if (
            not facts.ours
            and self._model
            and facts.model not in (None, self._model)
            and not facts.names_folder
        ):
            raise RemoteModelError(
                f"{self._service} says that its model is {ascii(facts.model)[:_LONGEST_WORDS]}, and not "
                f"{self._model}; leave ?model= out, or name another address",
                service=self._service,
            )
        if not facts.ours or facts.embeds:
            return facts
        if self._model is None:  # the sidecar told about its reranker
            listed = await self._get(path.removesuffix("/info") + "/v1/models", None, timeout_s)
            rows = listed.get("data") if isinstance(listed, dict) else None
            names = [
                row.get("id")
                for row in (rows if isinstance(rows, list) else [])
                if isinstance(row, dict) and row.get("type") == "embedding"
            ]
            self._model = next((name for name in names if isinstance(name, str)), None)
            if self._model is not None:
                return embedder_facts_in(await self._get(path, self._model, timeout_s))
        raise RemoteModelError(
            f"{self._service} serves no embedder{f' {self._model}' if self._model else ''}; its operator "
            "chooses one by --embedder",
            service=self._service,
        )

    async def _get(self, path: str, model: str | None, timeout_s: float) -> object:
        url = self._address.copy_with(path=path)
        url = url.copy_set_param("model", model) if model else url.copy_remove_param("model")
        with self._over_the_network(Bound(FEW_BYTES, cut=True)):
            response = await self._http.get(url, headers=self._headers("Bearer"), timeout=timeout_s)
        parsed = await json_of(response)
        if response.status_code in (429, 502, 503, 504):
            raise self._refusal(response.status_code, response.headers, said_in(response, parsed))
        if (
            response.status_code in (400, 404, 422)
            and model
            and "not served" in str(said_in(response, parsed))
        ):
            # A sidecar refuses a model that it does not serve. Without this, a trial would find its default.
            raise self._refusal(response.status_code, response.headers, said_in(response, parsed))
        return parsed if response.status_code == 200 else None

    # --- one request ----------------------------------------------------------------------------------------

    async def _ask(self, texts: Sequence[str], purpose: Purpose, timeout_s: float) -> Vectors:
        if self._asked is None:
            raise AssertionError("nothing is sent before the service is known")
        service, url = self._asked
        if self._doubted:
            await self._same(timeout_s)
        try:
            response, parsed = await self._post(service, url, texts, purpose, timeout_s)
        except (TransientError, TimeoutError, asyncio.CancelledError):
            self._doubted = True  # it may come back with another model
            raise
        self._doubted |= response.status_code >= 500
        heard = service.read(parsed, len(texts)) if response.status_code == 200 else None
        if heard is None:
            raise self._refusal(response.status_code, response.headers, said_in(response, parsed))
        return self._checked(heard, len(texts))

    async def _same(self, timeout_s: float) -> None:
        """Check that a service that was away has the same model. Others tell it in each answer."""
        if self._facts.model is not None:
            now = (await self._told(timeout_s)).model
            self._check_model(now, self._facts.model)
        self._doubted = False

    def _check_model(self, now: str | None, before: str | None) -> None:
        if now != before and now is not None and before is not None:
            raise RemoteModelError(
                f"{self._service} answers with the model {now[:100]} now, and answered with {before[:100]} "
                "before; vectors of two models cannot be compared: name the one that is wanted by "
                "?model=NAME, or start anew",
                service=self._service,
            )

    def _checked(self, heard: HeardVectors, count: int) -> Vectors:
        self._check_model(heard.model, self._answered)
        self._answered = self._answered or heard.model  # the first answer may have named none
        return unit_vectors(heard.rows, count, self._dims, self._service)

    async def _post(
        self, service: VectorService, url: httpx.URL, texts: Sequence[str], purpose: Purpose, timeout_s: float
    ) -> tuple[httpx.Response, object]:
        asked = AskVectors(list(texts), purpose, self._model, self.spec.dims)
        headers = {
            "X-Rerank-Timeout-Ms": str(max(1, int(timeout_s * 1000))),
            **self._headers(service.authorization),
        }
        with self._over_the_network(Bound(most_vector_bytes(texts, self._dims), cut=True)):
            response = await self._http.post(
                url, json=service.write(asked), headers=headers, timeout=timeout_s
            )
        if self._model and "is not served here" in response.headers.get("warning", ""):
            raise RemoteModelError(
                f"{self._service} does not serve {self._model}, and answers with its default; name a model "
                "that it serves by ?model=, or leave ?model= out",
                service=self._service,
            )
        return response, await json_of(response)

    def _refusal(self, status: int, headers: Mapping[str, str], body: object) -> Exception:
        if status == 429 and "insufficient_quota" in str(body):
            # OpenAI's answer when an account has no money left: waiting does not help.
            return RemoteModelError(
                f"{self._service} {self._said(status, body)}", service=self._service, status=status
            )
        return super()._refusal(status, headers, body)

    def _headers(self, scheme: str) -> dict[str, str]:
        return {} if self._key is None else {"Authorization": f"{scheme} {self._key.get_secret_value()}"}

    def _url_of(self, service: VectorService, path: str) -> httpx.URL:
        """Return the address of ``path``. The model's name stays in it if the body has no key for it."""
        url = self._address.copy_with(path=path)
        if service.names_model or service.name == "tei":
            return url.copy_remove_param("model")
        return url.copy_set_param("model", self._model) if self._model else url
