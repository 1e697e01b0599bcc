"""Settings: read once, by the command line or the sidecar, and passed on as plain arguments."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BeforeValidator, Field, FilePath, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .addresses import masked_in
from .defaults import (
    BODY_BYTES_PER_S,
    BODY_TIMEOUT_MS,
    CACHED_SCORES,
    DRAIN_DELAY_MS,
    DRAIN_MS,
    HEADER_TIMEOUT_MS,
    IDLE_TIMEOUT_MS,
    LOG_FORMAT,
    LONGEST_MS,
    MAX_BODY_BYTES,
    MAX_CONNECTIONS,
    MAX_DOCUMENTS,
    MOST_WINDOW,
    PLUGIN_USE,
    TIMEOUT_MS,
    WINDOW,
    WRITE_TIMEOUT_MS,
    LogFormat,
    PluginUse,
)
from .errors import SettingsError

PREFIX = "ES_RERANK_"
BUNDLED_RERANKER = "es-rerank-minilm-l6"
BUNDLED_EMBEDDER = "all-MiniLM-L6-v2"


def _split(value: object) -> object:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


HASH = re.compile(r"[0-9a-f]{64}")
"""The hash of an API key: its SHA-256 in hexadecimal."""

_SERVICE_VARIABLE = re.compile(
    r"(?:\w+_)?(?:"
    r"SERVICE_HOST=.*|SERVICE_PORT(?:_\w+)?=.*|PORT=(?:tcp|udp|sctp)://.*"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?=.*"
    r"|NAME=/.*|ENV_\w+=.*)",
    re.DOTALL,
)
"""Environment variables that begin with our prefix but are not settings, without the prefix. Kubernetes sets
them in every container of a namespace with a Service ``es-rerank`` or ``es-rerank-*``
(https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables). Docker sets them for
a link of that name (https://docs.docker.com/engine/network/links/#environment-variables)."""


def _hashes(value: object) -> object:
    """Return the hashes of API keys, after checking them. A message never repeats a wrong value: it may be a
    key.
    """
    items = (
        [part.strip() for part in value.split(",")]
        if isinstance(value, str)
        else list(value)
        if isinstance(value, (list, tuple))
        else []
    )
    for place, item in enumerate(items, 1):
        if not HASH.fullmatch(item):
            raise ValueError(
                f"item {place} of {len(items)} {fault_of_hash(item)}; give the SHA-256 of each key as 64 "
                "digits of hexadecimal in lower case, with commas between them (printf %s KEY | sha256sum), "
                "or leave the setting out so that no key is asked for"
            )
    return tuple(items)


def fault_of_hash(item: str) -> str:
    """Return what is wrong with a text that is no ``HASH``, without a part of it: it may be a key."""
    if not item:
        return "is empty"
    if HASH.fullmatch(item.lower()):
        return "is in upper case"
    if ":" in item:
        return "has something before the hash"
    return f"has {len(item)} characters and is not a SHA-256"


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Several names in one variable, separated by commas."""

Hashes = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_hashes)]
"""Hashes of API keys in one variable, separated by commas."""


Precision = Annotated[Literal["fp32", "int8", "fp16"] | None, BeforeValidator(lambda value: value or None)]
"""A precision of models; an empty variable leaves it open."""

Instruction = Annotated[str | None, BeforeValidator(lambda value: value or None)]
"""What makes a passage relevant; an empty variable, as compose files write it, states none."""


class Settings(BaseSettings):
    """All settings. Each is an environment variable ``ES_RERANK_<NAME>``; an unknown name is refused."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True)

    elasticsearch_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices(PREFIX + "ELASTICSEARCH_URL", "ELASTICSEARCH_URL"),
        description="Address of Elasticsearch, also `ELASTICSEARCH_URL`. It may contain credentials, but not "
        "for the sidecar. Without it, a running local node is used.",
    )
    elasticsearch_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(PREFIX + "ELASTICSEARCH_API_KEY", "ELASTICSEARCH_API_KEY"),
        description="API key for Elasticsearch, in its encoded form, also `ELASTICSEARCH_API_KEY`. The "
        "sidecar does not use it: callers send their own credentials.",
    )
    elasticsearch_ca_certs: FilePath | None = Field(
        default=None,
        description="File with the CA certificate of an `https` Elasticsearch, such as its `http_ca.crt`. "
        "Without it, the public CAs are trusted.",
    )
    from_api_key: SecretStr | None = Field(
        default=None,
        description="API key for the Elasticsearch that `ingest --from-url` reads, in its encoded form.",
    )
    from_ca_certs: FilePath | None = Field(
        default=None,
        description="File with the CA certificate of that Elasticsearch. Without it, the one of "
        "`ES_RERANK_ELASTICSEARCH_CA_CERTS`.",
    )
    reranker: str = Field(
        default=BUNDLED_RERANKER,
        description=(
            "The reranker: the name of the bundled one, an exported folder, a Hub id, `cohere:MODEL`, "
            "`remote:URL`, `remote:DIALECT:URL` or `cascade:SHARE+FIRST+MODEL`."
        ),
    )
    more_rerankers: Names = Field(
        default=(),
        description="More rerankers that the sidecar serves, comma-separated, each `MODEL` or `NAME=MODEL`. "
        "A request chooses one by `inference_id`.",
    )
    cohere_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(PREFIX + "COHERE_API_KEY", "CO_API_KEY", "COHERE_API_KEY"),
        description="API key for `cohere:` models, also `CO_API_KEY` or `COHERE_API_KEY`.",
    )
    cohere_url: str | None = Field(
        default=None,
        description="Address of a private deployment of Cohere's models. Without it, Cohere's own service is "
        "used.",
    )
    remote_api_key: SecretStr | None = Field(
        default=None,
        description="API key for `remote:` services, sent to each of them as `Authorization: Bearer`, "
        "to Elasticsearch as `ApiKey`.",
    )
    openai_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(PREFIX + "OPENAI_API_KEY", "OPENAI_API_KEY"),
        description="API key for `openai:` embedders, also `OPENAI_API_KEY`.",
    )
    openai_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices(PREFIX + "OPENAI_URL", "OPENAI_BASE_URL"),
        description="Address of the server of `openai:` embedders, also `OPENAI_BASE_URL`. Without it, "
        "OpenAI's own service is used.",
    )
    llm_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices(PREFIX + "LLM_API_KEY", "OPENAI_API_KEY"),
        description="API key for the server that `ask --llm` names, also `OPENAI_API_KEY`.",
    )
    embedder: str = Field(
        default=BUNDLED_EMBEDDER,
        description="The embedding model for queries and ingest: the name of the bundled one, an exported "
        "folder, a Hub id, `maven:NAME`, `openai:MODEL`, `cohere:MODEL`, `remote:URL` or "
        "`remote:DIALECT:URL`.",
    )
    more_embedders: Names = Field(
        default=(),
        description="More embedders that the sidecar serves, comma-separated, each `MODEL` or `NAME=MODEL`. "
        "A request chooses one by `model_id` or `model`.",
    )
    window: int = Field(
        default=WINDOW,
        ge=1,
        le=MOST_WINDOW,
        description="How many first-stage hits the command line reranks (`rank_window_size`).",
    )
    timeout_ms: int = Field(
        default=TIMEOUT_MS,
        ge=1,
        description="Deadline of one search, in milliseconds. The default is less than the 10 seconds after "
        "which the official client stops waiting.",
    )
    max_timeout_ms: int = Field(
        default=LONGEST_MS,
        ge=1,
        description="Longest deadline that a caller of the sidecar may ask for, in milliseconds.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        description="How many model runs go on in parallel, with one thread each. 0 means one per core, and "
        "at most 4 where `ES_RERANK_EXECUTION_PROVIDER` is not the CPU.",
    )
    execution_provider: str = Field(
        default="CPUExecutionProvider",
        description="The ONNX Runtime execution provider that runs the models, such as "
        "`CUDAExecutionProvider`.",
    )
    precision: Precision = Field(
        default=None,
        description="Precision of rerankers that run here: `fp32`, `int8` or `fp16`. Without it, a folder "
        "takes the faster one of fp32 and int8 on the CPU, and fp16 on a GPU if it has it. Embedders keep "
        "the precision that their folder names.",
    )
    instruction: Instruction = Field(
        default=None,
        description="What makes a passage relevant, in a sentence, for rerankers that read it: decoders such "
        "as Qwen3-Reranker. Without it, they read the instruction that their folder names.",
    )
    score_cache: int = Field(
        default=CACHED_SCORES,
        ge=0,
        description="How many scores the sidecar caches, with 300 bytes each. 0 means none. The cache is in "
        "the memory of its process.",
    )
    max_body_bytes: int = Field(
        default=MAX_BODY_BYTES,
        ge=1,
        description="Largest request body that the sidecar reads, in bytes. `--pass-through` streams larger "
        "bodies to Elasticsearch.",
    )
    max_documents: int = Field(
        default=MAX_DOCUMENTS,
        ge=1,
        description="Maximum number of documents in one rerank request to the sidecar.",
    )
    elasticsearch_runs: Names = Field(
        default=(),
        description="Features that a licensed Elasticsearch runs itself, comma-separated: rrf, linear, "
        "text_similarity_reranker, pinned, query_vector_builder.",
    )
    plugin: PluginUse = Field(
        default=PLUGIN_USE,
        description="When a search runs inside Elasticsearch, by its plugin es-rerank: `auto` (if the plugin "
        "can run it), `always` (else an error) or `never`.",
    )
    pass_through: bool = Field(
        default=False,
        description="Whether the sidecar forwards requests for all other paths to Elasticsearch.",
    )
    api_key_hashes: Hashes = Field(
        default=(),
        description="SHA-256 of each API key for rerank and inference paths, in hexadecimal, "
        "comma-separated. Without it and a file of keys, no key is required.",
    )
    metrics_key_hashes: Hashes = Field(
        default=(),
        description="SHA-256 of each key for `/metrics` and `/_rerank/status`, in hexadecimal, "
        "comma-separated. It is read at the start only. Without it, everybody may read `/metrics`.",
    )
    log_requests: bool = Field(
        default=True,
        description="Whether the sidecar logs one line for each request.",
    )
    log_format: LogFormat = Field(
        default=LOG_FORMAT,
        description="How the sidecar writes its log: `console` for text, `json` for JSON with the names of "
        "the Elastic Common Schema (ECS).",
    )
    trace_texts: bool = Field(
        default=False,
        description="Whether OpenTelemetry spans hold queries, texts, the messages of errors and "
        "names of indices.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="TOML file of API keys with names and limits, which `es-rerank key` makes tables for. "
        "The sidecar reads it again on SIGHUP.",
    )
    tls_certificate: FilePath | None = Field(
        default=None,
        description="PEM file with the certificate of the sidecar and the certificates above it. With it, "
        "the sidecar listens with TLS.",
    )
    tls_key: FilePath | None = Field(
        default=None,
        description="PEM file with the key of the certificate. Without it, the file of the certificate holds "
        "the key.",
    )
    tls_key_password: SecretStr | None = Field(default=None, description="Password of the key.")
    max_connections: int = Field(
        default=MAX_CONNECTIONS,
        ge=8,
        description="Most connections to the sidecar at a time. It keeps fewer where the process may not "
        "open as many files.",
    )
    header_timeout_ms: int = Field(
        default=HEADER_TIMEOUT_MS,
        ge=1,
        description="Longest time for the headers of a request, in milliseconds.",
    )
    body_timeout_ms: int = Field(
        default=BODY_TIMEOUT_MS,
        ge=1,
        description="Longest time without a byte of a request's body, in milliseconds.",
    )
    body_bytes_per_s: int = Field(
        default=BODY_BYTES_PER_S,
        ge=1,
        description="Least rate at which the body of a request must arrive, in bytes a second.",
    )
    write_timeout_ms: int = Field(
        default=WRITE_TIMEOUT_MS,
        ge=1,
        description="Longest time in which a caller reads nothing of its answer, in milliseconds.",
    )
    idle_timeout_ms: int = Field(
        default=IDLE_TIMEOUT_MS,
        ge=1,
        description="Longest time between two requests on a connection, in milliseconds. It should be longer "
        "than that of a load balancer in front.",
    )
    drain_delay_ms: int = Field(
        default=DRAIN_DELAY_MS,
        ge=0,
        description="How long the sidecar still serves after SIGTERM, in milliseconds, while `/readyz` "
        "answers 503. It should be longer than the interval at which a load balancer asks.",
    )
    drain_ms: int = Field(
        default=DRAIN_MS,
        ge=0,
        description="How long the sidecar then waits for running requests, in milliseconds.",
    )
    elasticsearch_download_url: str = Field(
        default="https://artifacts.elastic.co/downloads/elasticsearch",
        description="Folder of a web server with Elastic's archives, which `up` and `demo` download if no "
        "Docker runs. Empty: nothing is downloaded from there.",
    )
    state_dir: Path = Field(
        default_factory=lambda: (
            Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "es-rerank"
        ),
        description="Folder for the record of a local Elasticsearch node.",
    )

    @property
    def longest_ms(self) -> int:
        """Longest deadline that is in force, in milliseconds: the default deadline is never over it."""
        return max(self.max_timeout_ms, self.timeout_ms)


def read_settings() -> Settings:
    """Return the settings from the environment variables.

    Raises SettingsError for a value that is not valid, and for a variable with our prefix that is not a
    setting.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name not in known and not _is_of_a_service(name, value)
    )
    if unknown:
        raise SettingsError(
            f"{', '.join(unknown)}: no such setting; the settings are {', '.join(sorted(known))}"
        )
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + ".".join(str(part) for part in first["loc"]).upper().removeprefix(PREFIX)
        value = "" if name.endswith(_SECRET) else f" (found {masked_in(repr(first['input']))})"
        raise SettingsError(f"setting {name}: {first['msg'].removeprefix('Value error, ')}{value}") from None


_SECRET = ("_KEY", "_KEY_HASHES", "_PASSWORD")
"""Endings of the names of settings whose values are not shown in messages."""


def _is_of_a_service(name: str, value: str) -> bool:
    """Whether Kubernetes or Docker set this variable, for a service whose name gives it our prefix."""
    return _SERVICE_VARIABLE.fullmatch(f"{name.removeprefix(PREFIX)}={value}") is not None
