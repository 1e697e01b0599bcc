"""A reranker that another sidecar serves, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from corpus import fill
from elasticsearch import Elasticsearch
from pydantic import SecretStr
from rerank_services import KEY, FakeService, Host, broken_over_tei, serve_tei, tei_error
from server import sidecar
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank import RerankClient
from es_rerank.errors import RemoteModelError
from es_rerank.models.access import Access
from es_rerank.models.contracts import CalibrationRecord
from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.models.load import load_reranker
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.node import Node
from es_rerank.settings import PREFIX
from es_rerank.sidecar.access.keys import key_hash
from es_rerank.testing.contract import PASSAGES as SHORT
from es_rerank.testing.contract import RerankerContract
from es_rerank.types import Blend, Calibration

QUERY = "who signed the treaty"

OTHER = "other"
CALIBRATION = Calibration(blends={"dense": Blend(0.5, 2.0, -1.0)})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models: the default one, and one that is served beside it."""
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "default"), tiny_cross_encoder(
        folder / OTHER, seed=1, calibration=CalibrationRecord.of(CALIBRATION)
    )


@pytest.fixture(scope="module")
def address(
    node: Node, folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    embedder = tiny_bi_encoder(tmp_path_factory.mktemp("embedder") / "tiny")
    log = tmp_path_factory.mktemp("log") / "sidecar.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{PREFIX}API_KEY_HASHES", key_hash(KEY))
        with sidecar(node.url, folders[0], embedder, log, extra=("--reranker", f"{OTHER}={folders[1]}")) as (
            url,
            _,
        ):
            yield url


@pytest.fixture
def beside(address: str) -> Iterator[RemoteReranker]:
    with RemoteReranker(address, api_key=SecretStr(KEY)) as loaded:
        yield loaded


@pytest.fixture
def here(folders: tuple[Path, Path]) -> Iterator[CrossEncoder]:
    """The sidecar's default model, in this process."""
    with CrossEncoder(folders[0]) as model:
        yield model


@pytest.fixture
def broken(url: str, service: FakeService) -> Iterator[RemoteReranker]:
    with broken_over_tei(url, service) as loaded:
        yield loaded


class TestSidecarContract(RerankerContract):
    """Bit for bit: a float32 comes through JSON unchanged."""

    @pytest.fixture
    def reranker(self, beside: RemoteReranker) -> RemoteReranker:
        return beside


def test_a_sidecar_gives_the_bits_and_the_cuts_of_its_model(
    beside: RemoteReranker, here: CrossEncoder
) -> None:
    passages = [
        *SHORT,
        "",
        " \n",
        "a\x00b",
        "lone \ud800",
        "tides " * 300,
        "x" * 5_000,
        *(f"passage {number}" for number in range(600)),
        "moon " * 400,
    ]
    for query in (QUERY, "q" * 3_000):
        expected, got = here.score(query, passages), beside.score(query, passages)
        assert got.values.tobytes() == expected.values.tobytes()
        assert got.truncated.tolist() == expected.truncated.tolist()
        assert got.truncated.any()
        assert got.done.all()
    assert len(set(got.values.tolist())) > 1


def test_an_empty_query_is_scored_as_here(beside: RemoteReranker, here: CrossEncoder) -> None:
    assert beside.score("", SHORT).values.tobytes() == here.score("", SHORT).values.tobytes()


def test_the_address_chooses_among_the_sidecar_s_models(
    address: str, folders: tuple[Path, Path], here: CrossEncoder
) -> None:
    access = Access(remote_api_key=SecretStr(KEY))
    with (
        CrossEncoder(folders[1]) as other,
        load_reranker(f"remote:{address}?model={OTHER}", access=access) as loaded,
    ):
        assert loaded.name == f"{OTHER}@{address.removeprefix('http://')}"
        got = loaded.score(QUERY, SHORT).values.tobytes()
        assert got == other.score(QUERY, SHORT).values.tobytes()
        assert got != here.score(QUERY, SHORT).values.tobytes()
    with (
        RemoteReranker(f"{address}/rerank?model=none", api_key=SecretStr(KEY)) as loaded,
        pytest.raises(RemoteModelError, match=r"answered 422.*\[none\]"),
    ):
        loaded.score(QUERY, SHORT)


def test_a_search_through_another_sidecar_orders_as_over_there(
    address: str, folders: tuple[Path, Path], es: Elasticsearch, index: str
) -> None:
    """The calibration blends the first stage in, so that bits of the logit alone would give another order."""
    fill(es, index)
    with (
        load_reranker(folders[1]) as there,
        load_reranker(
            f"remote:{address}?model={OTHER}", access=Access(remote_api_key=SecretStr(KEY))
        ) as remote,
        load_reranker(f"remote:{address}", access=Access(remote_api_key=SecretStr(KEY))) as uncalibrated,
    ):
        searched = [
            RerankClient(es, reranker=each).rerank(QUERY, index=index, first_stage="bm25")
            for each in (there, remote)
        ]
        assert there.calibration == remote.calibration == CALIBRATION
        uncalibrated.score(QUERY, SHORT)
        assert uncalibrated.calibration is None
    one, other = (
        [(hit["_id"], hit["_score"], hit["fields"]) for hit in answer["hits"]["hits"]] for answer in searched
    )
    assert one == other
    assert any(fields["rerank.probability"] != [score] for _, score, fields in one)


def test_a_sidecar_s_refusals_are_repeated(address: str) -> None:
    with RemoteReranker(address, api_key=SecretStr("wr0ng")) as loaded:
        with pytest.raises(
            RemoteModelError, match=r"answered 401: .*check the key \(setting ES_RERANK_REMOTE_API_KEY\)"
        ) as caught:
            loaded.score(QUERY, SHORT)
        assert "wr0ng" not in f"{caught.value} {caught.value!r} {loaded!r}"
    with (
        RemoteReranker(f"{address}/nowhere", api_key=SecretStr(KEY)) as loaded,
        pytest.raises(RemoteModelError, match=r"tei at /nowhere/rerank: it answered 404: .*is not served"),
    ):
        loaded.score(QUERY, SHORT)


def test_what_a_sidecar_cannot_finish_is_not_done(beside: RemoteReranker) -> None:
    """The deadline goes along: the sidecar answers 504 itself, or is cut off."""
    passages = [f"{number} " + "word " * 20_000 for number in range(100)]
    assert beside.score(QUERY, SHORT).done.all()
    assert not beside.score(QUERY, passages, deadline=time.monotonic() + 0.005).done.all()
    assert beside.score(QUERY, SHORT).done.all()


@pytest.fixture
def service(host: Host) -> FakeService:
    return serve_tei(host)


def test_a_command_asks_the_service_and_logs_to_stderr(
    url: str, service: FakeService, es: Elasticsearch, index: str
) -> None:
    """A retry is logged; on stdout there is the answer and nothing else."""
    fill(es, index)
    service.replies = [tei_error(503, "not yet", "Unhealthy")]
    address = next(iter(es.transport.node_pool.all())).base_url
    command = [
        sys.executable,
        "-m",
        "es_rerank",
        "search",
        index,
        QUERY,
        "--first-stage",
        "bm25",
        "--reranker",
        f"remote:{url}",
        "--json",
    ]
    environment = os.environ | {"ELASTICSEARCH_URL": address, f"{PREFIX}REMOTE_API_KEY": KEY}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert (answer["rerank"]["status"], answer["rerank"]["model"]) == (
        "reranked",
        url.removeprefix("http://"),
    )
    assert answer["hits"]["hits"][0]["_id"] == "a2"
    assert "a request failed and is sent again" in ran.stderr
    assert KEY not in ran.stderr + ran.stdout
