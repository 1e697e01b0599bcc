"""The catalog of model families: their classes, how each truncates a pair, and which positions each reserves.

The user names a family, or the ``architectures`` entry of the model's own ``config.json`` decides it. The
name of a model never decides it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SettingsError
from ..text.pairs import TruncationStrategy
from .contracts import DecoderContract
from .decoder_families import MXBAI_RERANK_V2, QWEN3_RERANKER
from .manifest import ModelKind

DEFAULT_WINDOW = 512
"""Default maximum length of an exported model's input, in tokens. It is 512 even where the model could read
8192: time grows with length, and these models were trained on 512 tokens. ``--max-length`` allows up to as
many tokens as the model has positions."""

INT8_TEXTS = "int8_texts.jsonl"
"""The file where training writes texts for ``export --int8-texts``."""


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the catalog.

    ``reserved_positions`` is the number of position embeddings that no token may use: XLM-R and RoBERTa count
    positions from their padding id 1, so positions begin at 2 and a table of 514 serves 512 tokens. Only
    monoT5 families have ``answers``: the tokens for false and for true. They are stated as text, because
    their ids differ between vocabularies. Only families of decoders have ``asks``: the prompt and the tokens
    that its models were trained with.
    """

    name: str
    cross_encoders: tuple[str, ...]
    bi_encoders: tuple[str, ...]
    truncation: TruncationStrategy = "longest_first"
    reserved_positions: int = 0
    monot5s: tuple[str, ...] = ()
    decoders: tuple[str, ...] = ()
    answers: tuple[str, str] | None = None
    asks: DecoderContract | None = None

    def fits(self, kind: ModelKind) -> bool:
        """Return whether a model of this kind can be of this family."""
        match kind:
            case "monot5":
                return self.answers is not None
            case "decoder":
                return self.asks is not None
            case _:
                return self.answers is None and self.asks is None

    def architectures(self, kind: ModelKind) -> tuple[str, ...]:
        """Return the class names in ``config.json`` that belong to this family, for one kind of model."""
        match kind:
            case "cross-encoder":
                return self.cross_encoders
            case "monot5":
                return self.monot5s
            case "decoder":
                return self.decoders
            case "bi-encoder":
                return self.bi_encoders


FAMILIES: tuple[Family, ...] = (
    Family("bert", ("BertForSequenceClassification",), ("BertModel",)),
    Family(
        "xlm-roberta", ("XLMRobertaForSequenceClassification",), ("XLMRobertaModel",), reserved_positions=2
    ),
    # Same classes as xlm-roberta, but another truncation. No class is listed, so that each class belongs to
    # one family. The user names this family with --family.
    Family("bge", (), (), truncation="only_second", reserved_positions=2),
    Family(
        "roberta",
        ("RobertaForSequenceClassification", "CamembertForSequenceClassification"),
        (),
        reserved_positions=2,
    ),
    Family("distilbert", ("DistilBertForSequenceClassification",), ()),
    Family("electra", ("ElectraForSequenceClassification",), ()),
    Family("albert", ("AlbertForSequenceClassification",), ()),
    Family("deberta-v2", ("DebertaV2ForSequenceClassification",), ("DebertaV2Model",)),
    Family("modernbert", ("ModernBertForSequenceClassification",), ("ModernBertModel",)),
    # Checkpoints of one class answer with different words, so that all but the first are named by the user
    # alone. The words are those of castorini/pygaggle (rerank/transformer.py), AnswerDotAI/rerankers
    # (models/t5ranker.py) and, for monoptt5, DataScienceUIBK/Rankify (utils). castorini/monot5-*,
    # unicamp-dl/InRanker-*:
    Family(
        "monot5",
        (),
        (),
        monot5s=("T5ForConditionalGeneration", "MT5ForConditionalGeneration"),
        answers=("▁false", "▁true"),
    ),
    # unicamp-dl/mt5-base-*
    Family("monot5-yes-no", (), (), answers=("▁no", "▁yes")),
    # unicamp-dl/ptt5-base-*
    Family("ptt5", (), (), answers=("▁não", "▁sim")),
    # unicamp-dl/monoptt5-*
    Family("monoptt5", (), (), answers=("▁Não", "▁Sim")),
    # unicamp-dl/mt5-3B-mmarco-en-pt; mt5-13b-mmarco-100k by rerankers, while pygaggle has it answer as monot5
    # does.
    Family("monot5-blank-true", (), (), answers=("▁", "▁true")),
    # Qwen/Qwen3-Reranker-*
    Family("qwen3-reranker", (), (), decoders=("Qwen3ForCausalLM",), asks=QWEN3_RERANKER),
    # mixedbread-ai/mxbai-rerank-base-v2, -large-v2
    Family("mxbai-rerank-v2", (), (), decoders=("Qwen2ForCausalLM",), asks=MXBAI_RERANK_V2),
)

ENCODERS: str = ", ".join(family.name for family in FAMILIES if family.fits("cross-encoder"))
"""The families of encoders, as text for messages."""

ANSWERS: str = "; ".join(
    f"{family.name} ({' '.join(family.answers)})" for family in FAMILIES if family.answers
)
"""The monoT5 families with their tokens for false and true, as text for messages."""


def family_named(name: str) -> Family:
    """Return the family with this name. Raises SettingsError when no family has this name."""
    for family in FAMILIES:
        if family.name == name:
            return family
    raise SettingsError(
        f"no model family is called {name}; the families are {', '.join(family.name for family in FAMILIES)}"
    )


def family_of(architecture: str, kind: ModelKind) -> Family:
    """Return the family of an architecture. Raises SettingsError when no family lists the architecture."""
    for family in FAMILIES:
        if architecture in family.architectures(kind):
            return family
    known = ", ".join(name for family in FAMILIES for name in family.architectures(kind))
    raise SettingsError(
        f"{architecture} is not a known architecture of a {kind} ({known}); name the family that it follows "
        "with --family"
    )
