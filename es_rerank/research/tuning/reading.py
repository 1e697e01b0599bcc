"""Reads judgements: a table of queries and documents, or TREC qrels with a file of query texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from ...collection import read_jsonl
from ...errors import SettingsError, SourceError
from .judgements import HIGHEST_RATING, Judgement, Judgements, joined
from .texts import SEPARATORS, first_line, lines_of, separator_of, table, text_of

JudgementFormat = Literal["csv", "qrels", "ubi"]
"""A table with a header, TREC qrels, or events of User Behavior Insights (UBI)."""

FORMATS: tuple[JudgementFormat, ...] = get_args(JudgementFormat)

QUERY = ("query", "query_text", "user_query")
DOCUMENT = ("docid", "doc_id", "document_id", "document", "object_id")
RATING = ("rating", "judgement", "judgment", "grade", "relevance")
_COLUMNS = (QUERY, DOCUMENT, RATING)

_UBI_COLUMNS = (("action_name",), ("query_id",))
_NUMBER = re.compile(r"[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d+)?")
_QRELS = re.compile(r"\S+\s+\S+\s+(\S+\s+)?[+-]?\d+([.]\d+)?\s*")
_QRELS_HEADER = re.compile(r"query[-_]?id\s+corpus[-_]?id\s+score\s*", re.IGNORECASE)


def format_of(path: Path, text: str) -> JudgementFormat:
    """Return the format of a file, by its first line. Raises SourceError when it is none of ``FORMATS``."""
    first = first_line(text)
    if not first:
        raise SourceError(f"{path} is empty; it must hold judgements or events", path=str(path))
    if first.lstrip().startswith("{") or separator_of(first, _UBI_COLUMNS) is not None:
        return "ubi"
    if separator_of(first, _COLUMNS) is not None:
        return "csv"
    if _QRELS.fullmatch(first) or _QRELS_HEADER.fullmatch(first):
        return "qrels"
    raise SourceError(
        f"{path}: the first line {first[:80]!r} is neither the header of a table (query, docid, rating), nor "
        "a line of TREC qrels (query-id 0 document-id rating), nor an event of UBI in JSON; give --format, "
        "or name the columns so",
        path=str(path),
    )


def read_table(path: Path, text: str, *, highest: float = HIGHEST_RATING) -> Judgements:
    """Return the judgements of a table with the columns query, docid and rating, as Quepid exports it.

    Further columns are not read. A decimal comma is a point where commas do not separate. Raises SourceError
    when a column is missing, a row has another number of fields, or a rating is not a number.
    """
    separator = separator_of(text, _COLUMNS)
    if separator is None:
        raise SourceError(
            f"{path}: the header {first_line(text)[:80]!r} lacks one of the columns query, docid and "
            f"rating, separated by one of {' '.join(map(repr, SEPARATORS))}; name the columns so",
            path=str(path),
        )

    def rows() -> Iterator[Judgement]:
        for line, row in table(text, separator, path):
            query, document, rating = (next(row[name] for name in names if name in row) for names in _COLUMNS)
            number = rating if separator == "," else rating.replace(",", ".")
            yield Judgement(query, document, _rating(number, path, line))

    return joined(rows(), highest=highest)


def read_qrels_file(
    path: Path, text: str, queries: Path | None, *, highest: float = HIGHEST_RATING
) -> Judgements:
    """Return the judgements of TREC qrels: query id, a field that is not read, document id and rating,
    separated by white space. The header and the three fields of BEIR's qrels are read too.

    ``queries`` is the file of the queries' texts. Queries without a text are left out and counted. Raises
    SourceError for a line of another form, and when no query has a text; SettingsError when ``queries`` is
    None.
    """
    if queries is None:
        raise SettingsError(
            f"{path} holds ids of queries and not their texts; name the file of the texts with "
            "--queries: JSON lines with _id and text, or lines of id, tab and text"
        )
    texts = read_query_texts(queries)
    rows = [Judgement(query, document, rating) for query, document, rating in _qrels(path, text)]
    lacking = {row.query for row in rows if row.query not in texts}
    if rows and len(lacking) == len({row.query for row in rows}):
        raise SourceError(
            f"{queries} has the text of none of the queries of {path}, such as {min(lacking)!r}; name the "
            "file that belongs to these judgements",
            path=str(queries),
        )
    known = (row._replace(query=texts[row.query]) for row in rows if row.query in texts)
    return joined(
        known, highest=highest, negative_is_zero=True, counts={"queries_without_text": len(lacking)}
    )


def read_query_texts(path: Path) -> dict[str, str]:
    """Return query texts by id, from JSON lines (``_id``, ``id`` or ``query_id``, and ``text`` or ``query``),
    or from lines of id, tab and text.

    Raises SourceError for a line of another form.
    """
    text = text_of(path)
    if text.lstrip().startswith("{"):
        return dict(_query_records(path))
    texts: dict[str, str] = {}
    for number, line in lines_of(text):
        name, tab, query = line.partition("\t")
        if tab and name.strip():
            texts[name.strip()] = query.strip()
        elif line.strip():
            raise SourceError(
                f"{path}, line {number}: expected the id of a query, a tab and its text, or a JSON object",
                path=str(path),
                line=number,
            )
    return texts


def _query_records(path: Path) -> Iterator[tuple[str, str]]:
    for number, record in read_jsonl(path):
        name = next((record[key] for key in ("_id", "id", "query_id") if key in record), None)
        query = next((record[key] for key in ("text", "query") if key in record), None)
        if isinstance(name, bool) or not isinstance(name, (str, int)) or not isinstance(query, str):
            raise SourceError(
                f'{path}, line {number}: a query needs "_id" and "text"', path=str(path), line=number
            )
        yield str(name), query


def _qrels(path: Path, text: str) -> Iterator[tuple[str, str, float | None]]:
    for number, line in lines_of(text):
        fields = line.split()
        if not fields or (number == 1 and _QRELS_HEADER.fullmatch(line)):
            continue
        if len(fields) not in (3, 4):
            raise SourceError(
                f"{path}, line {number}: {len(fields)} fields, where qrels have query id, 0, document id and "
                "rating",
                path=str(path),
                line=number,
            )
        yield fields[0], fields[-2], _rating(fields[-1], path, number)


def _rating(text: str, path: Path, line: int) -> float | None:
    """Return a rating, None for an empty field. Raises SourceError for what is not a number."""
    given = text.strip()
    if not given:
        return None
    if _NUMBER.fullmatch(given) is None:
        raise SourceError(
            f"{path}, line {line}: the rating {given[:40]!r} is not a number", path=str(path), line=line
        )
    return float(given)
