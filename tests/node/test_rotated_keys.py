"""A real sidecar reads its file of keys again on SIGHUP."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder
from waiting import until

from es_rerank.node import Node
from es_rerank.settings import PREFIX
from es_rerank.sidecar.access.keys import SETTING, key_hash


@pytest.mark.long
def test_a_running_sidecar_takes_new_keys_and_stops_old_ones(node: Node, tmp_path: Path) -> None:
    file, log = tmp_path / "keys.toml", tmp_path / "log"
    models = tiny_cross_encoder(tmp_path / "reranker"), tiny_bi_encoder(tmp_path / "embedder")

    def hold(*plain: str) -> None:
        file.write_text("".join(f'[{each}]\nsha256 = "{key_hash(each)}"\n' for each in plain))
        file.chmod(0o600)

    hold("first", "second")
    with sidecar(node.url, *models, log, environment={SETTING: str(file)}) as (url, process):

        def status(key: str) -> int:
            body = {"query": "who", "texts": ["the king"]}
            return httpx.post(
                f"{url}/rerank", json=body, headers={"authorization": f"Bearer {key}"}, timeout=30
            ).status_code

        assert [status(each) for each in ("first", "second", "third")] == [200, 200, 401]
        hold("second", "third")
        process.send_signal(signal.SIGHUP)
        until(lambda: status("third") == 200, "the new key is taken")
        assert [status(each) for each in ("first", "second")] == [401, 200]
        file.write_text("[broken")
        process.send_signal(signal.SIGHUP)
        until(lambda: "the keys stay as they were" in log.read_text(), "the fault is told")
        assert [status(each) for each in ("first", "second", "third")] == [401, 200, 200]
        assert process.poll() is None
    said = log.read_text()
    assert f"{PREFIX}API_KEYS_FILE" in said
    for each in ("first", "second", "third"):
        assert key_hash(each) not in said
