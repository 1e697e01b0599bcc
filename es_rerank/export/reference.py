"""What torch says: the original model on the fixed pairs, through Hugging Face's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import normalizers
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from ..errors import ModelFolderError
from ..types import FloatArray
from .source import Source, module_settings


def save_tokenizer(source: Path, out: Path) -> None:
    """Write ``tokenizer.json``, made from the slow tokenizer's files where the source has no such file.

    Raises ModelFolderError for a model without a tokenizer that the tokenizers library can hold.
    """
    tokenizer = _tokenizer(source)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.save(str(out))


def torch_logits(source: Source, pairs: Sequence[tuple[str, str]]) -> FloatArray:
    """Return the logits of a cross-encoder, float32, (n_pairs,), one pair at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(source.folder, dtype=torch.float32).eval()
    tokenizer = _tokenizer(source.folder)
    logits = []
    with torch.inference_mode():
        for query, passage in pairs:
            head = model(**_pair(tokenizer, source, query, passage)).logits[0]
            logits.append(head[0] if len(head) == 1 else head[1] - head[0])
    return np.asarray(torch.stack(logits).numpy(), dtype=np.float32)


def torch_vectors(source: Source, texts: Sequence[str]) -> FloatArray:
    """Return the unit vectors of a bi-encoder, float32, (n_texts, dims), one text at a time; no prefix is added."""
    model = AutoModel.from_pretrained(source.folder, dtype=torch.float32).eval()
    tokenizer = _tokenizer(source.folder)
    with torch.inference_mode():
        vectors = torch.stack(list(_vectors(model, tokenizer, source, texts)))
    return np.asarray(torch.nn.functional.normalize(vectors, dim=1).numpy(), dtype=np.float32)


def _vectors(model: Any, tokenizer: Any, source: Source, texts: Sequence[str]) -> Iterator[torch.Tensor]:  # noqa: ANN401 transformers' classes
    assert source.bi_encoder is not None  # a bi-encoder's source
    for text in texts:
        hidden = model(**tokenizer(text, truncation=True, max_length=source.max_length, return_tensors="pt")).last_hidden_state[0]
        yield hidden[0] if source.bi_encoder.pooling == "cls" else hidden.mean(dim=0)


def _pair(tokenizer: Any, source: Source, query: str, passage: str) -> Any:  # noqa: ANN401 transformers' classes
    """Return the model's inputs for a pair, cut by the family's own rule."""
    assert source.cross_encoder is not None  # a cross-encoder's source
    truncation = source.cross_encoder.truncation
    if truncation.strategy == "longest_first":
        # As lists: given two strings, transformers takes an empty passage for none and leaves its separator out, which
        # it does not do in a batch, the way sentence-transformers calls it.
        return tokenizer([query], [passage], truncation="longest_first", max_length=source.max_length, return_tensors="pt")
    # FlagEmbedding, inference/reranker/encoder_only/base.py: both alone without special tokens, then put together.
    first, second = (
        tokenizer(text, add_special_tokens=False, truncation=True, max_length=length)["input_ids"]
        for text, length in ((query, int(source.max_length * truncation.query_share)), (passage, source.max_length))
    )
    return tokenizer.prepare_for_model(first, second, truncation="only_second", max_length=source.max_length, return_tensors="pt", prepend_batch_axis=True)


def _tokenizer(folder: Path) -> Any:  # noqa: ANN401 transformers' classes
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelFolderError(f"{folder} has no tokenizer that transformers can load ({error}); fetch the whole model") from error
    if not tokenizer.is_fast:
        raise ModelFolderError(f"the tokenizer of {folder} has no tokenizer.json and cannot be converted to one; it cannot be exported")
    if module_settings(folder).get("do_lower_case"):
        # sentence-transformers' own setting (base/modules/transformer.py), of which transformers knows nothing.
        backend = tokenizer.backend_tokenizer
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer else [])])
    return tokenizer
