"""Small collections with judgements, and the page that an evaluation writes."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path


def write_collection(
    folder: Path, texts: dict[str, str], queries: dict[str, str], qrels: dict[str, list[tuple[str, str, int]]]
) -> Path:
    """Write a collection in the layout of BEIR; ``qrels`` are (query, document, grade) by split."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": name, "title": "", "text": text}) + "\n" for name, text in texts.items())
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in queries.items())
    )
    for split, rows in qrels.items():
        lines = [
            "query-id\tcorpus-id\tscore",
            *(f"{query}\t{document}\t{grade}" for query, document, grade in rows),
        ]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def numbered_collection(folder: Path, queries: int) -> Path:
    """Write a collection whose query ``q0`` has the only relevant document ``d0``, and so on."""
    return write_collection(
        folder,
        {f"d{i}": f"the word w{i} and v{i % 3}" for i in range(queries)},
        {f"q{i}": f"where is w{i}" for i in range(queries)},
        {"all": [(f"q{i}", f"d{i}", 1) for i in range(queries)]},
    )


class Page(HTMLParser):
    """Which tags are open at the end, what was fetched, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
