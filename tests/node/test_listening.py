"""A sidecar that others can reach says so where it asks for no key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from server import started
from tiny_models import model_options

from es_rerank.node import Node


@pytest.mark.parametrize(("host", "keyed"), [("0.0.0.0", False), ("0.0.0.0", True), ("localhost", False)])
def test_listening_beyond_loopback_without_keys_is_said(
    node: Node, tmp_path: Path, host: str, keyed: bool
) -> None:
    keys = {"ES_RERANK_API_KEY_HASHES": hashlib.sha256(b"key").hexdigest()}
    arguments = ["--elasticsearch-url", node.url, "--host", host, *model_options(tmp_path)]
    said = started(arguments, tmp_path / "log", keys if keyed else {})
    assert ("asks for no key" in said) == (host == "0.0.0.0" and not keyed)
    assert ("ES_RERANK_API_KEYS_FILE" in said) == (host == "0.0.0.0" and not keyed)
