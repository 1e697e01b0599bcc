"""Downloads a large file over HTTP. What has come is kept, so that a download which broke off goes on."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from ..errors import NodeError

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and with those of the whole file, None if the server does not say."""

CONTACT_S = 6.0
"""Most seconds until the server has answered for the first time. A machine without the internet waits no
longer."""

_SILENCE_S = 30.0
"""Most seconds without a byte."""

_ATTEMPTS = 5
"""A transfer that breaks goes on at once, so often in all."""

_DIGEST = re.compile(r"\s*([0-9a-fA-F]{128})\b")


class _BrokenOffError(Exception):
    """Raised when a transfer ended before the file was whole."""


def download(url: str, target: Path, progress: Progress | None = None) -> Path:
    """Download ``url`` as ``target`` and return ``target``, checked against the SHA-512 in ``url``.sha512.

    The bytes that have come lie in ``target`` with the suffix ``.part`` until the file is whole. A later call
    goes on from there. Raises NodeError when the server does not answer within ``CONTACT_S`` seconds,
    refuses, or breaks off too often, and when the file is not the one that the SHA-512 belongs to.
    """
    expected = _checksum(url)
    part = target.with_name(target.name + ".part")
    resumed = part.is_file() and part.stat().st_size > 0
    _transfer(url, part, progress)
    if _sha512(part) != expected and resumed:
        # The part was of another file, or damaged: the second try has nothing to go on from.
        part.unlink()
        _transfer(url, part, progress)
    if _sha512(part) != expected:
        part.unlink()
        raise NodeError(
            f"what {url} gave does not have the SHA-512 that {url}.sha512 names, and was deleted; "
            "check the proxy or the mirror on the way, and try again"
        )
    return part.replace(target)


def _checksum(url: str) -> str:
    """Return the SHA-512 of ``url``. This is the first contact with the server, and a short one."""
    said = _in_time(lambda: _get(url + ".sha512"), url)
    found = _DIGEST.match(said)
    if found is None:
        raise NodeError(f"{url}.sha512 holds no SHA-512; check the address of the archives")
    return found[1].lower()


def _get(url: str) -> str:
    with httpx.Client(timeout=CONTACT_S, follow_redirects=True) as http:
        answer = http.get(url)
        answer.raise_for_status()
        return answer.text[:1024]


def _in_time(work: Callable[[], str], url: str) -> str:
    """Return what ``work`` returns. It may take ``CONTACT_S`` seconds, the look-up of the host included.

    The look-up has no limit of its own, so it runs in a thread that nobody waits for.
    """
    results: list[str | Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(CONTACT_S)
    result = results[0] if results else TimeoutError(f"no answer within {CONTACT_S:.0f} seconds")
    if isinstance(result, str):
        return result
    if isinstance(result, httpx.HTTPStatusError):
        raise NodeError(f"{url}.sha512 answers {result.response.status_code}") from result
    raise NodeError(f"{_origin(url)} is not reached ({str(result) or type(result).__name__})") from result


def _transfer(url: str, part: Path, progress: Progress | None) -> None:
    """Append to ``part`` until it is whole."""
    try:
        with httpx.Client(
            timeout=httpx.Timeout(_SILENCE_S, connect=CONTACT_S), follow_redirects=True
        ) as http:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return _append(http, url, part, progress)
                except (httpx.TransportError, _BrokenOffError) as error:
                    if attempt == _ATTEMPTS:
                        raise _broken_off(url, part, error) from error
    except httpx.HTTPStatusError as error:
        raise NodeError(f"{url} answers {error.response.status_code}") from error
    except OSError as error:
        raise NodeError(
            f"{part} cannot be written ({error.strerror}); free some space, or name another folder with "
            "XDG_CACHE_HOME"
        ) from error
    raise AssertionError("the last attempt returns or raises")


def _append(http: httpx.Client, url: str, part: Path, progress: Progress | None) -> None:
    there = part.stat().st_size if part.is_file() else 0
    headers = {"accept-encoding": "identity"} | ({"range": f"bytes={there}-"} if there else {})
    with http.stream("GET", url, headers=headers) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # there is nothing after what we have; the checksum says whether it is the file
        answer.raise_for_status()
        goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
        there = there if goes_on else 0
        length = answer.headers.get("content-length")
        total = None if length is None else there + int(length)
        with part.open("ab" if goes_on else "wb") as file:
            for (
                block
            ) in answer.iter_raw():  # in blocks as they come: one of a set size is lost when it breaks off
                file.write(block)
                there += len(block)
                if progress is not None:
                    progress(there, total)
    if total is not None and there < total:
        raise _BrokenOffError(f"{there} of {total} bytes")


def _broken_off(url: str, part: Path, error: Exception) -> NodeError:
    mib = part.stat().st_size / 2**20 if part.is_file() else 0.0
    return NodeError(
        f"the download of {url} broke off {_ATTEMPTS} times ({str(error) or type(error).__name__}); "
        f"{mib:.0f} MiB of it are kept, and `es-rerank up` goes on from there"
    )


def _sha512(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha512").hexdigest()


def _origin(url: str) -> str:
    """Return scheme and host of an address."""
    return "/".join(url.split("/", 3)[:3])
