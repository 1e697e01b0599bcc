"""Which files a repository of the Hugging Face Hub holds. Any answer takes bounded time and memory."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import Future
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

_MOST_BYTES = 16 << 20
"""Bytes of the longest answer that is read. A file's name takes some fifty of them."""

_CHUNK_BYTES = 1 << 16
_FIRST_ERROR = 400
_COMMIT = re.compile(r"[0-9A-Za-z]{1,64}")


class Listing(NamedTuple):
    """The files of a repository at a commit. ``commit`` is None where a mirror does not state it."""

    commit: str | None
    files: list[str]


class NotTheHubError(ValueError):
    """Raised for an answer that the Hub would not give, as that of a proxy that asks for a login."""


def list_files(repository: str, revision: str | None, timeout_s: float) -> Listing:
    """Return what a repository holds at a revision, None for the newest commit.

    Connection and answer take at most ``timeout_s`` seconds, also where a server sends a byte now and then.
    Raises NotTheHubError, TimeoutError, and what huggingface_hub raises.
    """
    from huggingface_hub.utils import (  # type: ignore[attr-defined] # noqa: PLC0415 only needed for a Hub id
        validate_repo_id,
    )

    validate_repo_id(repository)
    answer: Future[bytes] = Future()

    def read() -> None:
        try:
            answer.set_result(_answer(repository, revision, timeout_s))
        except BaseException as error:  # noqa: BLE001 it is raised where the answer is waited for
            answer.set_exception(error)

    # A read cannot be stopped from outside: the thread ends when the server does, or with the process.
    threading.Thread(target=read, daemon=True).start()
    return _listing(answer.result(timeout_s))


def _answer(repository: str, revision: str | None, timeout_s: float) -> bytes:
    import httpx  # noqa: PLC0415 see above
    from huggingface_hub import constants  # noqa: PLC0415
    from huggingface_hub.utils import (  # type: ignore[attr-defined] # noqa: PLC0415
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    address = f"{constants.ENDPOINT}/api/models/{repository}"
    if revision is not None:
        address += f"/revision/{quote(revision, safe='')}"
    session: Any = get_session()  # of requests, or from huggingface_hub 1.0 on of httpx
    modern = isinstance(session, httpx.Client)
    asked = {"headers": build_hf_headers(), "timeout": timeout_s}
    opened = session.stream("GET", address, **asked) if modern else session.get(address, stream=True, **asked)
    content = bytearray()
    with opened as response:
        if response.status_code >= _FIRST_ERROR:
            response.close()  # the headers say what was wrong, and the body may never end
            hf_raise_for_status(response)
        for chunk in response.iter_bytes(_CHUNK_BYTES) if modern else response.iter_content(_CHUNK_BYTES):
            content += chunk
            if len(content) > _MOST_BYTES:
                raise NotTheHubError(f"an answer of more than {_MOST_BYTES} bytes")
    return bytes(content)


def _listing(answer: bytes) -> Listing:
    try:
        stated = json.loads(answer)
        commit = stated.get("sha")
        files = [each["rfilename"] for each in stated["siblings"] or ()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotTheHubError("no list of files") from error
    if commit is not None and not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
        raise NotTheHubError("a commit that is none")
    if not all(isinstance(name, str) and ".." not in PurePosixPath(name).parts for name in files):
        raise NotTheHubError("a file's name that is none")
    return Listing(commit, sorted(files))
