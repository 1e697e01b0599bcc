"""The weights that come out of an exported graph give what the graph gives: a cross-encoder, an embedder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_torch
import torch
from safetensors.torch import load_file
from tiny_models import reseal, tiny_cross_encoder
from transformers import AutoTokenizer, BertForSequenceClassification, BertModel

from es_rerank.errors import SourceError
from es_rerank.export import ExportOptions, export_model
from es_rerank.models.load import load_embedder, load_reranker, model_folder
from es_rerank.research.training.graph_weights import take_weights
from es_rerank.settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER

QUERY = "how do birds find their way"
TEXTS = [
    "Migrating birds use the sun, the stars and the magnetic field of the earth.",
    "The bridge was closed for repairs in winter.",
    "Pigeons return to their loft over hundreds of kilometres.",
    "A recipe for bread with seeds.",
    "The museum shows paintings of birds.",
]


def test_the_bundled_cross_encoder_comes_back_with_its_head(tmp_path: Path) -> None:
    take_weights(model_folder(BUNDLED_RERANKER), tmp_path / "out")
    model = BertForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    pairs = tokenizer([QUERY] * len(TEXTS), TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**pairs).logits[:, 0].numpy()
    with load_reranker(BUNDLED_RERANKER) as reranker:
        expected = reranker.score(QUERY, TEXTS).values
    assert np.abs(logits - expected).max() < 0.6
    assert np.corrcoef(logits, expected)[0, 1] > 0.99


def test_the_bundled_embedder_comes_back_without_a_head(tmp_path: Path) -> None:
    take_weights(model_folder(BUNDLED_EMBEDDER), tmp_path / "out")
    model = BertModel.from_pretrained(tmp_path / "out", add_pooling_layer=False).eval()
    assert model.config.num_attention_heads == 12
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    with load_embedder(BUNDLED_EMBEDDER) as embedder:
        expected = np.asarray(embedder.embed(TEXTS))
    for text, vector in zip(TEXTS, expected, strict=True):
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy()
        assert float(mean @ vector / np.linalg.norm(mean)) > 0.98


def test_an_fp32_graph_gives_its_weights_as_they_are(tmp_path: Path) -> None:
    """Also where the folder has an int8 graph; and its heads are as small as no embedder's are."""
    source = tiny_torch.bert(tmp_path / "torch")
    export_model(str(source), tmp_path / "both", ExportOptions(int8_range="reduced"))
    take_weights(tmp_path / "both", tmp_path / "out")
    before, after = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "out"))
    assert set(after) == set(before)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    model = BertForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.config.num_attention_heads == 2


@pytest.mark.parametrize(("lowercase", "capital"), [(True, False), (False, False), (False, True)])
def test_capital_letters_are_made_small_unless_the_vocabulary_has_them(
    lowercase: bool, capital: bool, tmp_path: Path
) -> None:
    """bge-small-zh has no capital letter in its vocabulary and a tokenizer that leaves them, so that it reads
    words with one as unknown.
    """
    folder = tmp_path / "exported"
    export_model(str(tiny_torch.bert(tmp_path / "torch")), folder, ExportOptions(int8_range="reduced"))
    stated = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    stated["normalizer"]["lowercase"] = lowercase
    if capital:
        vocabulary = stated["model"]["vocab"]
        stated["model"]["vocab"] = {("B" if word == "b" else word): at for word, at in vocabulary.items()}
    (folder / "tokenizer.json").write_text(json.dumps(stated), encoding="utf-8")
    take_weights(reseal(folder), tmp_path / "out")
    read = AutoTokenizer.from_pretrained(tmp_path / "out").tokenize("B a")
    assert read == (["B", "a"] if capital else ["b", "a"])


def test_a_graph_that_is_no_bert_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the fp32 graph in .* has no weights of a BERT"):
        take_weights(tiny_cross_encoder(tmp_path / "fp32"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
