"""How the Hugging Face Hub is asked: once, for a bounded time. Plain words for why it gave nothing."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from ...addresses import masked_in
from ...errors import ModelFolderError
from ...settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from .hub_files import Listing, list_files
from .maven import MODELS, PREFIX

_REST_S = 15.0
"""Seconds in which a Hub that was not reached is not asked again: a check of several models waits once."""

_LONGEST = 200
"""Characters of an error's own words."""

_ELSE = "copy {files} into a folder here and give that folder"
_ONNX = "config.json, tokenizer.json and onnx/model.onnx"
_TORCH = "config.json, the tokenizer's files and *.safetensors"

_NETWORK = f"check the network, name a mirror with HF_ENDPOINT, or {_ELSE}"

_REASONS: tuple[tuple[frozenset[str], str, str], ...] = (
    (
        frozenset({"OfflineModeIsEnabled"}),
        "HF_HUB_OFFLINE is set, and it was not fetched before",
        f"unset HF_HUB_OFFLINE, or {_ELSE}",
    ),
    (
        frozenset({"MissingSchema", "InvalidSchema", "InvalidURL", "UnsupportedProtocol"}),
        "HF_ENDPOINT is no address",
        "write it with https:// and a host",
    ),
    (
        frozenset({"JSONDecodeError", "NotTheHubError", "RecursionError", "TooManyRedirects"}),
        "{host} does not answer as the Hub does",
        f"check HF_ENDPOINT and the network, or {_ELSE}",
    ),
    (
        frozenset({"ProxyError"}),
        "the proxy of HTTPS_PROXY is not reached, or refuses",
        f"check HTTPS_PROXY and NO_PROXY, or {_ELSE}",
    ),
    (
        frozenset({"SSLError"}),
        "no trusted TLS connection to {host} could be made",
        f"name the file of its CA in REQUESTS_CA_BUNDLE and SSL_CERT_FILE, or {_ELSE}",
    ),
    (frozenset({"gaierror"}), "the name {host} is not known here", _NETWORK),
    (frozenset({"ConnectionRefusedError"}), "{host} refuses the connection", _NETWORK),
    # urllib3 derives its errors of refused connections from those of time: they stand above.
    (frozenset({"TimeoutError"}), "{host} does not answer", _NETWORK),
)
"""By the names of classes, because versions of huggingface_hub raise those of requests or of httpx: why the
Hub gave nothing, and what to do."""

_unreached: dict[str, tuple[float, Exception]] = {}
"""By the Hub's address: when it was not reached, and the error."""


def faults() -> tuple[type[Exception], ...]:
    """Return what huggingface_hub raises: from version 1.0 on also the errors of httpx. It follows redirects
    of files by calling itself, so that one without end is a RecursionError.
    """
    import httpx  # noqa: PLC0415 only needed after a fault

    return (OSError, ValueError, RecursionError, httpx.HTTPError, httpx.InvalidURL)


def ask(repository: str, revision: str | None = None) -> Listing:
    """Return what the Hub says about a repository: its commit and its files.

    It is asked once, for at most ``HF_HUB_ETAG_TIMEOUT`` seconds (10 without this variable). A Hub
    whose name is not known, or which did not answer, is not asked again for 15 seconds. Raises one of
    ``faults``.
    """
    from huggingface_hub import constants  # noqa: PLC0415 only those who name a Hub id need it

    at, before = _unreached.get(constants.ENDPOINT, (-_REST_S, None))
    if before is not None and time.monotonic() - at < _REST_S:
        raise before.with_traceback(None)
    try:
        return list_files(repository, revision, constants.HF_HUB_ETAG_TIMEOUT)
    except faults() as error:
        if any(isinstance(each, (socket.gaierror, TimeoutError)) for each in _chain(error)):
            _unreached[constants.ENDPOINT] = (time.monotonic(), error)
        raise


@contextmanager
def short_retries() -> Iterator[None]:
    """Let huggingface_hub say in a short line that it asks again. Its own lines hold whole addresses, which
    may be signed.
    """
    logger, short = logging.getLogger("huggingface_hub.utils._http"), _Short()
    logger.addFilter(short)
    try:
        yield
    finally:
        logger.removeFilter(short)


class _Short(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return " thrown while requesting " not in record.getMessage()


def refused(error: BaseException) -> bool:
    """Return whether the Hub answered that a repository may not be read, or that there is none."""
    from huggingface_hub import errors  # noqa: PLC0415

    return isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)) or _status(
        error
    ) in {
        401,
        403,
    }


def hub_fault(repository: str, error: BaseException, *, torch: bool = False) -> ModelFolderError:
    """Return the error of a repository that the Hub does not give, with what helps.

    ``torch``: whether its weights in torch's formats were to be fetched, and not ONNX graphs.
    """
    from huggingface_hub import errors  # noqa: PLC0415

    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, errors.HFValidationError):
        what = "is neither a folder here nor an id that a repository of the Hub can have; check the name"
    elif isinstance(error, errors.GatedRepoError):
        what = "is gated on the Hugging Face Hub; accept its terms there and set HF_TOKEN"
    elif isinstance(error, errors.RevisionNotFoundError):
        what = "has no such revision on the Hugging Face Hub; check --revision"
    elif refused(error):
        what = (
            "is neither a folder here nor a repository of the Hugging Face Hub that may be read; check the "
            "name, and set HF_TOKEN if it is private"
        )
    elif _status(error) == 429:
        what = "could not be fetched: the Hugging Face Hub has had too many requests; wait, or set HF_TOKEN"
    else:
        reason, remedy = _reason(error)
        remedy = remedy.format(files=_TORCH if torch else _ONNX)
        what = f"could not be fetched from the Hugging Face Hub: {reason}; {remedy}"
        what += "" if torch else _otherwise(repository)
    return ModelFolderError(f"{repository} {what}")


def _reason(error: BaseException) -> tuple[str, str]:
    """Return why the Hub gave nothing, and what to do. Neither holds an address, which may hold a secret."""
    chain, host = list(_chain(error)), _host(error)
    for each in chain:
        if isinstance(each, OSError) and each.filename is not None:
            said = f"{each.filename} cannot be read or written ({each.strerror})"
            return said, "check the disk and who may write there, or name another folder with HF_HOME"
    if (status := _status(error)) is not None:
        return f"{host} answers {status}", f"try again, name a mirror with HF_ENDPOINT, or {_ELSE}"
    names = {kind.__name__ for each in chain for kind in type(each).__mro__}
    for kinds, reason, remedy in _REASONS:
        if names & kinds:
            return reason.format(host=host), remedy
    return _own_words(error), _NETWORK


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and those that it came from: by ``raise from``, as urllib3's reason, as an argument."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        causes = (each.__cause__, getattr(each, "reason", None), *each.args)
        waiting += [cause for cause in causes if isinstance(cause, BaseException)]


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _host(error: BaseException) -> str:
    """Return the host that was asked: the Hub's, or that of its files."""
    from huggingface_hub import constants  # noqa: PLC0415

    for each in _chain(error):
        try:
            asked = urlsplit(str(each.request.url)).hostname  # type: ignore[attr-defined]
        except (AttributeError, RuntimeError, ValueError):  # httpx raises RuntimeError where there is none
            continue
        if asked:
            return asked
    try:
        return urlsplit(constants.ENDPOINT).hostname or "the address in HF_ENDPOINT"
    except ValueError:
        return "the address in HF_ENDPOINT"


def _own_words(error: BaseException) -> str:
    """Return the first line of an error, which may be a page, without secrets."""
    from huggingface_hub import get_token  # noqa: PLC0415

    said = masked_in((str(error).strip().splitlines() or [type(error).__name__])[0])
    token = get_token()
    if token:
        said = said.replace(token, "***")
    said = said.replace("; ", ", ")
    return said if len(said) <= _LONGEST else said[:_LONGEST].rpartition(" ")[0] + " ..."


def _otherwise(repository: str) -> str:
    """Return what else can be done: the same model by Maven where it has it, an export, other models."""
    for name, model in MODELS.items():
        if repository.lower() in {model.original.lower(), model.converted.lower()}:
            return f". Without the Hub, {PREFIX}{name} is this model"
    others = ", ".join(PREFIX + name for name in MODELS)
    return (
        f". If it has no ONNX, run es-rerank export {repository} OUT where the Hub is reached. Without the "
        f"Hub there are {BUNDLED_RERANKER}, {BUNDLED_EMBEDDER}, those of bundles/zh-en, and the "
        f"embedders {others}"
    )
