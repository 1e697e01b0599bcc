"""The README's examples run as they are written, against this session's node and a sidecar of its own."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corpus import ARTICLES
from elasticsearch import Elasticsearch
from plugin_searches import until_asked
from server import sidecar

from es_rerank import RerankClient, load_embedder, load_reranker
from es_rerank.defaults import HOST, PORT
from es_rerank.models.load import model_folder
from es_rerank.node import VERSION, Node
from es_rerank.node.lifecycle import DEFAULT_SIDECAR
from es_rerank.node.plugin.archive import NAME
from es_rerank.node.plugin.installation import package_version
from es_rerank.settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER
from es_rerank.text.chunking import Chunker
from ingest_pipelines import Ingest, read_sources

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def articles(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elasticsearch]:
    """The index ``articles`` of the README, and ``my-chunks``, someone's own."""
    es = Elasticsearch(node.url, request_timeout=60)
    source = tmp_path_factory.mktemp("source") / "articles.jsonl"
    source.write_text(
        "".join(
            json.dumps({"_id": f"a{n}", "title": t, "text": x, "year": y}) + "\n"
            for n, (t, x, y) in enumerate(ARTICLES)
        )
    )
    with load_embedder() as embedder:
        report = Ingest(es, embedder, chunker=Chunker(embedder.tokenizer)).run(
            "articles", read_sources([source])
        )
        assert (report.documents, report.failed) == (len(ARTICLES), 0)
        es.indices.create(
            index="my-chunks",
            mappings={
                "properties": {
                    "title": {"type": "text"},
                    "content": {"type": "text"},
                    "embedding": {"type": "dense_vector", "dims": embedder.dims},
                    "page": {"type": "integer"},
                }
            },
        )
        for page, (title, text, _) in enumerate(ARTICLES, 9):
            vector = embedder.embed([f"{title}\n{text}"])[0].tolist()
            chunk = {"title": title, "content": text, "embedding": vector, "page": page}
            es.index(index="my-chunks", document=chunk, refresh=True)
    yield es
    for name in [*es.indices.get(index="articles*"), "my-chunks"]:
        es.indices.delete(index=name)
    es.close()


def test_the_python_examples_run(articles: Elasticsearch, node: Node) -> None:
    class MyModel:
        @staticmethod
        def encode(text: str) -> list[float]:
            with load_embedder() as embedder:
                vector: list[float] = embedder.embed([text], purpose="query")[0].tolist()
                return vector

    names: dict[str, Any] = {"my_model": MyModel}
    assert len(blocks("python")) == 3
    for block in blocks("python"):
        statements = block.replace("http://localhost:9200", node.url)
        exec(compile(statements, "README.md", "exec"), names)
    assert [document.metadata["_index"].startswith("articles") for document in names["documents"]] == [
        True
    ] * 3
    assert len(names["best"]) == 1
    answer = names["es"].rerank(
        "who signed the treaty",
        index="my-chunks",
        field=["title", "content"],
        query_vector=MyModel.encode("who signed the treaty"),
        size=5,
    )
    assert answer["hits"]["hits"][0]["_source"]["content"] in {ARTICLES[0][1], ARTICLES[2][1], ARTICLES[4][1]}
    assert answer["rerank"]["status"] == "reranked"


def test_the_example_of_an_own_index_reads_the_title(es: Elasticsearch, index: str) -> None:
    """A chunk that says "it" is only understood with its title."""
    chunks = [
        ("Treaty of Utrecht", "Britain, France and Spain signed it in 1713."),
        ("Peace of Westphalia", "The treaty was signed in Osnabrück and Münster in 1648."),
        ("Weather", "It rained on the day on which the ambassadors signed the treaty."),
    ]
    es.indices.create(
        index=index, mappings={"properties": {"title": {"type": "text"}, "content": {"type": "text"}}}
    )
    for title, content in chunks:
        es.index(index=index, document={"title": title, "content": content}, refresh=True)
    (block,) = (block for block in blocks("python") if "my-chunks" in block)
    written = re.search(r"field=(\[.*?\])", block)
    assert written is not None
    with load_reranker() as reranker:
        client = RerankClient(es, reranker=reranker)

        def best(field: list[str]) -> str:
            child: dict[str, Any] = {"standard": {"query": {"match_all": {}}}}
            node = {"retriever": child, "field": field, "inference_text": "who signed the treaty"}
            answer = client.search(index=index, retriever={"text_similarity_reranker": node})
            return str(answer["hits"]["hits"][0]["_source"]["title"])

        assert best(["content"]) == "Peace of Westphalia"
        assert best(json.loads(written[1])) == "Treaty of Utrecht"


@pytest.mark.parametrize("language", ["python", "bash"])
def test_no_example_reads_a_text_without_its_title(language: str) -> None:
    """The one exception is the body that shows Elastic's own syntax, where ``field`` is one name."""
    named = [
        field
        for block in blocks(language)
        for field in re.findall(r'"?field"?[:=] ?("[\w.]+"|\[.*?\])', block)
    ]
    alone = [field for field in named if field in ('"text"', '"content"', '"passages.text"')]
    assert alone == (['"text"'] if language == "python" else [])


def curl_commands(host: str) -> list[str]:
    """Return the README's curl commands to ``host``, in their order."""
    commands = [line for block in blocks("bash") for line in re.split(r"\n(?=curl)", block.strip())]
    return [command for command in commands if command.startswith("curl") and host in command]


def answers(commands: list[str], host: str, address: str) -> list[str]:
    """Return what each command prints; ``address`` takes the place of ``host``."""
    return [
        subprocess.run(
            ["bash", "-c", command.replace(host, address)], capture_output=True, check=True, cwd=ROOT
        ).stdout.decode()
        for command in commands
    ]


def test_the_curl_examples_run(articles: Elasticsearch, node: Node, tmp_path: Path) -> None:
    commands = curl_commands("localhost:8080")
    assert len(commands) == 2
    with sidecar(
        node.url, model_folder(BUNDLED_RERANKER), model_folder(BUNDLED_EMBEDDER), tmp_path / "log"
    ) as (address, _):
        search, rerank = map(json.loads, answers(commands, "localhost:8080", address))
    assert search["rerank"]["status"] == "reranked"
    assert [row["index"] for row in rerank] == [0, 1]


def test_three_commands_index_and_search_inside_elasticsearch(
    plugin_es: Elasticsearch, plugin_node: Node, sidecar_port: int, tmp_path: Path
) -> None:
    commands = curl_commands("localhost:9200")
    assert len(commands) == 3
    models = model_folder(BUNDLED_RERANKER), model_folder(BUNDLED_EMBEDDER)
    try:
        with sidecar(plugin_node.url, *models, tmp_path / "log", sidecar_port):
            until_asked(plugin_node.url)
            made, written, found = answers(commands, "localhost:9200", plugin_node.url)
    finally:
        plugin_es.indices.delete(index="passages-articles", ignore_unavailable=True)
        plugin_es.options(ignore_status=404).indices.delete_index_template(name="passages")
        plugin_es.options(ignore_status=404).ingest.delete_pipeline(id="passages")
    assert made == '{"acknowledged":true}' * 2
    assert json.loads(written)["result"] == "created"
    (hit,) = json.loads(found)["hits"]["hits"]
    text = hit["_source"]["text"]
    assert hit["fields"]["rerank.passage"] == [{"text": text, "start": 0, "end": len(text)}]
    assert hit["_score"] == pytest.approx(hit["fields"]["rerank.probability"][0])
    assert 0 < hit["_score"] < 1


def test_the_table_has_every_setting_of_the_plugin(plugin_es: Elasticsearch) -> None:
    rows = re.findall(r"^\| `(es_rerank\.\w+)` \| (\w+) \| (\S+) \|", README, re.MULTILINE)
    source = (ROOT / "plugin/src/main/java/esrerank/SidecarSettings.java").read_text()
    declared = {
        name: "keystore" if kind == "SecureString" else "dynamic" if "Property.Dynamic" in rest else "static"
        for kind, name, rest in re.findall(
            r'static final Setting<(\S+)> \w+ = [^"]+"(es_rerank\.\w+)"(.*?);\n', source, re.DOTALL
        )
    }
    assert len(declared) == source.count("static final Setting<")
    assert {name: kind for name, kind, _ in rows} == declared

    shown = plugin_es.cluster.get_settings(include_defaults=True)["defaults"]["es_rerank"]
    defaults = {name.removeprefix("es_rerank."): default.strip("`\N{EN DASH}") for name, _, default in rows}
    assert defaults.pop("url") == DEFAULT_SIDECAR == f"http://{HOST}:{PORT}"
    assert defaults.pop("api_key") == ""
    assert defaults == {name: value or "" for name, value in shown.items() if name != "url"}


def test_the_image_of_two_lines_takes_the_archive_that_is_built() -> None:
    (image,) = blocks("dockerfile")
    base, install = image.splitlines()
    assert base.endswith(f":{VERSION}")
    name = f"{NAME}-{package_version()}-elasticsearch-{VERSION}.zip"
    assert install.endswith(f"/{name}")
