"""Several embedders are served by name, and a search over vectors of one of them uses that one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_client import app_client
from scripted_elasticsearch import Reply, Script
from tiny_models import reseal, tiny_bi_encoder, tiny_cross_encoder
from typer.testing import CliRunner

from es_rerank import load_embedder
from es_rerank.cli.app import app as command_line
from es_rerank.cli.serve import build_service
from es_rerank.errors import IndexMismatchError, RequestError, SettingsError, UnknownModelError
from es_rerank.models import Embedder
from es_rerank.models.load import check_reranker, served_embedders
from es_rerank.retrievers.execution.served import ServedModels
from es_rerank.settings import Settings

BUILDER = {"text_embedding": {"model_text": "the king"}}
KNN = {"field": "vector", "k": 3, "num_candidates": 5, "query_vector_builder": BUILDER}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two embedders with other weights and dimensions."""
    folder = tmp_path_factory.mktemp("embedders")
    return {
        "first": reseal(tiny_bi_encoder(folder / "first", dims=8), name="first"),
        "second": reseal(tiny_bi_encoder(folder / "second", dims=6, seed=1), name="second"),
    }


@pytest.fixture(scope="module")
def embedders(folders: dict[str, Path]) -> Iterator[dict[str, Embedder]]:
    loaded = {name: load_embedder(folder) for name, folder in folders.items()}
    yield dict(loaded)
    for each in loaded.values():
        each.close()


def vector_of(embedder: Embedder) -> list[float]:
    made: list[float] = embedder.embed(["the king"], purpose="query")[0].tolist()
    return made


def knn(model: str | None = None) -> dict[str, Any]:
    named = {} if model is None else {"model_id": model}
    return {
        "knn": {**KNN, "query_vector_builder": {"text_embedding": {**BUILDER["text_embedding"], **named}}}
    }


def cluster(recorded: list[str | None], dims: int, plugin: dict[str, Any] | None = None) -> Script:
    """An Elasticsearch whose indices record these embedders. ``plugin``: what its plugin's sidecar says."""

    def answer(asked: str, _: Any) -> Reply:
        if asked == "GET /_es_rerank":
            says = {"name": "es-rerank", "api_version": 1, "nodes_without_plugin": [], "sidecar": plugin}
            return Reply(body=says) if plugin else Reply(404, {})
        if asked == "GET /articles":
            properties = {"vector": {"type": "dense_vector", "dims": dims}, "text": {"type": "text"}}
            return Reply(
                body={
                    f"articles-{place}": {
                        "mappings": {"properties": properties, "_meta": {"embedder": name} if name else {}},
                        "settings": {"index": {"uuid": str(place)}},
                    }
                    for place, name in enumerate(recorded)
                }
            )
        total = {"value": 0, "relation": "eq"}
        found = {"took": 1, "timed_out": False, "hits": {"total": total, "max_score": None, "hits": []}}
        return Reply(body={"responses": [{**found, "status": 200}], **found})

    return Script(answer)


def sent_leaf(script: Script) -> dict[str, Any]:
    """Return the kNN of the search that Elasticsearch got."""
    sent = next(body for asked, body in script.asked if asked == "POST /articles/_search")
    leaf: dict[str, Any] = sent["retriever"]["knn"]
    return leaf


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("recorded", "named", "used"),
    [
        (["second"], None, "second"),
        (["second", "second"], None, "second"),
        (["first"], None, "first"),
        ([None], None, "first"),
        ([None], "second", "second"),
        (["second"], "second", "second"),
        (["second"], "b", "second"),
    ],
)
def test_a_search_uses_the_embedder_that_it_names_or_that_its_index_records(
    embedders: dict[str, Embedder],
    recorded: list[str | None],
    named: str | None,
    used: str,
    asynchronous: bool,
) -> None:
    served = {"first": embedders["first"], "b": embedders["second"]}
    script = cluster(recorded, embedders[used].dims)
    script.search(asynchronous, knn(named), embedder=served)
    assert np.allclose(sent_leaf(script)["query_vector"], vector_of(embedders[used]))


@pytest.mark.parametrize("compound", [False, True])
@pytest.mark.parametrize(
    ("recorded", "named"),
    [(["second"], "first"), (["third"], None), (["first", "second"], None), (["second", "third"], None)],
)
def test_another_embedder_than_the_index_records_is_refused(
    embedders: dict[str, Embedder], recorded: list[str | None], named: str | None, compound: bool
) -> None:
    tree = {"rrf": {"retrievers": [knn(named)]}} if compound else knn(named)
    with pytest.raises(IndexMismatchError, match="holds vectors of"):
        cluster(recorded, 8).search(False, tree, embedder=embedders)


def test_a_tree_that_runs_here_uses_the_embedder_of_its_index_too(embedders: dict[str, Embedder]) -> None:
    script = cluster(["second"], 6)
    script.search(False, {"rrf": {"retrievers": [knn()]}}, embedder=embedders)
    leaf = next(body["knn"] for asked, body in script.asked if asked == "POST /articles/_search")
    assert np.allclose(leaf["query_vector"], vector_of(embedders["second"]))


@pytest.mark.parametrize(
    ("served", "recorded", "named", "sent"),
    [
        (("first", "second"), "second", None, "second"),
        (("first", "second"), "first", None, None),
        (("first", "second"), "second", "b", "second"),
        ((), "second", None, "second"),
        ((), "first", None, None),
        ((), "third", None, None),
        ((), "second", "b", "b"),
    ],
)
def test_the_plugin_is_asked_for_the_same_embedder(
    embedders: dict[str, Embedder],
    served: tuple[str, ...],
    recorded: str,
    named: str | None,
    sent: str | None,
) -> None:
    mine = {"b" if name == "second" else name: embedders[name] for name in served}
    plugin = {"status": "ok", "models": ["x"], "embedder": "first", "embedders": ["first", "second", "b"]}
    script = cluster([recorded], 6 if recorded == "second" else 8, plugin)
    script.search(False, knn(named), embedder=mine, plugin="always")
    assert sent_leaf(script)["query_vector_builder"]["es_rerank"].get("model_id") == sent


def test_a_plugin_whose_sidecar_lacks_the_embedder_is_not_asked(embedders: dict[str, Embedder]) -> None:
    plugin = {"status": "ok", "models": ["x"], "embedder": "first"}  # as an older plugin says it
    script = cluster(["second"], 6, plugin)
    script.search(False, knn(), embedder=embedders)
    assert np.allclose(sent_leaf(script)["query_vector"], vector_of(embedders["second"]))


def test_an_unknown_embedder_is_named_with_those_that_are_served(embedders: dict[str, Embedder]) -> None:
    with pytest.raises(UnknownModelError, match=r"\[third\] is not served here; served: first, second"):
        cluster(["first"], 8).search(False, knn("third"), embedder=embedders)


def test_a_name_means_one_embedder(embedders: dict[str, Embedder], folders: dict[str, Path]) -> None:
    first, second = embedders.values()
    for wrong in ({"second": first, "x": second}, {"a": first, "b": first}):
        with pytest.raises(RequestError, match="two embedders are called"):
            ServedModels.of(None, wrong)
    one, two = map(str, folders.values())
    assert served_embedders([one, f"b={two}"]) == [("first", one), ("b", two)]
    for names in ([one, one], [one, f"first={two}"], [f"second={one}", two], [f"a={one}", f"b={one}"]):
        with pytest.raises(SettingsError, match="two embedders are called"):
            served_embedders(names)


def test_a_name_means_a_reranker_or_an_embedder(folders: dict[str, Path], tmp_path: Path) -> None:
    one, two = map(str, folders.values())
    reranker = str(tiny_cross_encoder(tmp_path / "reranker"))
    own = check_reranker(reranker)
    served_embedders([one, two], [reranker, f"other={reranker}"])
    for embedder, beside in ((one, f"first={reranker}"), (f"{own}={one}", reranker)):
        with pytest.raises(SettingsError, match="a reranker and an embedder are called"):
            served_embedders([embedder], [beside])


@pytest.fixture(scope="module")
def settings(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    first, second = map(str, folders.values())
    reranker = tiny_cross_encoder(tmp_path_factory.mktemp("reranker"))
    return Settings(reranker=str(reranker), embedder=first, more_embedders=(f"b={second}",), threads=1)


async def test_every_path_of_the_sidecar_takes_an_embedder_by_name(
    settings: Settings, embedders: dict[str, Embedder]
) -> None:
    document = {"title": "", "text": "the king"}
    async with app_client(build_service(settings, "http://127.0.0.1:9")) as caller:
        for name, own in (("first", "first"), ("b", "second"), ("second", "second"), (None, "first")):
            wanted = {"texts": ["the king"], "purpose": "query", "model": name}
            answer = (await caller.post("/_rerank/v1/embed", json=wanted)).json()
            assert answer["model"] == own
            assert np.allclose(answer["vectors"][0], vector_of(embedders[own]))
            cut = await caller.post("/_rerank/v1/passages", json={"documents": [document], "model": name})
            assert len(cut.json()["documents"][0][0]["vector"]) == embedders[own].dims
            if name is not None:
                path, task = (
                    f"/_inference/text_embedding/{name}",
                    {"input": "the king", "input_type": "search"},
                )
                made = (await caller.post(path, json=task)).json()["text_embedding"][0]["embedding"]
                assert np.allclose(made, vector_of(embedders[own]))
                assert (await caller.get(path)).json()["endpoints"][0]["service_settings"]["model_id"] == own
        assert (await caller.post("/_inference/text_embedding/c", json={"input": "a"})).status_code == 404
        info = (await caller.post("/_rerank/v1/info")).json()
        assert (info["embedder"], info["embedders"]) == ("first", ["first", "second"])
        told = (await caller.get("/_rerank/status")).json()
        assert [(each["served_as"], each["name"], each["dims"]) for each in told["embedders"]] == [
            ("first", "first", 8),
            ("b", "second", 6),
        ]
        assert told["embedder"] == told["embedders"][0]
        listed = (await caller.get("/_inference/_all")).json()["endpoints"]
        assert [each["inference_id"] for each in listed] == ["tiny-cross-encoder", "first", "b"]


def test_the_option_given_twice_replaces_both_settings(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Settings] = []

    def noted(settings: Settings, *_: object, **__: object) -> bool:
        seen.append(settings)
        return True

    monkeypatch.setattr("es_rerank.cli.serve_check.check", noted)
    monkeypatch.setenv("ES_RERANK_EMBEDDER", "one")
    monkeypatch.setenv("ES_RERANK_MORE_EMBEDDERS", "two, x=three")
    first, second = map(str, folders.values())
    for options in ([], ["--embedder", first], ["--embedder", first, "--embedder", f"b={second}"]):
        assert CliRunner().invoke(command_line, ["serve", "--check", *options]).exit_code == 0
    assert [(each.embedder, each.more_embedders) for each in seen] == [
        ("one", ("two", "x=three")),
        (first, ()),
        (first, (f"b={second}",)),
    ]


def test_an_embedder_that_is_none_ends_the_start(settings: Settings) -> None:
    wrong = settings.model_copy(update={"more_embedders": (settings.reranker,)})
    with pytest.raises(Exception, match="bi-encoder"):
        build_service(wrong, "http://127.0.0.1:9")
