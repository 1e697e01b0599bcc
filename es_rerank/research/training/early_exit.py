"""A BERT cross-encoder with heads on inner layers, so that reading may stop there (deep supervision).

An inner layer's head gives the logit of a model of so many layers; trained together with the last one, the layers below
learn to be read early (DeeBERT, https://arxiv.org/abs/2004.12993, but trained jointly). The forward pass is written out
for training: matrices in bfloat16, the residual stream in float32; no dropout, which took 40 % of a step, and no
list is seen often; attention on a CPU by plain matrix products, for the fused kernel's backward pass took 39 % of what then
was a step; in the last layer the first token alone, for nothing else of it is read. 12 pairs of 192 tokens on one core with AMX:
10.0 pairs/s through transformers under autocast, 22 written out. torch.compile gained nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from ...models.catalog import EXIT_HEADS, EXIT_LAYERS

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification


class Head(torch.nn.Module):
    """What BERT has on its last layer: a dense pooler with tanh, then one logit."""

    def __init__(self, dims: int, spread: float) -> None:
        super().__init__()
        self.pooler = torch.nn.Linear(dims, dims)
        self.classifier = torch.nn.Linear(dims, 1)
        for linear in (self.pooler, self.classifier):
            torch.nn.init.normal_(linear.weight, std=spread)
            torch.nn.init.zeros_(linear.bias)

    def forward(self, first: torch.Tensor) -> torch.Tensor:
        """Return the logits, (n,), of first-token vectors, (n, dims)."""
        logits: torch.Tensor = self.classifier(torch.tanh(self.pooler(first)))[:, 0]
        return logits


class EarlyExit(torch.nn.Module):
    """A one-logit BERT and heads after some of its layers, which are counted from 1."""

    def __init__(self, model: BertForSequenceClassification, layers: Sequence[int]) -> None:
        super().__init__()
        self.model, config = model, model.config
        self.exit = torch.nn.ModuleDict(
            {str(layer): Head(config.hidden_size, config.initializer_range) for layer in layers}
        )

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of every head, float32, (heads, n): the exits in their order, then the last layer's."""
        first = self._first_tokens(inputs)
        last = self.model.classifier(self.model.bert.pooler(first[-1][:, None]))[:, 0]
        return torch.stack(
            [*(head(vector) for head, vector in zip(self.exit.values(), first, strict=False)), last]
        )

    def _first_tokens(self, inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Return the first token's vectors, float32, (n, dims), after each exit layer and after the last."""
        bert = self.model.bert
        hidden = bert.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs.get("token_type_ids"))
        bias = ((inputs["attention_mask"] - 1) * 1e4).to(torch.bfloat16)[:, None, None, :]
        found = []
        for number, block in enumerate(bert.encoder.layer, 1):
            last = number == len(bert.encoder.layer)
            hidden = _layer(block, hidden, hidden[:, :1] if last else hidden, bias)
            if last or str(number) in self.exit:
                found.append(hidden[:, 0])
        return found

    def save(self, folder: Path) -> None:
        """Write the model as transformers does, and the exit heads beside it."""
        setattr(self.model.config, EXIT_LAYERS, [int(layer) for layer in self.exit])
        self.model.save_pretrained(folder)
        save_file(
            {f"exit.{name}": value.contiguous() for name, value in self.exit.state_dict().items()},
            folder / EXIT_HEADS,
        )

    def load_heads(self, folder: Path) -> None:
        """Read the exit heads that ``save`` wrote."""
        self.exit.load_state_dict(
            {name.removeprefix("exit."): value for name, value in load_file(folder / EXIT_HEADS).items()}
        )


def _layer(
    block: torch.nn.Module, hidden: torch.Tensor, rows: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Return the layer's output for ``rows``, tokens of ``hidden``, which attend to all of it."""
    attention = block.attention
    low, query = hidden.to(torch.bfloat16), rows.to(torch.bfloat16)
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
    inner = block.intermediate.intermediate_act_fn(_linear(block.intermediate.dense, rows.to(torch.bfloat16)))
    output: torch.Tensor = block.output.LayerNorm(_linear(block.output.dense, inner) + rows)
    return output


def _attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    if q.is_cuda:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias, dim=-1) @ v


def _linear(linear: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, linear.weight.to(torch.bfloat16), linear.bias.to(torch.bfloat16))
