"""A shorter cross-encoder out of one that was trained with exit heads: its first layers, with the head that was trained on them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

from ..errors import SettingsError
from ..models.catalog import EXIT_HEADS, EXIT_LAYERS
from .source import exit_layers

_WEIGHTS = "model.safetensors"
_LAYER = re.compile(r"\.encoder\.layer\.(\d+)\.")
_HEAD = re.compile(r"\.pooler\.|^classifier\.")
_OF_HEAD = {"pooler.weight": "bert.pooler.dense.weight", "pooler.bias": "bert.pooler.dense.bias"}


def shortened(source: Path, layer: int, out: Path) -> Path:
    """Write a BERT cross-encoder's first ``layer`` layers, with their exit head, as a torch folder; return ``out``.

    Raises SettingsError for a model without an exit head on that layer.
    """
    layers = exit_layers(source)
    if layer not in layers or not (source / EXIT_HEADS).is_file():
        exits = f"exit heads on the layers {', '.join(map(str, layers))}" if layers else "no exit heads"
        raise SettingsError(f"{source} has {exits} and none on layer {layer}; train them with: es-rerank train, or leave --exit-layer out")
    out.mkdir(parents=True, exist_ok=True)
    with safe_open(source / _WEIGHTS, framework="numpy") as weights:
        kept = {name: weights.get_tensor(name) for name in weights.keys() if _is_kept(name, layer)}  # noqa: SIM118 no mapping
    with safe_open(source / EXIT_HEADS, framework="numpy") as heads:
        prefix = f"exit.{layer}."
        for name in (name.removeprefix(prefix) for name in heads.keys() if name.startswith(prefix)):  # noqa: SIM118
            kept[_OF_HEAD.get(name, name)] = heads.get_tensor(prefix + name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    del config[EXIT_LAYERS]
    save_file(kept, out / _WEIGHTS, metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layer}, indent=1) + "\n", encoding="utf-8")
    for path in source.iterdir():
        if path.is_file() and path.name not in {_WEIGHTS, EXIT_HEADS, "config.json"}:
            shutil.copyfile(path, out / path.name)
    return out


def _is_kept(name: str, layer: int) -> bool:
    found = _LAYER.search(name)
    return int(found[1]) < layer if found else not _HEAD.search(name)
