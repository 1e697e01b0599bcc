"""Says what is wrong with an answer, and where in the code an error of the log comes from."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from es_rerank.dialects.failures import failure_of
from es_rerank.dialects.paths import meant_by, methods_of, spoken_at
from es_rerank.dialects.table import DIALECTS
from es_rerank.errors import OUTCOMES, EsRerankError

from .attacks import Attack
from .sending import Answer

_ELASTICSEARCH = re.compile(
    r"Incorrect HTTP method for uri|no handler found for uri|Rejecting mapping update"
)
"""Errors that Elasticsearch writes as a text instead of an object."""

_QUOTED = re.compile(r"\[[^\]]*\]|'[^']*'|\"[^\"]*\"|\d+")


def fault_of(attack: Attack, answer: Answer) -> str | None:
    """Return what is wrong with an answer, in words that are the same for the same kind of fault, or None."""
    if answer.end != "answered":
        return answer.end if attack.framed and answer.end != "left" else None
    if answer.status >= 500 and answer.status not in {501, 505}:
        reason = "no body" if attack.method == "HEAD" else _reason(answer)
        if answer.status not in {503, 504} or reason is None:
            return f"status {answer.status}: {_general(reason or answer.body[:60].decode('latin-1'))}"
    return _format_fault(attack, answer)


def _format_fault(attack: Attack, answer: Answer) -> str | None:
    if attack.method == "HEAD":
        return "an answer to HEAD with a body" if answer.body else None
    kind, status = answer.headers.get("content-type", ""), answer.status
    # Elasticsearch answers in YAML, CBOR or SMILE when it is asked to.
    readable = "json" in kind or not re.search("yaml|cbor|smile", kind)
    if not readable or (status < 400 and (attack.style == "page" or "json" not in kind or not answer.body)):
        return None
    try:
        value = read(answer.body)
    except ValueError as error:
        wrong = "no JSON" if isinstance(error, json.JSONDecodeError) else _general(str(error))
        return f"status {status} with a body that is {wrong}: {answer.body[:40].decode('latin-1')}"
    return None if status < 400 else _error_fault(attack, value, status)


def _error_fault(attack: Attack, value: Any, status: int) -> str | None:
    path = re.sub("^https?://[^/]*", "", attack.target.partition(b"?")[0].decode("latin-1")).rstrip("/")
    spoken: list[Any] = [each for each in DIALECTS if path in (*each.own_paths, *each.more_paths)]
    spoken = spoken or [each for each in [spoken_at(path, attack.method)] if each is not None]
    meant = None if spoken else meant_by(path, attack.method)
    if meant is not None and shape_of(value) == _shape_in(meant.format, status):
        return None
    if not spoken:
        return None if is_elasticsearch_error(value, status) else f"status {status}, not the error format"
    # Refused before its path was known, or a method that may be one for Elasticsearch.
    may_be_elasticsearchs = not attack.framed or attack.method not in methods_of(path)
    if may_be_elasticsearchs and is_elasticsearch_error(value, status):
        return None
    formats = [_shape_in(each, status) for each in spoken]
    return None if shape_of(value) in formats else f"status {status}, not the format of the path"


def _shape_in(spoken: Any, status: int) -> Any:
    """Return the shape of an error in a format."""
    return shape_of(spoken.error("why", failure_of(EsRerankError("why")), status))


def shape_of(value: Any) -> Any:
    """Return the keys of an error, and the types of their values. Some keys may also be null."""
    if isinstance(value, dict):
        return {key: "any" if key in ("param", "code") else shape_of(part) for key, part in value.items()}
    return type(value).__name__


_OURS = frozenset(outcome.type for outcome in OUTCOMES.values())


def is_of_elasticsearch(answer: Answer) -> bool:
    """Return whether an error from 500 on is one that only Elasticsearch itself makes, and that is passed on.

    An example is its ``null_pointer_exception`` for a query of which the parser forgot a case.
    """
    kind = (_reason(answer) or "").partition(": ")[0]
    return answer.status >= 500 and kind.endswith("_exception") and kind not in _OURS


def is_elasticsearch_error(value: Any, status: int) -> bool:
    """Return whether a value is an error as Elasticsearch writes it."""
    if not isinstance(value, dict):
        return False
    error = value.get("error")
    if isinstance(error, str):
        return value.get("status") == status or bool(_ELASTICSEARCH.search(error))
    if isinstance(error, dict):
        return isinstance(error.get("type"), str) and "reason" in error and value.get("status") == status
    # Elasticsearch's own answers to missing documents and closed points in time; a filtered error.
    return status == 404 and ("succeeded" in value or "found" in value or value == {})


def read(data: bytes) -> Any:
    """Return the JSON value of an answer. Raises ValueError when it is not valid UTF-8 or JSON."""
    return json.loads(data.decode("utf-8"), parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"no JSON, but {name}")


def _reason(answer: Answer) -> str | None:
    """Return type and reason of an error in the format of Elasticsearch or of a reranker, or None."""
    try:
        value = read(answer.body)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict) and "type" in error:
        return f"{error['type']}: {error.get('reason', error.get('message'))}"
    return error if isinstance(error, str) else None


def _general(text: str) -> str:
    """Return a message without its values."""
    return _QUOTED.sub("…", text)[:110]


# -- the log -------------------------------------------------------------------------------------------------

_ENTRY = re.compile(
    r"unexpected (\S+) in |Traceback \(most recent|Exception in |exception was never retrieved"
)
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_TYPE = re.compile(
    r"^([a-zA-Z_][\w.]*(?:Error|Exception|Exit|Disconnect|Group|Interrupt)\w*)\b", re.MULTILINE
)


def places_in(log: str) -> list[str]:
    """Return the places of the tracebacks in a log: type of the exception and innermost line of our code."""
    begins = [found.start() for found in _ENTRY.finditer(log)]
    ends = [*begins, len(log)][1:]
    return [_place(log[start:end]) for start, end in zip(begins, ends, strict=True)]


def _place(entry: str) -> str:
    first = entry.partition("because of\n")[0]
    kinds = _TYPE.findall(first)
    frames = _FRAME.findall(first)
    ours = [frame for frame in frames if re.search(r"/(es_rerank|ingest_pipelines)/", frame[0])]
    named = re.match(r"unexpected (\S+) in ", entry)
    kind = named[1] if named else (kinds[-1] if kinds else "?")
    if not ours:
        return f"{kind} in {frames[-1][0].rpartition('/')[2] if frames else 'the log'}"
    file, line, function = ours[-1]
    return f"{kind} in {re.sub(r'.*/(?=es_rerank/|ingest_pipelines/)', '', file)}:{line} {function}"
