"""Reads a torch decoder, and writes its graph and its reference scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, numpy_helper
from sentence_transformers import CrossEncoder
from transformers import AutoModelForCausalLM

from ..errors import ModelFolderError, SettingsError
from ..models.contracts import DecoderContract
from ..models.source.decoders import LOGIT_SCORE, check_answers
from ..models.source.files import module_types
from ..models.source.model import SourceModel
from ..types import FloatArray
from .decoder_graph import DecoderShape, decoder_graph

_MOST_INSIDE = 3 << 29
"""Most bytes of weights, 1.5 GiB, that lie in the graph's own file: protobuf reads no more than 2 GiB."""
_LEAST_BESIDE = 1024
"""Weights of fewer bytes always lie in the graph's own file."""


def write_decoder(
    source: SourceModel, answers: tuple[int, int], out: Path, *, largest: int | None = None
) -> None:
    """Write the graph of a decoder to the file ``out``. ``answers`` are the token ids of false and true.
    ``largest`` is the largest weight of an int8 graph, None for fp32.

    Weights over 1.5 GiB go to a second file, ``model.onnx_data`` for ``model.onnx``. Raises ModelFolderError
    for a folder that lacks weights, SettingsError when the model's own files score by other tokens.
    """
    check_answers(source.folder, answers)
    model = _loaded(source.folder)
    state = model.state_dict()

    def weights(name: str) -> FloatArray | None:
        return state[name].numpy() if name in state else None

    shape = _shape(model, source.max_length)
    onnx.save(decoder_graph(shape, weights, answers, store=_store(model, out), largest=largest), out)


def decoder_logit(source: SourceModel, tokenizer: Any) -> Callable[[str, str], float]:  # noqa: ANN401 transformers' classes
    """Return the function that scores a pair with a decoder in torch, by the whole vocabulary's logits.

    The pieces of the prompt are tokenised alone and joined, and the piece with the document is cut at its
    end (model card of Qwen/Qwen3-Reranker-0.6B; mixedbread-ai/mxbai-rerank, mxbai_rerank_v2.py). A model that
    states how sentence-transformers scores it is scored by sentence-transformers.
    """
    assert source.decoder is not None  # noqa: S101 the source is a decoder
    if LOGIT_SCORE in module_types(source.folder):
        return _stated_logit(source.folder)
    contract, model = source.decoder, _loaded(source.folder)
    false, true = tokenizer.convert_tokens_to_ids([contract.false_token, contract.true_token])

    def logit(query: str, passage: str) -> float:
        ids = prompt_ids(tokenizer, contract, source.max_length, query, passage)
        last = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        return float(last[true] - last[false])

    return logit


def prompt_ids(
    tokenizer: Any,  # noqa: ANN401 transformers' classes
    contract: DecoderContract,
    window: int,
    query: str,
    passage: str,
) -> list[int]:
    """Return the token ids of a prompt with the contract's own instruction, at most ``window``.

    Raises SettingsError when nothing of the passage would remain.
    """
    instructed = contract.instructed.format(instruction=contract.instruction) if contract.instruction else ""
    pieces = [
        tokenizer(
            piece.format(instruction=instructed, query=query, document=passage),
            add_special_tokens=False,
            verbose=False,
        )["input_ids"]
        for piece in contract.prompt
    ]
    cut = next(number for number, piece in enumerate(contract.prompt) if "{document}" in piece)
    over = sum(map(len, pieces)) - window
    if over > 0:
        if over >= len(tokenizer(passage, add_special_tokens=False, verbose=False)["input_ids"]):
            raise SettingsError(
                f"a maximum length of {window} tokens leaves no room for a passage beside the prompt and the "
                "longest query that an export is compared on; choose a larger --max-length"
            )
        pieces[cut] = pieces[cut][:-over]
    return [token for piece in pieces for token in piece]


def _stated_logit(folder: Path) -> Callable[[str, str], float]:
    model = CrossEncoder(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    ).eval()
    return lambda query, passage: float(
        model.predict([(query, passage)], activation_fn=torch.nn.Identity(), show_progress_bar=False)[0]
    )


def _loaded(folder: Path) -> Any:  # noqa: ANN401 transformers' classes
    """Return the model in float32. transformers would fill weights that are missing with random numbers."""
    model, told = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)  # nosec B615 # a folder on this machine
    if missing := sorted(told["missing_keys"]):
        raise ModelFolderError(
            f"{folder} lacks {len(missing)} weights, such as {missing[0]}; fetch the whole model again"
        )
    return model.eval()


def _shape(model: Any, max_length: int) -> DecoderShape:  # noqa: ANN401 transformers' classes
    config = model.config
    positions = torch.arange(max_length)[None]
    with torch.inference_mode():
        cosines, sines = (
            table[0, :, : table.shape[-1] // 2].contiguous().numpy()
            for table in model.model.rotary_emb(torch.zeros(1), positions)
        )
    return DecoderShape(
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        epsilon=config.rms_norm_eps,
        cosines=cosines,
        sines=sines,
    )


def _store(model: Any, out: Path) -> Callable[[npt.NDArray[Any], str], TensorProto]:  # noqa: ANN401
    """Return the function that stores a weight: in the graph, or in a file beside it when all are large."""
    if sum(weight.nbytes for weight in model.parameters()) <= _MOST_INSIDE:
        return numpy_helper.from_array
    beside = out.with_name(f"{out.name}_data")
    return lambda value, name: _stored_beside(value, name, beside)


def _stored_beside(value: npt.NDArray[Any], name: str, beside: Path) -> TensorProto:
    if value.nbytes < _LEAST_BESIDE:
        return numpy_helper.from_array(value, name)
    tensor = TensorProto(
        name=name, dims=value.shape, data_type=onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    )
    tensor.data_location = TensorProto.EXTERNAL
    with beside.open("ab") as file:
        offset = file.tell()
        np.ascontiguousarray(value).tofile(file)
    for key, stated in (("location", beside.name), ("offset", offset), ("length", value.nbytes)):
        tensor.external_data.add(key=key, value=str(stated))
    return tensor
