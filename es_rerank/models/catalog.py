"""The contract of each model family: which classes belong to it, how pairs are cut, how many positions a
window loses.

A family is named by the user or found by the architecture in the model's own ``config.json``; never by its
name.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import SettingsError
from ..text.pairs import Strategy
from .manifest import Kind

DEFAULT_WINDOW = 512
"""Longest window that an export takes by itself, in tokens, also where the model could read 8192: time grows
with length, and 512 is what these models were trained on. ``--max-length`` goes up to what the model has
positions for."""

EXIT_HEADS = "exit_heads.safetensors"
INT8_TEXTS = "int8_texts.jsonl"
"""Where training leaves texts for ``export --int8-texts``."""
EXIT_LAYERS = "es_rerank_exit_layers"
"""The key of a torch model's config.json that names the layers, counted from 1, whose heads lie in
``exit_heads.safetensors``."""


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the catalog.

    ``reserved_positions`` are position embeddings that no token may take: XLM-R and RoBERTa count from their
    padding id 1, so that positions begin at 2 and a table of 514 serves 512 tokens. ``answers``, which monoT5
    alone has, are the tokens for false and for true, by name: their numbers differ between vocabularies.
    """

    name: str
    cross_encoders: tuple[str, ...]
    bi_encoders: tuple[str, ...]
    truncation: Strategy = "longest_first"
    reserved_positions: int = 0
    monot5s: tuple[str, ...] = ()
    answers: tuple[str, str] | None = None

    def architectures(self, kind: Kind) -> tuple[str, ...]:
        """Return the classes of ``config.json`` that this family knows for a kind."""
        match kind:
            case "cross-encoder":
                return self.cross_encoders
            case "monot5":
                return self.monot5s
            case "bi-encoder":
                return self.bi_encoders


FAMILIES: tuple[Family, ...] = (
    Family("bert", ("BertForSequenceClassification",), ("BertModel",)),
    Family(
        "xlm-roberta", ("XLMRobertaForSequenceClassification",), ("XLMRobertaModel",), reserved_positions=2
    ),
    # Same classes as xlm-roberta, another cut: named by the user alone, so that the look-up stays
    # unambiguous.
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
)

ANSWERS: str = "; ".join(
    f"{family.name} ({' '.join(family.answers)})" for family in FAMILIES if family.answers
)
"""The families of monoT5 with their tokens for false and true, for messages."""


def family_named(name: str) -> Family:
    """Return the family that the user named. Raises SettingsError for a name that is not in the table."""
    for family in FAMILIES:
        if family.name == name:
            return family
    raise SettingsError(
        f"no model family is called {name}; the families are {', '.join(family.name for family in FAMILIES)}"
    )


def family_of(architecture: str, kind: Kind) -> Family:
    """Return the family of an architecture. Raises SettingsError where the table does not know it."""
    for family in FAMILIES:
        if architecture in family.architectures(kind):
            return family
    known = ", ".join(name for family in FAMILIES for name in family.architectures(kind))
    raise SettingsError(
        f"{architecture} is not an architecture of a {kind} that is known here ({known}); name the family it "
        "follows with --family"
    )
