"""The forward pass of a one-logit BERT, written out for training.

Matrices have the type that the processor multiplies fastest (``matrix_type``), the residual stream is
float32. There is no dropout: it took 40 % of a step, and no list is seen often. On a CPU, attention is two
matrix products, because the backward pass of the fused kernel took 39 % of a step without dropout. The last
layer computes only the first token, because nothing else of it is read. 12 pairs of 192 tokens on one core
with AMX: 10.0 pairs/s through transformers under autocast, 22 pairs/s written out. torch.compile gained
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification


def matrix_type() -> torch.dtype:
    """Return the type of the matrices: bfloat16 on a GPU and on a CPU with AMX, float32 on other CPUs.

    Without AMX, torch multiplies bfloat16 more slowly than float32, even where the processor has bfloat16
    instructions: 24 pairs of 128 tokens on one core, 1,178 tokens/s with bfloat16 and 1,907 with float32.
    """
    amx = torch.cpu._is_amx_tile_supported()  # noqa: SLF001 torch has no public name for it
    return torch.bfloat16 if torch.cuda.is_available() or amx else torch.float32


class WrittenOutBert(torch.nn.Module):
    """A one-logit BERT of transformers with the forward pass of this module."""

    def __init__(self, model: BertForSequenceClassification) -> None:
        super().__init__()
        self.model = model
        self._type = matrix_type()

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits, float32, (n,), of n padded sequences.

        ``inputs`` are those of the tokenizer: input ids, attention mask and perhaps type ids, (n, n_tokens).
        """
        bert = self.model.bert
        hidden = bert.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs.get("token_type_ids"))
        bias = ((inputs["attention_mask"] - 1) * 1e4).to(self._type)[:, None, None, :]
        for block in bert.encoder.layer[:-1]:
            hidden = _layer(block, hidden, hidden, bias)
        first = _layer(bert.encoder.layer[-1], hidden, hidden[:, :1], bias)
        logits: torch.Tensor = self.model.classifier(bert.pooler(first))[:, 0]
        return logits

    def save(self, folder: Path) -> None:
        """Write the model as transformers does."""
        self.model.save_pretrained(folder)


def _layer(
    block: torch.nn.Module, hidden: torch.Tensor, rows: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Return the layer's output for ``rows``: tokens of ``hidden`` that attend to all of ``hidden``."""
    attention = block.attention
    low, query = hidden.to(bias.dtype), rows.to(bias.dtype)
    heads = attention.self.num_attention_heads
    q, k, v = (
        _linear(linear, tokens).unflatten(-1, (heads, -1)).transpose(1, 2)
        for linear, tokens in (
            (attention.self.query, query),
            (attention.self.key, low),
            (attention.self.value, low),
        )
    )
    mixed = _linear(attention.output.dense, _attended(q, k, v, bias).transpose(1, 2).flatten(2))
    rows = attention.output.LayerNorm(mixed + rows)
    inner = block.intermediate.intermediate_act_fn(_linear(block.intermediate.dense, rows.to(bias.dtype)))
    output: torch.Tensor = block.output.LayerNorm(_linear(block.output.dense, inner) + rows)
    return output


def _attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    if q.is_cuda:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias, dim=-1) @ v


def _linear(linear: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, linear.weight.to(x.dtype), linear.bias.to(x.dtype))
