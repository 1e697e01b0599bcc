"""A training run of seconds on a tiny bi-encoder: what is made of collections, what is learned,
and what is written.

    pytest tests/parity

Needs the export extra (torch).
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_torch
import torch
from now_and_before import PAIRS
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from tiny_models import tiny_tokenizer
from transformers import AutoTokenizer, BertForSequenceClassification

from es_rerank.errors import SettingsError, SourceError
from es_rerank.export import ExportOptions, export_model
from es_rerank.export.texts import read_texts
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.research.training import batches, cross_encoder, kept_lists
from es_rerank.research.training.contrasts import contrasts
from es_rerank.research.training.lists import make_lists
from es_rerank.research.training.objective import loss_of
from es_rerank.research.training.passages import Passages
from es_rerank.research.training.recipe import LabelledCollection, Recipe
from es_rerank.research.training.training_list import (
    TrainingList,
    is_of,
    mark_of,
    queue,
    read_lists,
    split_development,
    teacher_logits,
)
from es_rerank.research.training.written_out import WrittenOutBert
from es_rerank.testing import WordOverlapReranker

WORDS = [
    "river",
    "stone",
    "night",
    "paper",
    "glass",
    "metal",
    "bird",
    "field",
    "storm",
    "train",
    "bridge",
    "sugar",
    "winter",
    "engine",
    "harbour",
]
RECIPE = Recipe(
    sources=(
        LabelledCollection(collection="facts", splits=("train",), repeats=2),
        LabelledCollection(collection="graded", splits=("train",), kind="pool", judged_only=True),
    ),
    weak=60,
    list_size=3,
    lists_per_step=4,
    lists_per_pass=2,
    max_tokens=64,
    passage_tokens=(24, 64),
    steps=4,
    checkpoint_every=2,
)


def sentence(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=6)).capitalize() + "."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two collections in which a query is three words of its document;
    ``graded`` judges three documents a query.
    """
    folder, chance = tmp_path_factory.mktemp("data"), random.Random(1)
    for name in ("facts", "graded"):
        texts = [" ".join(sentence(chance) for _ in range(4)) for _ in range(260)]
        (folder / name / "qrels").mkdir(parents=True)
        corpus = [{"_id": f"d{n}", "title": f"Title {n}", "text": text} for n, text in enumerate(texts)]
        queries = [
            {"_id": f"q{n}", "text": " ".join(chance.sample(text.split(), 3))} for n, text in enumerate(texts)
        ]
        for kind, rows in (("corpus", corpus), ("queries", queries)):
            (folder / name / f"{kind}.jsonl").write_text(
                "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
            )
        judged = [f"q{n}\td{n}\t1" for n in range(260)]
        if name == "graded":
            judged += [f"q{n}\td{(n + step) % 260}\t0" for n in range(200) for step in (1, 2)]
        (folder / name / "qrels" / "train.tsv").write_text(
            "query-id\tcorpus-id\tscore\n" + "\n".join(judged) + "\n", encoding="utf-8"
        )
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_torch.bi_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def run(data: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    cross_encoder.train(RECIPE, data, base, out, say=lambda _: None, report=lambda _: None)
    return out


def lists_of(run: Path) -> list[TrainingList]:
    mark, lists = read_lists(run / "work" / "lists.jsonl")
    assert is_of(mark, RECIPE)
    assert not is_of(mark, RECIPE.model_copy(update={"seed": 14}))
    return lists


def pairs(tokenizer: Any) -> Any:
    queries = ["river stone", "night", "bird field storm"]
    return tokenizer(
        queries,
        ["The river ran over stone.", "Paper, glass and metal by night", "Sugar"],
        padding=True,
        return_tensors="pt",
    )


def test_the_folder_is_a_plain_cross_encoder(run: Path, tmp_path: Path) -> None:
    assert {value.dtype for value in load_file(run / "model.safetensors").values()} == {torch.float32}
    assert json.loads((run / "recipe.json").read_text(encoding="utf-8")) == json.loads(
        RECIPE.model_dump_json()
    )
    lists = map(json.loads, (run / "work" / "lists.jsonl").read_text(encoding="utf-8").splitlines()[1:])
    pairs = {(item["query"], passage) for item in lists for passage in item["passages"]}
    assert pairs >= {(asked.query, *asked.passages) for asked in read_texts(run / "int8_texts.jsonl")}

    texts = ["river stone", "night paper"]
    theirs = TheirCrossEncoder(str(run), device="cpu", activation_fn=torch.nn.Identity()).predict(
        [("storm", text) for text in texts]
    )
    export_model(str(run), tmp_path / "out", ExportOptions(int8=False))
    with CrossEncoder(tmp_path / "out") as ours:
        assert ours.score("storm", texts).values == pytest.approx(theirs, abs=1e-4)


def test_all_was_trained_but_the_word_vectors(run: Path, base: Path) -> None:
    model, fresh = (
        BertForSequenceClassification.from_pretrained(run),
        cross_encoder.new_model(base, RECIPE.seed),
    )
    before = fresh.state_dict()
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert same == {"bert.embeddings.word_embeddings.weight"}


def test_the_log_has_every_step_and_the_accuracy_of_each_checkpoint(run: Path) -> None:
    rows = [
        json.loads(line) for line in (run / "work" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert ["accuracy" in row for row in rows] == [False, True, False, True]
    assert 0 <= rows[-1]["accuracy"] <= 1


def test_a_run_that_was_interrupted_ends_with_the_same_weights(
    run: Path, data: Path, base: Path, tmp_path: Path
) -> None:
    def stop(state: dict[str, Any]) -> None:
        if state["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cross_encoder.train(RECIPE, data, base, tmp_path, say=lambda _: None, report=stop)
    said: list[str] = []
    cross_encoder.train(RECIPE, data, base, tmp_path, say=said.append, report=lambda _: None)
    assert said == ["resumed at step 2"]
    whole, resumed = (load_file(folder / "model.safetensors") for folder in (run, tmp_path))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_a_run_of_before_goes_on_where_it_had_no_heads_on_inner_layers(
    run: Path, data: Path, base: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(run, tmp_path / "again")
    state = torch.load(run / "work" / "checkpoint.pt", weights_only=True)
    said: list[str] = []

    def resumed(exits: list[int], more: dict[str, torch.Tensor]) -> None:
        stated = json.loads(state["recipe"]) | {"exit_layers": exits, "exit_weight": 0.4}
        before = state | {"recipe": json.dumps(stated), "model": state["model"] | more}
        torch.save(before, again / "work" / "checkpoint.pt")
        cross_encoder.train(RECIPE, data, base, again, say=said.append, report=lambda _: None)

    resumed([], {})
    assert said == ["resumed at step 4"]
    with pytest.raises(SourceError, match="another recipe, base, start or teacher"):
        resumed([1], {"exit.1.classifier.bias": torch.zeros(1)})


def test_a_second_run_goes_on_from_the_first_with_a_reranker_as_teacher(
    run: Path, data: Path, base: Path, tmp_path: Path
) -> None:
    further = RECIPE.model_copy(
        update={"first_list": RECIPE.steps * RECIPE.lists_per_step, "spare_tenth": True, "steps": 2}
    )
    said: list[str] = []
    arguments: dict[str, Any] = {
        "start": run,
        "teacher": WordOverlapReranker(),
        "say": said.append,
        "report": lambda _: None,
    }
    cross_encoder.train(further, data, base, tmp_path, **arguments)
    made_by, taught = read_lists(tmp_path / "work" / "taught.jsonl")
    development, others = split_development(lists_of(run), RECIPE)
    read = queue(others, further)[: further.steps * further.lists_per_step]
    assert [item.query for item in taught] == [item.query for item in read]
    assert [item.teacher for item in taught] != [item.teacher for item in read]
    assert said == [
        f"{len(lists_of(run)):,} lists of {run}",
        f"{len(taught):,} of {len(taught):,} lists scored by word-overlap",
    ]
    assert lists_of(tmp_path) == lists_of(run)
    assert "word-overlap" in made_by
    before, after = (load_file(folder / "model.safetensors") for folder in (run, tmp_path))
    moved = {key: float((value - after[key]).abs().max()) for key, value in before.items()}
    # Two small steps from where the first run ended, not a fresh head.
    assert 0 < max(moved.values()) < 0.01
    fewer = kept_lists.prepare_lists(
        further,
        data,
        base,
        tmp_path / "work",
        mark_of(further, cross_encoder.digest(base), data),
        said.append,
    )
    assert len(fewer) == len(development) + len(others)
    again = tmp_path / "again"
    (again / "work").mkdir(parents=True)
    shutil.copy(tmp_path / "work" / "taught.jsonl", again / "work")
    said.clear()
    cross_encoder.train(further, data, base, again, **arguments)
    assert not any("scored by" in text for text in said)


def test_a_run_may_save_the_mean_of_what_it_began_with_and_what_it_learned(
    run: Path, data: Path, base: Path, tmp_path: Path
) -> None:
    saved = {"start": load_file(run / "model.safetensors")}
    for name, share in (("learned", 0.0), ("mean", 0.25)):
        recipe = RECIPE.model_copy(update={"steps": 2, "body_rate": 1e-2, "start_share": share})
        out = tmp_path / name
        cross_encoder.train(
            recipe, data, base, out, start=run, say=lambda _: None, report=lambda _: None, lists_of=run
        )
        saved[name] = load_file(out / "model.safetensors")
    far = max(float((saved["learned"][key] - value).abs().max()) for key, value in saved["start"].items())
    assert far > 0.001
    for key, value in saved["mean"].items():
        expected = 0.25 * saved["start"][key] + 0.75 * saved["learned"][key]
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)


def test_lists_of_another_kind_are_made_anew_whichever_run_is_gone_on_from(
    run: Path, data: Path, base: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    elsewhere = shutil.copytree(data, tmp_path / "elsewhere")
    cross_encoder.train(
        RECIPE, elsewhere, base, tmp_path / "of other data", start=run, say=said.append, report=lambda _: None
    )
    longer = RECIPE.model_copy(update={"list_size": RECIPE.list_size + 1, "steps": 1})
    cross_encoder.train(longer, data, base, tmp_path, start=run, say=said.append, report=lambda _: None)
    assert not any(text.endswith(f"lists of {run}") for text in said)
    _, made = read_lists(tmp_path / "work" / "lists.jsonl")
    assert max(len(item.passages) for item in made) > max(len(item.passages) for item in lists_of(run))


def test_a_run_takes_up_no_other_runs_checkpoint(run: Path, data: Path, base: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"say": lambda _: None, "report": lambda _: None}
    again = shutil.copytree(run, tmp_path / "again")
    with pytest.raises(SourceError, match="another recipe, base, start or teacher"):
        cross_encoder.train(RECIPE, data, base, again, start=run, **arguments)
    with pytest.raises(SourceError, match="another recipe, base, start or teacher"):
        cross_encoder.train(RECIPE, data, base, again, teacher=WordOverlapReranker(), **arguments)


def test_what_does_not_fit_together_is_said_before_anything_is_made(
    run: Path, data: Path, base: Path, tmp_path: Path
) -> None:
    def refused(message: str, start: Path | None = None, on: Path = base, **change: object) -> None:
        recipe = Recipe.model_validate({**RECIPE.model_dump(), **change})
        with pytest.raises(SettingsError, match=message):
            cross_encoder.train(
                recipe, data, on, tmp_path / "out", start=start, say=lambda _: None, report=lambda _: None
            )
        assert not list((tmp_path / "out" / "work").iterdir())

    refused("has 2 layers, and the recipe asks for layers 3", layers=3)
    refused("has 2 layers, the recipe 1; make them the same", run, layers=1)
    refused("saves 0.5 of the weights that the run starts from", start_share=0.5)
    other = shutil.copytree(run, tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"].popitem()
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    refused("was not trained on .*, because it has another vocabulary", other)
    # Of a unigram tokenizer the scores' last digits change when it is saved: the vocabulary is the same, and
    # what is next is looked at.
    unigram = shutil.copytree(base, tmp_path / "unigram")
    for folder, score in ((unigram, -7.4715776443481445), (other, -7.471577644348144)):
        tokenizer["model"]["vocab"] = [["word", score]]
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    refused("has 2 layers, the recipe 1; make them the same", other, unigram, layers=1)


def test_the_forward_pass_is_that_of_transformers(run: Path) -> None:
    model, tokenizer = (
        BertForSequenceClassification.from_pretrained(run).eval(),
        AutoTokenizer.from_pretrained(run),
    )
    with torch.no_grad():
        ours, theirs = WrittenOutBert(model)(pairs(tokenizer)), model(**pairs(tokenizer)).logits[:, 0]
    assert ours.tolist() == pytest.approx(theirs.tolist(), abs=0.02)  # bfloat16 has eight bits


def test_labelled_lists_begin_with_a_positive_and_weak_ones_know_only_the_teacher(run: Path) -> None:
    lists = lists_of(run)
    labelled = [item for item in lists if item.labels[0] >= 0]
    weak = [item for item in lists if item.labels[0] < 0]
    assert len(labelled) == 3 * 260
    assert 40 < len(weak) <= RECIPE.weak
    assert all(item.labels[0] == 1 and 0 in item.labels for item in labelled)
    assert all(set(item.labels) == {-1} for item in weak)
    assert all(len(item.passages) == len(item.teacher) == len(item.labels) for item in lists)
    assert all(item.labels[0] < 0 for item in lists[: int(RECIPE.weak_first * len(weak))])


def vectors_of(texts: list[str], *, query: bool = False) -> Any:
    return np.ones((len(texts), 4), dtype=np.float32)


def test_contrasts_are_of_one_thing_and_two_times_and_never_of_what_is_tested() -> None:
    lists = contrasts(RECIPE.model_copy(update={"contrasts": 400, "list_size": 6}), [vectors_of])
    assert len(lists) == 400
    assert all(item.labels == [1, 0, 0, 0, 0, 0] and len(set(item.passages)) == 6 for item in lists)
    texts = {text for item in lists for text in (item.query, *item.passages)}
    assert {"我爱吃水果", "我以前爱吃水果", "I used to love fruit."} <= texts
    tested = [pair.thing for pair in PAIRS]
    assert not [(thing, text) for thing in tested for text in texts if thing in text]
    again = contrasts(RECIPE.model_copy(update={"contrasts": 400, "list_size": 6}), [vectors_of])
    assert again == lists


def test_a_recipe_without_contrasts_makes_the_lists_that_it_made_before_there_were_any() -> None:
    assert "contrasts" not in RECIPE.of_lists()
    assert "contrasts" in RECIPE.model_copy(update={"contrasts": 1}).of_lists()


def test_chinese_is_parted_into_sentences_and_pairs_of_characters(tmp_path: Path) -> None:
    text = (
        "锣鼓经是大陆传统器乐及戏曲里面常用的打击乐记谱方法。"
        "以中文字的声音模拟敲击乐的声音纪录打击乐的各种不同的演奏方法。"
        "常用的节奏型称为锣鼓点。"
    )
    (tmp_path / "zh" / "qrels").mkdir(parents=True)
    rows = [{"_id": str(n), "title": f"第{n}章", "text": text.replace("锣鼓", f"锣{n}")} for n in range(20)]
    for kind, lines in (
        ("corpus", rows),
        ("queries", [{"_id": str(n), "text": f"锣{n}经是什么"} for n in range(20)]),
    ):
        (tmp_path / "zh" / f"{kind}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8"
        )
    (tmp_path / "zh" / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{n}\t{n}\t1\n" for n in range(20)), encoding="utf-8"
    )
    sources = (LabelledCollection(collection="zh", splits=("train",)),)
    recipe = RECIPE.model_copy(
        update={"sources": sources, "weak": 40, "weak_kinds": {"sentence": 1.0}, "passage_tokens": (500,)}
    )
    lists = make_lists(recipe, tmp_path, tiny_tokenizer(), [vectors_of], lambda _: None)
    weak = [item for item in lists if item.labels[0] < 0]
    assert len(weak) > 10
    assert all(item.query.endswith("。") and item.query.count("。") == 1 for item in weak)
    keywords = make_lists(
        recipe.model_copy(update={"weak_kinds": {"keywords": 1.0}}),
        tmp_path,
        tiny_tokenizer(),
        [vectors_of],
        lambda _: None,
    )
    asked = [item.query for item in keywords if item.labels[0] < 0]
    assert asked
    assert {len(query) for query in asked} <= set(range(2, 7))
    mixed = Passages(["MH370航班", "航班取消"], ["", ""], ["a", "b"], [np.ones((2, 4), dtype=np.float32)])
    assert mixed.bm25("mh370").tolist()[0] > 0 == mixed.bm25("mh370").tolist()[1]
    assert min(mixed.bm25("航班")) > 0
    passages = Passages(
        ["打击乐记谱方法", "中文字的声音"], ["", ""], ["a", "b"], [np.ones((2, 4), dtype=np.float32)]
    )
    assert passages.bm25("记谱").tolist()[0] > 0 == passages.bm25("记谱").tolist()[1]
    assert passages.bm25("谱记").tolist() == [0.0, 0.0]


def test_a_model_may_keep_the_first_layers_of_its_base_alone(base: Path) -> None:
    whole, first = cross_encoder.new_model(base, 1), cross_encoder.new_model(base, 1, [1])
    assert (len(whole.bert.encoder.layer), len(first.bert.encoder.layer), first.config.num_hidden_layers) == (
        2,
        1,
        1,
    )
    state = whole.bert.encoder.layer[0].state_dict()
    assert all(
        torch.equal(value, state[name]) for name, value in first.bert.encoder.layer[0].state_dict().items()
    )


def test_a_model_may_keep_any_layers_of_its_base(base: Path, tmp_path: Path) -> None:
    whole, second = cross_encoder.new_model(base, 1), cross_encoder.new_model(base, 1, [2])
    assert second.config.num_hidden_layers == len(second.bert.encoder.layer) == 1
    state = whole.bert.encoder.layer[1].state_dict()
    kept = second.bert.encoder.layer[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in kept.items())
    second.save_pretrained(tmp_path)
    again = BertForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(again.bert.encoder.layer[0].output.dense.weight, state["output.dense.weight"])


def test_no_passage_holds_the_sentence_that_it_is_asked_with(data: Path) -> None:
    recipe = RECIPE.model_copy(update={"weak_kinds": {"sentence": 1.0}, "title_share": 0.0})
    lists = make_lists(recipe, data, tiny_tokenizer(), [vectors_of], lambda _: None)
    weak = [item for item in lists if item.labels[0] < 0]
    assert weak
    assert not any(item.query in passage for item in weak for passage in item.passages)


def test_the_teacher_is_the_bi_encoder_with_some_bm25() -> None:
    similarity, bm25 = (
        np.array([[0.5, 0.4, 0.3]], dtype=np.float32),
        np.array([0.0, 0.0, 9.0], dtype=np.float32),
    )
    alone = teacher_logits(similarity, bm25, RECIPE.model_copy(update={"bm25_weight": 0.0}))
    both = teacher_logits(similarity, bm25, RECIPE)
    assert alone == pytest.approx([10.0, 8.0, 6.0])
    assert both[2] > alone[2]
    assert both[0] - both[1] == pytest.approx(2.0, abs=1e-3)
    assert teacher_logits(similarity, np.ones(3, dtype=np.float32), RECIPE) == pytest.approx(
        alone
    )  # BM25 that tells nothing apart


def test_several_bi_encoders_teach_as_one_whatever_the_range_of_their_cosines() -> None:
    recipe = RECIPE.model_copy(update={"bm25_weight": 0.0})
    first, narrow = [0.5, 0.4, 0.3], [0.80, 0.82, 0.78]
    together = teacher_logits(np.array([first, narrow], dtype=np.float32), np.zeros(3, np.float32), recipe)
    wide = teacher_logits(
        np.array([first, [8.0, 8.2, 7.8]], dtype=np.float32), np.zeros(3, np.float32), recipe
    )
    assert together == pytest.approx(wide, abs=1e-3)
    assert np.std(together) == pytest.approx(np.std([10.0, 8.0, 6.0]), abs=1e-3)
    assert together[1] == pytest.approx(together[0], abs=1e-3)  # each is first in one of both
    assert together[2] < together[0]


def test_a_list_has_passages_that_only_a_second_embedder_finds() -> None:
    texts = [f"text {number}" for number in range(200)]
    ranks = np.arange(200, dtype=np.float32)
    passages = Passages(texts, [""] * 200, texts, [np.ones((200, 4), dtype=np.float32)] * 2)
    found = passages.near(np.stack([-ranks, ranks]), np.zeros(200, dtype=np.float32))
    assert {0, 199} <= set(found)
    assert len(found) == len(set(found))


def test_of_many_documents_the_relevant_ones_are_read_first(data: Path) -> None:
    source = LabelledCollection(collection="facts", splits=("train",), queries=20, documents=30)
    recipe = RECIPE.model_copy(update={"sources": (source,), "weak": 0})
    lists = make_lists(recipe, data, tiny_tokenizer(), [vectors_of], lambda _: None)
    assert len(lists) == 20
    assert len({text.split("\n")[-1] for item in lists for text in item.passages}) <= 30 * 4


def test_the_loss_prefers_the_positive_first() -> None:
    item = TrainingList("q", ["a", "b", "c"], [1, 0, 0], [3.0, 1.0, 0.0])
    good, bad = torch.tensor([3.0, 0.0, -1.0]), torch.tensor([-1.0, 0.0, 3.0])
    assert loss_of(good, [item], RECIPE) < loss_of(bad, [item], RECIPE)


def test_the_loss_of_lists_of_any_length_is_the_sum_of_theirs() -> None:
    lists = [
        TrainingList("q", ["a", "b", "c"], [1, 0, 0], [3.0, 1.0, 0.0]),
        TrainingList("r", ["d", "e"], [-1, -1], [0.0, 2.0]),
    ]
    logits = torch.tensor([1.0, 2.0, -1.0, 0.5, 0.25])
    alone = [
        float(loss_of(part, [item], RECIPE)) for part, item in zip(logits.split([3, 2]), lists, strict=True)
    ]
    assert float(loss_of(logits, lists, RECIPE)) == pytest.approx(sum(alone))


def test_a_teacher_that_contradicts_the_labels_is_not_heard() -> None:
    logits = torch.tensor([1.0, 0.0])
    heard = RECIPE.model_copy(update={"distil_weight_labelled": 5.0})
    wrong, right = (
        TrainingList("q", ["a", "b"], [1, 0], [0.0, 4.0]),
        TrainingList("q", ["a", "b"], [1, 0], [4.0, 0.0]),
    )
    assert loss_of(logits, [wrong], heard) == loss_of(logits, [wrong], RECIPE)
    assert loss_of(logits, [right], heard) > loss_of(logits, [right], RECIPE)


def test_batches_hold_no_more_padded_tokens_than_allowed() -> None:
    lengths = [3, 3, 4, 8, 40]
    assert list(batches.token_batches(range(5), lengths, 12)) == [[0, 1, 2], [3], [4]]
    assert list(batches.token_batches([], [], 12)) == []
