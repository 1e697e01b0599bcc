"""Reference scores: the original torch model scores the fixed pairs through Hugging Face's own tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from tokenizers import normalizers
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, AutoTokenizer

from ..errors import ModelFolderError
from ..models.contracts import MonoT5Contract
from ..models.source.files import module_settings
from ..models.source.model import SourceModel
from ..text.prompted_pairs import QUERY_SHARE
from ..types import FloatArray
from .decoder import decoder_logit

Logit = Callable[[str, str], float]
"""A function from query and passage to a logit."""


def save_tokenizer(source: Path, out: Path) -> None:
    """Write ``tokenizer.json`` to the file ``out``. A source that has only a slow tokenizer is converted.

    Raises ModelFolderError when the model has no tokenizer that the tokenizers library can represent.
    """
    tokenizer = _tokenizer(source)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.save(str(out), pretty=False)


def torch_logits(source: SourceModel, pairs: Sequence[tuple[str, str]]) -> FloatArray:
    """Return the logits of a reranker, float32, (n_pairs,). The model reads one pair at a time."""
    match source.kind:
        case "monot5":
            logit = _monot5_logit(source)
        case "decoder":
            logit = decoder_logit(source, _tokenizer(source.folder))
        case _:
            logit = _cross_encoder_logit(source)
    with torch.inference_mode():
        return np.asarray([logit(query, passage) for query, passage in pairs], dtype=np.float32)


def torch_vectors(source: SourceModel, texts: Sequence[str]) -> FloatArray:
    """Return the unit vectors of a bi-encoder, float32, (n_texts, dims).

    The model reads one text at a time. No prefix is added.
    """
    model = AutoModel.from_pretrained(source.folder, dtype=torch.float32).eval()  # nosec B615 # a folder on this machine
    tokenizer = _tokenizer(source.folder)
    with torch.inference_mode():
        vectors = torch.stack(list(_vectors(model, tokenizer, source, texts)))
    return np.asarray(torch.nn.functional.normalize(vectors, dim=1).numpy(), dtype=np.float32)


def _vectors(model: Any, tokenizer: Any, source: SourceModel, texts: Sequence[str]) -> Iterator[torch.Tensor]:  # noqa: ANN401 transformers' classes
    assert source.bi_encoder is not None  # noqa: S101 the source is a bi-encoder
    for text in texts:
        hidden = model(
            **tokenizer(text, truncation=True, max_length=source.max_length, return_tensors="pt")
        ).last_hidden_state[0]
        yield hidden[0] if source.bi_encoder.pooling == "cls" else hidden.mean(dim=0)


def _cross_encoder_logit(source: SourceModel) -> Logit:
    """Return the function that scores a pair with a cross-encoder.

    The head is either the one that transformers loads or the modules of sentence-transformers.
    """
    model = (
        _modules(source.folder)
        if source.modular
        else AutoModelForSequenceClassification.from_pretrained(source.folder, dtype=torch.float32).eval()  # nosec B615 # a folder on this machine
    )
    tokenizer = _tokenizer(source.folder)

    def logit(query: str, passage: str) -> float:
        inputs = _pair(tokenizer, source, query, passage)
        scores = (model(dict(inputs))["scores"] if source.modular else model(**inputs).logits)[0]
        return float(scores[0] if len(scores) == 1 else scores[1] - scores[0])

    return logit


def _modules(folder: Path) -> CrossEncoder:
    return CrossEncoder(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    ).eval()


def _monot5_logit(source: SourceModel) -> Logit:
    """Return the function that scores a pair with a monoT5: one greedy step, two tokens.

    This is the method of pygaggle (rerank/transformer.py, model/decode.py).
    """
    assert source.monot5 is not None  # noqa: S101 the source is a monoT5
    contract = source.monot5
    model = AutoModelForSeq2SeqLM.from_pretrained(source.folder, dtype=torch.float32).eval()  # nosec B615 # a folder on this machine
    tokenizer = _tokenizer(source.folder)
    answers = tokenizer.convert_tokens_to_ids([contract.false_token, contract.true_token])
    start = torch.full((1, 1), model.config.decoder_start_token_id)

    def logit(query: str, passage: str) -> float:
        last = model(
            **_prompt(tokenizer, contract, source.max_length, query, passage), decoder_input_ids=start
        ).logits[:, -1]
        false, true = torch.nn.functional.log_softmax(last[:, answers], dim=1)[0]
        return float(true - false)

    return logit


def _prompt(tokenizer: Any, contract: MonoT5Contract, window: int, query: str, passage: str) -> Any:  # noqa: ANN401 transformers' classes
    """Return the model's inputs for a prompt; a prompt that is too long is cut as the contract says."""
    text = contract.prompt.format(query=query, document=passage)
    whole = tokenizer(text, return_tensors="pt", verbose=False)
    if whole["input_ids"].shape[1] <= window:
        return whole
    if contract.truncation == "prompt":
        return tokenizer(text, truncation=True, max_length=window, return_tensors="pt")
    ids = tokenizer.build_inputs_with_special_tokens(
        _cut_document(tokenizer, contract.prompt, window, query, passage)
    )
    return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones((1, len(ids)), dtype=torch.long)}


def _cut_document(tokenizer: Any, prompt: str, window: int, query: str, passage: str) -> list[int]:  # noqa: ANN401 transformers' classes
    """Return the token ids of a prompt whose document is cut at its end.

    The parts are tokenized one by one and then joined. That is exact because T5's vocabulary has no piece
    that spans a space.
    """

    def ids(*parts: str) -> list[int]:
        return tokenizer(" ".join(parts).strip(), add_special_tokens=False, verbose=False)["input_ids"]

    before, between, after = (part.strip() for part in re.split(r"{query}|{document}", prompt))
    asked, read = ids(before, query)[len(ids(before)) :], ids(between, passage)[len(ids(between)) :]
    room = (
        window
        - tokenizer.num_special_tokens_to_add()
        - len(ids(before))
        - len(ids(between))
        - len(ids(after))
    )
    kept = min(len(asked), max(int(room * QUERY_SHARE), room - len(read)))
    return [*ids(before), *asked[:kept], *ids(between), *read[: room - kept], *ids(after)]


def _pair(tokenizer: Any, source: SourceModel, query: str, passage: str) -> Any:  # noqa: ANN401 transformers' classes
    """Return the model's inputs for a pair; a pair that is too long is cut as its family does it."""
    assert source.cross_encoder is not None  # noqa: S101 the source is a cross-encoder
    truncation = source.cross_encoder.truncation
    if truncation.strategy == "longest_first":
        # Lists of one text, as sentence-transformers passes them. Given two strings, transformers takes an
        # empty passage for no passage and leaves out its separator; in a batch it does not.
        return tokenizer(
            [query], [passage], truncation="longest_first", max_length=source.max_length, return_tensors="pt"
        )
    # FlagEmbedding, inference/reranker/encoder_only/base.py: both texts are tokenized without special tokens,
    # then joined.
    first, second = (
        tokenizer(text, add_special_tokens=False, truncation=True, max_length=length)["input_ids"]
        for text, length in (
            (query, int(source.max_length * truncation.query_share)),
            (passage, source.max_length),
        )
    )
    return tokenizer.prepare_for_model(
        first,
        second,
        truncation="only_second",
        max_length=source.max_length,
        return_tensors="pt",
        prepend_batch_axis=True,
    )


def _tokenizer(folder: Path) -> Any:  # noqa: ANN401 transformers' classes
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)  # nosec B615 # a folder on this machine
    except (OSError, ValueError, KeyError) as error:
        raise ModelFolderError(
            f"{folder} has no tokenizer that transformers can load ({error}); fetch the whole model"
        ) from error
    if not tokenizer.is_fast:
        raise ModelFolderError(
            f"the tokenizer of {folder} has no tokenizer.json and cannot be converted to one; it cannot be "
            "exported"
        )
    if module_settings(folder).get("do_lower_case"):
        # A setting of sentence-transformers (base/modules/transformer.py), which transformers does not read.
        backend = tokenizer.backend_tokenizer
        backend.normalizer = normalizers.Sequence(
            [normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer else [])]
        )
    return tokenizer
