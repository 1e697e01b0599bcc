"""A BERT cross-encoder with heads on inner layers, so that reading can stop there (deep supervision).

The head on an inner layer gives the logit of a model with that many layers. The heads are trained together
with the last one, so the lower layers learn to give early answers (DeeBERT, https://arxiv.org/abs/2004.12993,
but trained jointly).

The forward pass is written out for training. Matrices have the type that the processor multiplies fastest
(``matrix_type``), the residual stream is float32. There is no dropout: it took 40 % of a step, and no list is
seen often. On a CPU, attention is two matrix products, because the backward pass of the fused kernel took
39 % of a step without dropout. The last layer computes only the first token, because nothing else of it is
read. 12 pairs of 192 tokens on one core with AMX: 10.0 pairs/s through transformers under autocast, 22
pairs/s written out. torch.compile gained nothing.
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


def matrix_type() -> torch.dtype:
    """Return the type of the matrices: bfloat16 on a GPU and on a CPU with AMX, float32 on other CPUs.

    Without AMX, torch multiplies bfloat16 more slowly than float32, even where the processor has bfloat16
    instructions: 24 pairs of 128 tokens on one core, 1,178 tokens/s with bfloat16 and 1,907 with float32.
    """
    amx = torch.cpu._is_amx_tile_supported()  # noqa: SLF001 torch has no public name for it
    return torch.bfloat16 if torch.cuda.is_available() or amx else torch.float32


class Head(torch.nn.Module):
    """The head that BERT has on its last layer: a dense pooler with tanh, then one logit."""

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


class EarlyExitModel(torch.nn.Module):
    """A one-logit BERT with heads after some of its layers, which are counted from 1."""

    def __init__(self, model: BertForSequenceClassification, layers: Sequence[int]) -> None:
        super().__init__()
        self.model, config = model, model.config
        self._type = matrix_type()
        self.exit = torch.nn.ModuleDict(
            {str(layer): Head(config.hidden_size, config.initializer_range) for layer in layers}
        )

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of every head, float32, (heads, n): the exits in their order, then the last
        layer.
        """
        first = self._first_tokens(inputs)
        last = self.model.classifier(self.model.bert.pooler(first[-1][:, None]))[:, 0]
        return torch.stack(
            [*(head(vector) for head, vector in zip(self.exit.values(), first, strict=False)), last]
        )

    def _first_tokens(self, inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Return the first token's vectors, float32, (n, dims), after each exit layer and after the last
        layer.
        """
        bert = self.model.bert
        hidden = bert.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs.get("token_type_ids"))
        bias = ((inputs["attention_mask"] - 1) * 1e4).to(self._type)[:, None, None, :]
        vectors = []
        for number, block in enumerate(bert.encoder.layer, 1):
            last = number == len(bert.encoder.layer)
            hidden = _layer(block, hidden, hidden[:, :1] if last else hidden, bias)
            if last or str(number) in self.exit:
                vectors.append(hidden[:, 0])
        return vectors

    def save(self, folder: Path) -> None:
        """Write the model as transformers does, and any exit heads into the same folder."""
        setattr(self.model.config, EXIT_LAYERS, [int(layer) for layer in self.exit])
        self.model.save_pretrained(folder)
        if not self.exit:
            return
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
