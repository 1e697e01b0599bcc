"""What others make of a pair: sentence-transformers, FlagEmbedding, pygaggle, and the authors of decoders,
each as its own code calls the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiny_torch
import torch
from sentence_transformers import CrossEncoder
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from es_rerank.models.parity_pairs import PARITY_PAIRS
from es_rerank.types import FloatArray

FALSE, TRUE = "▁false", "▁true"

DECODER_WINDOW = 384
"""Tokens that a tiny decoder reads: enough for its prompt, a query that is not cut, and some of a passage."""
_JUDGE = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note "
    'that the answer can only be "yes" or "no".'
)
_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For each "
    "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
    "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
)


def sentence_transformers_logits(folder: Path) -> FloatArray:
    """What sentence-transformers says of every pair, as one logit each, float32, (n_pairs,)."""
    model = CrossEncoder(
        str(folder), max_length=tiny_torch.WINDOW, device="cpu", model_kwargs={"dtype": torch.float32}
    )
    values = np.asarray(
        model.predict(list(PARITY_PAIRS), activation_fn=torch.nn.Identity(), batch_size=1), dtype=np.float32
    )
    return np.asarray(values[:, 1] - values[:, 0] if values.ndim == 2 else values, dtype=np.float32)


def flagembedding_logits(folder: Path) -> FloatArray:
    """What FlagEmbedding makes of every pair (inference/reranker/encoder_only/base.py), float32,
    (n_pairs,).
    """
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
    )
    window, logits = tiny_torch.WINDOW, []
    for query, passage in PARITY_PAIRS:
        first = tokenizer(query, add_special_tokens=False, max_length=window * 3 // 4, truncation=True)[
            "input_ids"
        ]
        second = tokenizer(passage, add_special_tokens=False, max_length=window, truncation=True)["input_ids"]
        item = tokenizer.prepare_for_model(
            first,
            second,
            truncation="only_second",
            max_length=window,
            return_tensors="pt",
            prepend_batch_axis=True,
        )
        with torch.inference_mode():
            logits.append(float(model(**item).logits[0, 0]))
    return np.asarray(logits, dtype=np.float32)


def pygaggle_logits(folder: Path) -> FloatArray:
    """What pygaggle makes of every pair, float32, (n_pairs,)."""
    return pygaggle(folder, formatted(PARITY_PAIRS))[0]


def pygaggle(folder: Path, prompts: Sequence[str] | Sequence[list[int]]) -> tuple[FloatArray, FloatArray]:
    """Logits (true minus false) and log-probability of true, each (n_prompts,), of prompts as text or as ids.

    pygaggle/rerank/transformer.py and model/decode.py: encoder, one greedy step from the start token,
    two columns of it.
    """
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForSeq2SeqLM.from_pretrained(folder).eval(),
    )
    columns = [tokenizer.get_vocab()[token] for token in (FALSE, TRUE)]
    logits, log_probabilities = [], []
    for prompt in prompts:
        ids = (
            tokenizer(prompt, truncation=True, max_length=tiny_torch.WINDOW)["input_ids"]
            if isinstance(prompt, str)
            else prompt
        )
        inputs = torch.tensor([ids])
        with torch.inference_mode():
            encoded = model.get_encoder()(inputs, attention_mask=torch.ones_like(inputs))
            decoded = torch.full((1, 1), model.config.decoder_start_token_id)
            step = model(
                encoder_outputs=encoded, attention_mask=torch.ones_like(inputs), decoder_input_ids=decoded
            ).logits[:, -1, :]
        two = step[:, columns]
        logits.append(float(two[0, 1] - two[0, 0]))
        log_probabilities.append(float(torch.nn.functional.log_softmax(two, dim=1)[0, 1]))
    return np.asarray(logits, dtype=np.float32), np.asarray(log_probabilities, dtype=np.float32)


def formatted(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [f"Query: {query} Document: {document} Relevant:" for query, document in pairs]


def qwen3_logits(
    folder: Path, instruction: str = "", pairs: Sequence[tuple[str, str]] = PARITY_PAIRS
) -> FloatArray:
    """What the model card of Qwen3-Reranker makes of every pair, float32, (n_pairs,).

    The scores there are the log-softmax over no and yes; the difference of the two is that of their logits.
    """
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    before, after = (
        tokenizer.encode(text, add_special_tokens=False)
        for text in (
            f"<|im_start|>system\n{_JUDGE}<|im_end|>\n<|im_start|>user\n",
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        )
    )
    task = instruction or "Given a web search query, retrieve relevant passages that answer the query"
    room = DECODER_WINDOW - len(before) - len(after)
    prompts = []
    for query, passage in pairs:
        text = f"<Instruct>: {task}\n<Query>: {query}\n<Document>: {passage}"
        ids = tokenizer(text, truncation="longest_first", max_length=room)["input_ids"]
        prompts.append([*before, *ids, *after])
    columns = [tokenizer.convert_tokens_to_ids(token) for token in ("no", "yes")]
    return _last_logits(model, prompts, columns)


def mxbai_logits(
    folder: Path, instruction: str = "", pairs: Sequence[tuple[str, str]] = PARITY_PAIRS
) -> FloatArray:
    """What mixedbread-ai/mxbai-rerank (mxbai_rerank_v2.py) makes of every pair, float32, (n_pairs,)."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)

    def ids(text: str, most: int | None = None) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found[:most]

    system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    before = ids(f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n")
    after = [*ids("\n"), *ids(_TASK), *ids("<|im_end|>\n<|im_start|>assistant\n")]
    room, told = DECODER_WINDOW - len(before) - len(after), f"instruction: {instruction}\n"
    prompts = []
    for query, passage in pairs:
        asked = ids(f"{told if instruction else ''}query: {query}", room * 3 // 4)
        read = [*ids("\n"), *ids(f"document: {passage}")][: room - len(asked)]
        prompts.append([*before, *asked, *read, *after])
    return _last_logits(model, prompts, [ids("0")[0], ids("1")[0]])


def _last_logits(model: Any, prompts: Sequence[list[int]], columns: list[int]) -> FloatArray:
    """Return the logit of the second column minus that of the first behind each prompt, (n_prompts,)."""
    logits = []
    for prompt in prompts:
        with torch.inference_mode():
            false, true = model.eval()(input_ids=torch.tensor([prompt])).logits[0, -1, columns]
        logits.append(float(true - false))
    return np.asarray(logits, dtype=np.float32)
