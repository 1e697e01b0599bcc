"""Python objects as documents: dicts, and the documents of LangChain and LlamaIndex."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sources import rejects_file

from es_rerank.collection import Document
from es_rerank.errors import SourceError
from ingest_pipelines import Reject, documents_of
from ingest_pipelines.rejects import rejected


class Colour(Enum):
    RED = "red"


class Hostile:
    @property
    def text(self) -> str:
        raise RuntimeError("no text today")

    def __repr__(self) -> str:
        raise RuntimeError("no words either")


def lang(**attributes: Any) -> SimpleNamespace:
    return SimpleNamespace(page_content="Text", metadata={}, **attributes)


LOOP: dict[str, Any] = {}
LOOP["again"] = LOOP


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (Document("a", "T", "text", {"n": 1}), ("a", "T", "text", {"n": 1})),
        (
            {"_id": 7, "title": "T", "text": "text", "metadata": {"n": 1}, "m": 2},
            ("7", "T", "text", {"m": 2, "n": 1}),
        ),
        ({"id": "b", "text": "text"}, ("b", "", "text", {})),
        (
            SimpleNamespace(page_content="text", metadata={"title": "T", "source": Path("a.pdf")}, id="l1"),
            ("l1", "T", "text", {"source": "a.pdf"}),
        ),
        (
            SimpleNamespace(
                text="text", metadata={"n": 1}, id_="n1", node_id="n1", relationships={"1": "n0"}
            ),
            ("n1", "", "text", {"n": 1}),
        ),
        (
            SimpleNamespace(score=0.5, node=SimpleNamespace(text="text", metadata={}, id_="n2")),
            ("n2", "", "text", {}),
        ),
    ],
)
def test_each_kind_of_object_becomes_a_document(item: object, expected: tuple[Any, ...]) -> None:
    (document,) = documents_of([item])
    assert document[:4] == expected


def test_values_of_metadata_become_values_of_json() -> None:
    values = {
        "day": date(2024, 1, 31),
        "at": datetime(2024, 1, 31, 12, tzinfo=UTC),
        "price": Decimal("1.50"),
        "one": np.float32(0.5),
        "many": np.array([[1, 2]]),
        "nan": float("nan"),
        "set": {2, 1},
        "tuple": (1, None),
        "bytes": b"hello",
        "enum": Colour.RED,
        "uuid": UUID(int=1),
        "type": int,
        3: {"inner": {date(2024, 1, 1): True}},
    }
    (document,) = documents_of([SimpleNamespace(page_content="text", metadata=values, id=None)])
    assert isinstance(document, Document)
    assert json.loads(json.dumps(document.metadata, allow_nan=False)) == document.metadata
    assert document.metadata == {
        "day": "2024-01-31",
        "at": "2024-01-31T12:00:00+00:00",
        "price": "1.50",
        "one": 0.5,
        "many": [[1, 2]],
        "nan": "nan",
        "set": [1, 2],
        "tuple": [1, None],
        "bytes": "aGVsbG8=",
        "enum": "red",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "type": "<class 'int'>",
        "3": {"inner": {"2024-01-01": True}},
    }
    (again,) = documents_of([SimpleNamespace(page_content="text", metadata=dict(reversed(values.items())))])
    assert isinstance(again, Document)
    assert again.id == document.id


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("a string", "type builtins.str"),
        (17, "type builtins.int"),
        (None, "type builtins.NoneType"),
        (Path("a.md"), "Path"),
        (SimpleNamespace(text="text"), "SimpleNamespace"),
        (SimpleNamespace(text="text", metadata=[1]), "SimpleNamespace"),
        (SimpleNamespace(text=" ", metadata={}, id_="n"), "are empty"),
        ({"title": "no text"}, 'none of them is the text; name it "text"'),
        ({"_id": "", "text": "text"}, '"_id" must be'),
        ({"text": "text", "metadata": "x"}, '"metadata" must be an object'),
        ({"_id": "a", "text": "text", "loop": LOOP}, "nested deeper"),
        (Hostile(), "no text today"),
        (Document, "no document"),
    ],
)
def test_any_other_object_is_a_reject_with_its_place_and_the_rest_goes_on(item: object, reason: str) -> None:
    first, second = documents_of([item, {"_id": "b", "text": "text"}])
    assert isinstance(first, Reject)
    assert first.reason.startswith("item 1: ")
    assert reason in first.reason
    assert isinstance(second, Document)


@pytest.mark.parametrize(
    "items", ["text", b"bytes", {"_id": "a", "text": "t"}, Document("a", "", "t", {}), 5, None]
)
def test_one_document_instead_of_many_is_refused(items: Any) -> None:
    with pytest.raises(SourceError, match="an iterable of documents"):
        documents_of(items)


def test_a_generator_stays_a_stream() -> None:
    drawn = []

    def endless() -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            drawn.append(number)
            yield {"_id": number, "text": "text"}
            number += 1

    documents = documents_of(endless())
    assert [next(documents).id for _ in range(3)] == ["0", "1", "2"]
    assert len(drawn) == 3


def test_documents_of_langchain_and_llama_index_are_taken() -> None:
    langchain = pytest.importorskip("langchain_core.documents")
    llama_index = pytest.importorskip("llama_index.core.schema")
    node = llama_index.TextNode(text="Node", id_="n1", metadata={"year": 1997}, embedding=[0.1])
    node.relationships[llama_index.NodeRelationship.SOURCE] = llama_index.RelatedNodeInfo(node_id="d1")
    items = [
        langchain.Document(page_content="Page", metadata={"source": "a.pdf", "title": "T"}, id="l1"),
        langchain.Document(page_content="Page"),
        llama_index.Document(text="Text", id_="d1", metadata={"year": 1997}),
        node,
        llama_index.NodeWithScore(node=node, score=0.1),
        llama_index.Node(text_resource=llama_index.MediaResource(text="Resource"), id_="r1"),
        llama_index.ImageNode(image_path="a.png", id_="i1"),
    ]
    *documents, image = documents_of(items)
    assert [document[:4] for document in documents if document.id is not None and len(document.id) < 9] == [
        ("l1", "T", "Page", {"source": "a.pdf"}),
        ("d1", "", "Text", {"year": 1997}),
        ("n1", "", "Node", {"year": 1997}),
        ("n1", "", "Node", {"year": 1997}),
        ("r1", "", "Resource", {}),
    ]
    assert isinstance(image, Reject)


def test_a_random_id_of_llama_index_is_no_id() -> None:
    llama_index = pytest.importorskip("llama_index.core.schema")
    kinds = (llama_index.Document, llama_index.TextNode)

    def ids(**named: str) -> list[str | None]:
        return [item.id for item in documents_of(kind(text="Text", **named) for kind in kinds)]

    assert ids() == ids()
    assert ids(id_="d1") == ["d1", "d1"]
    assigned = llama_index.Document(text="Text")
    assigned.id_ = "d2"
    assert [item.id for item in documents_of([assigned])] == ["d2"]


@pytest.mark.parametrize(
    "item",
    [
        {"text": "x", "n": 10**5000},
        Document("1", "", "x", {"n": 10**5000}),
        Document("1", "", "x", LOOP),
        Document("1", "", "x", {(1, 2): {"n": {3}}}),  # type: ignore[dict-item]
        {"_id": 1.5, "text": "x", "hostile": Hostile()},
        {"text": "x", "hostile": Hostile(), 7: LOOP},
        Document("1", "", "x", {"n": [float("inf"), float("nan")]}),
    ],
)
def test_every_reject_can_be_written(tmp_path: Path, item: Any) -> None:
    (found,) = documents_of([item])
    if isinstance(found, Document):
        found = rejected(found, "its content cannot be written")
    assert isinstance(found, Reject)
    file = rejects_file([found], tmp_path / "a.rejects.jsonl")
    (line,) = file.read_text().splitlines()
    assert json.loads(line)["document"]["text"] == "x"
    assert not {"NaN", "Infinity"} & set(re.findall(r"\w+", line))


@pytest.mark.parametrize(
    "item",
    [
        {"id": "k", "text": b"bytes"},
        {"id": "k", "text": float("nan")},
        {"id": "k", "text": "x", "title": Decimal(1)},
        {"id": float("nan"), "text": "x"},
        {"_id": np.float32("nan"), "text": "x"},
        {"_id": b"k", "text": "x"},
    ],
)
def test_a_text_or_an_id_of_another_type_is_a_reject(item: Any) -> None:
    (found,) = documents_of([item])
    assert isinstance(found, Reject)
    assert "must be a text, found" in found.reason


def test_an_id_that_is_null_gives_way_to_the_other() -> None:
    (found,) = documents_of([{"_id": None, "id": "a1", "text": "x"}])
    assert found == Document("a1", "", "x", {})


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"ID": 7, "content": "x", "Name": "T", "n": 1}, Document("7", "T", "x", {"n": 1})),
        ({"id": "k", "text": "x", "n": deque([1, range(2)])}, Document("k", "", "x", {"n": [1, [0, 1]]})),
        ({"id": "k", "text": "x", "n": (each for each in "ab")}, Document("k", "", "x", {"n": ["a", "b"]})),
        ({"id": "k", "content": "x", "body": "y"}, "both content and body may be the text"),
        ({"id": "k", "n": 1}, 'its fields are id, n; none of them is the text; name it "text"'),
        ({"id": "k", "content": b"x"}, '"text" must be a text, found bytes'),
        ({"id": "k", "content": " "}, "its text and its title are empty"),
    ],
)
def test_a_dict_is_read_as_a_line_of_json(item: Any, expected: Document | str) -> None:
    (found,) = documents_of([item])
    if isinstance(expected, str):
        assert isinstance(found, Reject)
        assert expected in found.reason
        assert "standard input" not in found.reason
    else:
        assert found == expected


def test_what_has_only_items_by_number_is_many_documents() -> None:
    class Dataset:
        def __getitem__(self, number: int) -> dict[str, str]:
            return [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}][number]

    assert [found.id for found in documents_of(Dataset())] == ["a", "b"]  # type: ignore[arg-type]
