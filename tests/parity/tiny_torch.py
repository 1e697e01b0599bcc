"""Tiny torch models with random weights and tokenizers of their own, saved in the layout of transformers."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    LayerNorm,
    Normalize,
    Pooling,
    Transformer,
)
from tiny_decoder import tiny_qwen_tokenizer
from tiny_models import tiny_t5_tokenizer, tiny_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AlbertTokenizerFast,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
    CamembertConfig,
    CamembertForSequenceClassification,
    CamembertTokenizerFast,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertTokenizerFast,
    ElectraConfig,
    ElectraForSequenceClassification,
    ElectraTokenizerFast,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2TokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    T5TokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaTokenizerFast,
)

from es_rerank.models.catalog import FAMILIES
from es_rerank.models.parity_pairs import PARITY_PASSAGES, PARITY_QUERIES

WINDOW = 128
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    # Ten times the usual spread: logits of different pairs then differ by far more than the tolerance.
    "initializer_range": 0.2,
}


def bert(folder: Path, labels: int = 1) -> Path:
    torch.manual_seed(labels)
    tokenizer = _bert_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=WINDOW, num_labels=labels, **_SIZES
    )
    return _saved(folder, BertForSequenceClassification(config), tokenizer)


def xlm_roberta(folder: Path, labels: int = 1, tokenizer: Any = None) -> Path:
    torch.manual_seed(2 + labels)
    tokenizer = tokenizer or XLMRobertaTokenizerFast(tokenizer_object=_unigram(), model_max_length=WINDOW)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=WINDOW + 2,
        type_vocab_size=1,
        num_labels=labels,
        **_SIZES,
    )
    return _saved(folder, XLMRobertaForSequenceClassification(config), tokenizer)


def camembert(folder: Path) -> Path:
    torch.manual_seed(27)
    tokenizer = CamembertTokenizerFast(tokenizer_object=_unigram(), model_max_length=WINDOW)
    config = CamembertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=WINDOW + 2,
        type_vocab_size=1,
        num_labels=1,
        **_SIZES,
    )
    return _saved(folder, CamembertForSequenceClassification(config), tokenizer)


def roberta(folder: Path) -> Path:
    torch.manual_seed(12)
    inner = _byte_pairs("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer = RobertaTokenizerFast(tokenizer_object=inner, model_max_length=WINDOW)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=WINDOW + 2,
        type_vocab_size=1,
        num_labels=1,
        **_SIZES,
    )
    return _saved(folder, RobertaForSequenceClassification(config), tokenizer)


def distilbert(folder: Path) -> Path:
    torch.manual_seed(23)
    tokenizer = DistilBertTokenizerFast(tokenizer_object=tiny_tokenizer(), model_max_length=WINDOW)
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=WINDOW,
        num_labels=1,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        initializer_range=0.2,
    )
    return _saved(folder, DistilBertForSequenceClassification(config), tokenizer)


def electra(folder: Path) -> Path:
    torch.manual_seed(15)
    tokenizer = ElectraTokenizerFast(tokenizer_object=tiny_tokenizer(), model_max_length=WINDOW)
    config = ElectraConfig(
        vocab_size=len(tokenizer), max_position_embeddings=WINDOW, num_labels=1, embedding_size=16, **_SIZES
    )
    return _saved(folder, ElectraForSequenceClassification(config), tokenizer)


def albert(folder: Path) -> Path:
    torch.manual_seed(16)
    inner = _unigram()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"cls_token": "<s>", "bos_token": "<s>", "sep_token": "</s>", "eos_token": "</s>"}
    tokenizer = AlbertTokenizerFast(tokenizer_object=inner, model_max_length=WINDOW, **names)
    config = AlbertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=WINDOW, num_labels=1, embedding_size=16, **_SIZES
    )
    return _saved(folder, AlbertForSequenceClassification(config), tokenizer)


def deberta(folder: Path, tokenizer: Any = None, dtype: torch.dtype = torch.float32) -> Path:
    # Imported where the test's own filter holds: the module calls torch.jit.script,
    # which torch says is deprecated.
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification  # noqa: PLC0415

    torch.manual_seed(4)
    tokenizer = tokenizer or _word_pieces_of_deberta()
    config = DebertaV2Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=WINDOW,
        type_vocab_size=0,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=32,
        num_labels=1,
        **_SIZES,
    )
    return _saved(folder, DebertaV2ForSequenceClassification(config), tokenizer, dtype)


def modernbert(folder: Path, layers: int = 2) -> Path:
    """Every third layer is global, from the first on; the others read 16 tokens to each side."""
    torch.manual_seed(5)
    config = ModernBertConfig(
        vocab_size=400,
        max_position_embeddings=WINDOW,
        num_labels=1,
        local_attention=32,
        pad_token_id=0,
        cls_token_id=2,
        sep_token_id=3,
        bos_token_id=2,
        eos_token_id=3,
        attn_implementation="eager",
        **_SIZES | {"num_hidden_layers": layers},
    )
    return _saved(folder, ModernBertForSequenceClassification(config), _byte_level())


def t5(folder: Path, *, tied: bool = True, gated: bool = False, tokenizer: Any = None) -> Path:
    """T5 1.0 ties embedding and head and has plain feed-forward layers, T5 1.1 neither."""
    torch.manual_seed(7)
    tokenizer = tokenizer or _t5_tokenizer()
    config = T5Config(
        **_t5_sizes(len(tokenizer)),
        tie_word_embeddings=tied,
        feed_forward_proj="gated-gelu" if gated else "relu",
    )
    return _saved(folder, T5ForConditionalGeneration(config), tokenizer)


def mt5(folder: Path) -> Path:
    torch.manual_seed(8)
    tokenizer = _t5_tokenizer()
    return _saved(
        folder,
        MT5ForConditionalGeneration(MT5Config(**_t5_sizes(len(tokenizer)), tie_word_embeddings=False)),
        tokenizer,
    )


def qwen3(folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """As Qwen3-Reranker: two heads of queries share keys and values, queries and keys are normed, the head is
    the embeddings.
    """
    torch.manual_seed(31)
    tokenizer = _qwen_tokenizer()
    sizes = {**_decoder_sizes(len(tokenizer)), "head_dim": 24, "tie_word_embeddings": True, **changes}
    return _saved(folder, _spread(Qwen3ForCausalLM(Qwen3Config(**sizes))), tokenizer, dtype)


def qwen2(folder: Path, **changes: Any) -> Path:
    """As mxbai-rerank-v2: queries, keys and values have a bias; here with a head of its own."""
    torch.manual_seed(32)
    tokenizer = _qwen_tokenizer()
    sizes = {**_decoder_sizes(len(tokenizer)), "tie_word_embeddings": False, **changes}
    return _saved(folder, _spread(Qwen2ForCausalLM(Qwen2Config(**sizes))), tokenizer)


def modular(
    folder: Path, *, labels: int = 1, backbone: Callable[[Path], Path] | None = None, pooling: str = "cls"
) -> Path:
    """A cross-encoder of sentence-transformers whose head is modules, as the Ettin rerankers are: Dense,
    LayerNorm, Dense behind the pooling.
    """
    inner = (backbone or modernbert)(folder / "inner")
    torch.manual_seed(9)
    modules = [
        Transformer(str(inner), transformer_task="feature-extraction", max_seq_length=WINDOW),
        Pooling(32, pooling_mode=pooling),
        Dense(32, 32, activation_function=torch.nn.GELU()),
        LayerNorm(32),
        Dense(32, labels, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    whole = folder / "whole"
    CrossEncoder(modules=modules, device="cpu").save_pretrained(str(whole))
    return whole


def bi_encoder(folder: Path, pooling: str = "mean") -> Path:
    torch.manual_seed(6)
    tokenizer = _bert_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=WINDOW, **_SIZES)
    inner = _saved(folder / "inner", BertModel(config), tokenizer)
    transformer = Transformer(str(inner), max_seq_length=64)
    whole = folder / "whole"
    SentenceTransformer(
        modules=[transformer, Pooling(32, pooling_mode=pooling), Normalize()], device="cpu"
    ).save(str(whole))
    return whole


def _saved(folder: Path, model: Any, tokenizer: Any, dtype: torch.dtype = torch.float32) -> Path:
    model.eval().to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _bert_tokenizer() -> BertTokenizerFast:
    return BertTokenizerFast(tokenizer_object=tiny_tokenizer(), model_max_length=WINDOW)


def _unigram() -> Tokenizer:
    """XLM-R's kind: metaspace, and the special tokens are pieces like any other."""
    pieces = [*string.ascii_letters, *string.digits, *string.punctuation, "▁", *"áíóúñ¿"]
    vocabulary = [
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((piece, -float(number % 7) - 1) for number, piece in enumerate(pieces)),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def _word_pieces_of_deberta() -> PreTrainedTokenizerFast:
    """DeBERTa-v2's layout, [CLS] q [SEP] p [SEP], without segment ids in the model."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer(),
        model_max_length=WINDOW,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def _byte_pairs(*specials: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(specials), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([*PARITY_QUERIES, *PARITY_PASSAGES], trainer)
    return tokenizer


def _t5_tokenizer() -> T5TokenizerFast:
    return T5TokenizerFast(tokenizer_object=tiny_t5_tokenizer(), extra_ids=2, model_max_length=WINDOW)


def _t5_sizes(vocabulary: int) -> dict[str, Any]:
    """What every tiny T5 is made of; more rows than tokens, as T5's own head has."""
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    return {
        "vocab_size": vocabulary + 19,
        **sizes,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def _qwen_tokenizer() -> Qwen2TokenizerFast:
    """The words of the prompts are tokens, as in a real vocabulary, so that prompts are short."""
    prompts = [" ".join(family.asks.prompt) for family in FAMILIES if family.asks is not None]
    words = sorted(set(re.findall(r" [a-z]+", " ".join([*prompts, *PARITY_QUERIES, *PARITY_PASSAGES[:6]]))))
    return Qwen2TokenizerFast(tokenizer_object=tiny_qwen_tokenizer(words), model_max_length=4096)


def _decoder_sizes(vocabulary: int) -> dict[str, Any]:
    """What every tiny decoder is made of; more rows than tokens, as Qwen's embeddings have."""
    grouped = {**_SIZES, "num_attention_heads": 4, "num_key_value_heads": 2}
    return {"vocab_size": vocabulary + 19, "max_position_embeddings": 2048, **grouped}


def _spread(model: Any) -> Any:
    """Draw biases and norms too: fresh ones are 0 and 1, which hides whether they are read."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                weight.add_(torch.randn_like(weight) * 0.3)
    return model


def _byte_level() -> PreTrainedTokenizerFast:
    tokenizer = _byte_pairs("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=WINDOW,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "attention_mask"],
    )
