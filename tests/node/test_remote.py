"""Another sidecar, as a real process, and a TEI server, as strict as the real one, behind ``remote:``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stamina
from corpus import fill
from elasticsearch import Elasticsearch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from rerank_services import KEY, FakeService, Hang, Host, tei_app, tei_error
from server import sidecar
from stamina.instrumentation import RetryDetails
from starlette.responses import JSONResponse, Response
from tiny_models import tiny_bi_encoder, tiny_cross_encoder

from es_rerank import RerankClient
from es_rerank.errors import OverloadError, RemoteModelError, ScoreError, SettingsError
from es_rerank.models import LoadedReranker, Reranker
from es_rerank.models.hosted.answers import reason, values_by_index
from es_rerank.models.hosted.http_reranker import RetryPolicy, TransientError, batches, retry_after
from es_rerank.models.hosted.remote import RemoteReranker
from es_rerank.models.load import Access, load_reranker
from es_rerank.models.local.cross_encoder import CrossEncoder
from es_rerank.models.manifest import CalibrationRecord
from es_rerank.node import Node
from es_rerank.settings import PREFIX
from es_rerank.sidecar.authority import key_hash
from es_rerank.testing import WordOverlapReranker
from es_rerank.testing.contract import PASSAGES as SHORT
from es_rerank.testing.contract import RerankerContract
from es_rerank.types import Calibration

QUERY = "who signed the treaty"
PASSAGES = ["envoys signed the treaty", "bread rises for an hour", "who signed the treaty"]
OTHER = "other"


@pytest.fixture
def impatient() -> Iterator[None]:
    """Waits between attempts are left out; there are four all the same."""
    with stamina.set_testing(True, attempts=4):
        yield


# --- a sidecar of our own, in a process of its own ----------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models: the default one, and one that is served beside it."""
    folder = tmp_path_factory.mktemp("models")
    return tiny_cross_encoder(folder / "default"), tiny_cross_encoder(
        folder / OTHER, seed=1, calibration=CalibrationRecord(logit=0.5, first_stage=2.0, intercept=-1.0)
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
    service.spoil = lambda rows: [row | {"score": float("nan")} for row in rows]
    with RemoteReranker(url, api_key=SecretStr(KEY)) as loaded:
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
        assert there.calibration == remote.calibration == Calibration(0.5, 2.0, -1.0)
        uncalibrated.score(QUERY, SHORT)
        assert uncalibrated.calibration is None
    one, other = (
        [(hit["_id"], hit["_score"], hit["fields"]) for hit in answer["hits"]["hits"]] for answer in searched
    )
    assert one == other
    assert any("rerank.model_logit" in fields for _, _, fields in one)


def test_a_sidecar_s_refusals_are_repeated(address: str) -> None:
    with RemoteReranker(address, api_key=SecretStr("wr0ng")) as loaded:
        with pytest.raises(
            RemoteModelError, match=r"answered 401: .*check the key \(setting ES_RERANK_REMOTE_API_KEY\)"
        ) as caught:
            loaded.score(QUERY, SHORT)
        assert "wr0ng" not in f"{caught.value} {caught.value!r} {loaded!r}"
    with (
        RemoteReranker(f"{address}/nowhere", api_key=SecretStr(KEY)) as loaded,
        pytest.raises(RemoteModelError, match=r"nowhere/rerank answered 501"),
    ):
        loaded.score(QUERY, SHORT)


def test_what_a_sidecar_cannot_finish_is_not_done(beside: RemoteReranker) -> None:
    """The deadline goes along: the sidecar answers 504 itself, or is cut off."""
    passages = [f"{number} " + "word " * 20_000 for number in range(100)]
    assert beside.score(QUERY, SHORT).done.all()
    assert not beside.score(QUERY, passages, deadline=time.monotonic() + 0.005).done.all()
    assert beside.score(QUERY, SHORT).done.all()


# --- a TEI server -------------------------------------------------------------------------------------------


@pytest.fixture
def service(host: Host) -> FakeService:
    service = FakeService()
    host.app = tei_app(service)
    return service


@pytest.fixture
def reranker(url: str) -> Iterator[RemoteReranker]:
    with RemoteReranker(url, api_key=SecretStr(KEY)) as loaded:
        yield loaded


class TestTeiContract(RerankerContract):
    """Over a server that takes four texts at a time, so that every list is split."""


def test_it_is_what_the_protocols_ask_for(reranker: RemoteReranker, url: str) -> None:
    assert isinstance(reranker, Reranker)
    assert isinstance(reranker, LoadedReranker)
    assert (reranker.name, reranker.calibration) == (url.removeprefix("http://"), None)


def test_raw_scores_are_asked_for(reranker: RemoteReranker, service: FakeService) -> None:
    scores = reranker.score(QUERY, PASSAGES)
    assert scores.scale == "logit"
    assert scores.values.tolist() == WordOverlapReranker().score(QUERY, PASSAGES).values.tolist()
    assert service.bodies == [{"query": QUERY, "texts": PASSAGES, "truncate": True, "raw_scores": True}]
    assert 0 < int(service.headers[0]["x-rerank-timeout-ms"]) <= 60_000


def test_the_server_s_limit_is_kept_and_asked_for_once(
    reranker: RemoteReranker, service: FakeService
) -> None:
    passages = [f"the treaty {number}" if number % 3 else "who signed" for number in range(50)]
    for _ in range(2):
        assert (
            reranker.score(QUERY, passages).values.tolist()
            == WordOverlapReranker().score(QUERY, passages).values.tolist()
        )
    assert [len(body["texts"]) for body in service.bodies].count(4) == 24
    assert sum(len(body["texts"]) for body in service.bodies) == 100
    assert service.most_at_once <= 4


@pytest.mark.parametrize(
    ("info", "size"),
    [
        (JSONResponse({"max_client_batch_size": 7}), 7),
        (JSONResponse({"max_client_batch_size": 5_000}), 1_000),
        (JSONResponse({"max_client_batch_size": 5_000, "served_by": "es-rerank"}), 250),
        (JSONResponse({"max_client_batch_size": 100, "served_by": "es-rerank"}), 100),
        (JSONResponse({"max_client_batch_size": "7"}), 250),
        (JSONResponse({"max_client_batch_size": True}), 250),
        (JSONResponse({"max_client_batch_size": 0}), 250),
        (JSONResponse([]), 250),
        (Response("no"), 250),
        (Response(status_code=404), 250),
        (Response(status_code=401), 250),
        (Response(status_code=503), 32),
    ],
)
def test_what_info_says_of_the_limit(
    host: Host, reranker: RemoteReranker, service: FakeService, info: Response, size: int
) -> None:
    host.app = tei_app(service, batch=1_000, info=info)
    assert reranker.score(QUERY, ["treaty"] * (size + 1)).done.all()
    assert sorted(len(body["texts"]) for body in service.bodies) == [1, size]


@pytest.mark.parametrize(
    "stated",
    [
        None,
        [],
        {"logit": 1.0},
        {"logit": 1.0, "first_stage": "0.5", "intercept": 0.0},
        {"logit": True, "first_stage": 0.5, "intercept": 0.0},
    ],
)
def test_a_calibration_that_is_none_is_not_taken(
    host: Host, reranker: RemoteReranker, service: FakeService, stated: object
) -> None:
    host.app = tei_app(service, batch=100, info=JSONResponse({"calibration": stated}))
    reranker.score(QUERY, SHORT)
    assert reranker.calibration is None


def test_the_caller_s_batch_size_comes_first(url: str, service: FakeService) -> None:
    with RemoteReranker(url, api_key=SecretStr(KEY), batch_size=2) as loaded:
        loaded.score(QUERY, PASSAGES)
    assert sorted(len(body["texts"]) for body in service.bodies) == [1, 2]
    with (
        RemoteReranker(url, api_key=SecretStr(KEY), batch_size=5) as loaded,
        pytest.raises(RemoteModelError, match="422: batch size 5 > maximum allowed"),
    ):
        loaded.score(QUERY, ["treaty"] * 5)


def test_requests_stay_under_the_payload_limit(
    host: Host, reranker: RemoteReranker, service: FakeService
) -> None:
    host.app = tei_app(service, batch=100)
    passages = ["\x00" * 90_000, "word " * 40_000, "é" * 250_000, *["word " * 40_000] * 10]
    assert reranker.score(QUERY, passages).done.all()
    assert len(service.bodies) > 1


def test_empty_texts_are_sent_and_an_empty_query_is_a_space(
    reranker: RemoteReranker, service: FakeService
) -> None:
    assert reranker.score("", ["", "treaty"]).done.all()
    assert (service.bodies[0]["query"], service.bodies[0]["texts"]) == (" ", ["", "treaty"])


@pytest.mark.parametrize(
    ("suffix", "path"),
    [
        ("", "/rerank"),
        ("/", "/rerank"),
        ("/rerank", "/rerank"),
        ("/rerank/", "/rerank"),
        ("?model=bge&x=%2F", "/rerank?model=bge&x=%2F"),
        ("/rerank?model=bge", "/rerank?model=bge"),
    ],
)
def test_the_address_is_completed_and_its_query_kept(
    url: str, service: FakeService, suffix: str, path: str
) -> None:
    with RemoteReranker(url + suffix, api_key=SecretStr(KEY)) as loaded:
        loaded.score(QUERY, PASSAGES)
    assert service.paths == [path]


def test_credentials_in_the_address_are_sent_and_not_shown(
    url: str, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    secret = url.replace("http://", "http://user:s3cret@")
    with caplog.at_level(logging.DEBUG), RemoteReranker(secret) as loaded:
        assert loaded.name == url.removeprefix("http://")
        with pytest.raises(
            RemoteModelError, match=f"the rerank service {url}/rerank answered 401: without a reason"
        ) as caught:
            loaded.score(QUERY, PASSAGES)
        shown = f"{loaded!r} {caught.value} {caught.value!r} {caplog.text}"
    assert service.headers[0]["authorization"].startswith("Basic ")
    assert "s3cret" not in shown
    with pytest.raises(SettingsError, match="hold credentials; give one of them"):
        RemoteReranker(secret, api_key=SecretStr(KEY))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host:8080",
        "ftp://host",
        "http://",
        "http://[::1",
        "http://host:notaport",
        "http://u:s3cret@",
        "http://u:s3cret@host:notaport",
    ],
)
def test_addresses_that_cannot_be_used(address: str) -> None:
    with pytest.raises(SettingsError, match="the address that remote: names") as caught:
        RemoteReranker(address)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 1_001])
def test_a_batch_size_out_of_range(size: int) -> None:
    with pytest.raises(SettingsError, match=f"batch_size must be between 1 and 1000, found {size}"):
        RemoteReranker("http://host", batch_size=size)


def test_one_connection_serves_callers_of_every_loop(reranker: RemoteReranker, service: FakeService) -> None:
    for _ in range(5):
        reranker.score(QUERY, PASSAGES)
        asyncio.run(reranker.ascore(QUERY, PASSAGES))
    assert len(service.bodies) == 10
    assert len(service.connections) == 1


# --- deadlines, cancellation, retries, refusals -------------------------------------------------------------


def test_a_deadline_keeps_what_is_done(reranker: RemoteReranker, service: FakeService) -> None:
    """A sidecar that has no time left says 504 by itself; what other requests brought is kept."""
    service.replies = [tei_error(504, "the deadline passed", "Backend")]
    scores = reranker.score(QUERY, ["treaty"] * 10, deadline=time.monotonic() + 60)
    assert scores.done.sum() in (6, 8)
    assert (scores.values[scores.done] == scores.values[scores.done][0]).all()


def test_a_service_without_time_is_an_error_where_there_is_no_deadline(
    reranker: RemoteReranker, service: FakeService
) -> None:
    service.replies = [tei_error(504, "the deadline passed", "Backend")]
    with pytest.raises(
        RemoteModelError, match="answered 504: the deadline passed; see whether it is overloaded"
    ):
        reranker.score(QUERY, PASSAGES)


def test_what_is_late_is_not_done_and_its_request_is_closed(
    reranker: RemoteReranker, service: FakeService
) -> None:
    service.replies = [Hang()]
    assert not reranker.score(QUERY, PASSAGES, deadline=time.monotonic() + 0.5).done.any()
    assert int(service.headers[0]["x-rerank-timeout-ms"]) <= 500
    assert service.left.wait(30)


async def test_cancelling_closes_the_request(reranker: RemoteReranker, service: FakeService) -> None:
    service.replies = [Hang()]
    task = asyncio.create_task(reranker.ascore(QUERY, PASSAGES))
    assert await asyncio.to_thread(service.asked.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(service.left.wait, 30)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [429, 502, 503])
def test_failures_that_may_pass_are_tried_again(
    reranker: RemoteReranker, service: FakeService, status: int
) -> None:
    service.replies = [
        tei_error(status, "Model is overloaded", "Overloaded", {"Retry-After": "1"}),
        tei_error(status, "later", "Overloaded"),
    ]
    assert reranker.score(QUERY, PASSAGES).done.all()
    assert len(service.bodies) == 3


@pytest.mark.usefixtures("impatient")
def test_a_service_that_stays_overloaded(reranker: RemoteReranker, service: FakeService) -> None:
    service.replies = [tei_error(429, "Model is overloaded", "Overloaded", {"Retry-After": "7"})] * 4
    with pytest.raises(OverloadError, match="answered 429: Model is overloaded") as caught:
        reranker.score(QUERY, PASSAGES)
    assert (caught.value.retry_after_s, len(service.bodies)) == (7, 4)


def test_a_connection_that_breaks_is_opened_anew() -> None:
    """As one does that the server has closed for being idle, just when it is used again."""
    asked: list[str] = []

    class Breaking(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            if len(asked) > 1:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'[{"index": 0, "score": 1.5}]')

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
            pass

    with (
        HTTPServer(("127.0.0.1", 0), Breaking) as server,
        RemoteReranker(f"http://127.0.0.1:{server.server_port}") as loaded,
    ):
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            assert loaded.score(QUERY, PASSAGES[:1]).values.tolist() == [1.5]
        finally:
            server.shutdown()
            thread.join()
    assert asked == ["/rerank", "/rerank"]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (tei_error(424, "Inference failed", "Backend"), "answered 424: Inference failed"),
        (tei_error(413, "too large", "Validation"), "answered 413: too large"),
        (tei_error(422, "no such field", "Tokenizer"), "answered 422: no such field"),
        (tei_error(403, "no", "Unauthorized"), "answered 403: no; check the key"),
        (tei_error(500, "no", "Backend"), "answered 500: no"),
        (Response(status_code=302, headers={"Location": "/rerank"}), "answered 302: without a reason"),
        (
            JSONResponse({"error": {"reason": "no handler", "type": "x"}, "status": 404}, 404),
            "answered 404: no handler",
        ),
        (Response("<html>" + "x" * 2_000, 405), "answered 405: <html>x{494}…"),
        (Response("<html>Log in</html>"), "answered 200: <html>Log in"),
        (JSONResponse({"results": []}), "answered 200: {'results': "),
    ],
)
def test_a_refusal_is_not_repeated(
    reranker: RemoteReranker, service: FakeService, reply: Response, message: str
) -> None:
    service.replies = [reply]
    with pytest.raises(RemoteModelError, match=message) as caught:
        reranker.score(QUERY, PASSAGES)
    assert (caught.value.status, len(service.bodies)) == (reply.status_code, 1)


def test_an_answer_that_cannot_be_read(reranker: RemoteReranker, service: FakeService) -> None:
    service.replies = [Response(b"not compressed", headers={"Content-Encoding": "gzip"})]
    with pytest.raises(RemoteModelError, match="cannot be asked: Error -3 while decompressing") as caught:
        reranker.score(QUERY, PASSAGES)
    assert (caught.value.status, len(service.bodies)) == (None, 1)


@pytest.mark.usefixtures("impatient")
def test_nobody_at_the_address() -> None:
    with RemoteReranker("http://user:s3cret@127.0.0.1:9") as loaded:
        with pytest.raises(
            RemoteModelError, match=r"the rerank service http://127\.0\.0\.1:9/rerank cannot be reached"
        ) as caught:
            loaded.score(QUERY, PASSAGES)
        assert "s3cret" not in str(caught.value)
        with pytest.raises(
            RemoteModelError, match="cannot be reached"
        ):  # and not late: the reason would be lost
            loaded.score(QUERY, PASSAGES, deadline=time.monotonic() + 60)
        assert not loaded.score(QUERY, PASSAGES, deadline=time.monotonic() - 1).done.any()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[1:], "2 scores for 3 passages, none for passage 2"),
        (lambda rows: [*rows, rows[0]], "two scores for passage 2"),
        (lambda rows: [rows[0] | {"index": 1.0}, *rows[1:]], r"a score for passage 1\.0 where 3 were sent"),
        (lambda rows: [rows[0] | {"index": True}, *rows[1:]], "a score for passage True"),
        (
            lambda rows: [rows[0] | {"score": float("nan")}, *rows[1:]],
            "the score nan, which is not a finite number",
        ),
        (
            lambda rows: [rows[0] | {"score": 1e39}, *rows[1:]],
            r"the score 1e\+39, which is not a finite number in float32",
        ),
        (lambda rows: [rows[0] | {"score": None}, *rows[1:]], "the score None"),
        (lambda rows: [rows[0] | {"score": False}, *rows[1:]], "the score False"),
        (lambda rows: [3, *rows], "a score for passage None"),
    ],
)
def test_an_answer_that_is_not_one_score_per_passage(
    reranker: RemoteReranker, service: FakeService, spoil: Any, message: str
) -> None:
    service.spoil = spoil
    with pytest.raises(ScoreError, match=message):
        reranker.score(QUERY, PASSAGES)


@pytest.mark.parametrize("positions", ["3", "-1", "one", "0,99"])
def test_a_cut_of_passages_that_were_not_sent(
    reranker: RemoteReranker, service: FakeService, positions: str
) -> None:
    rows = [{"index": index, "score": 0.5} for index in range(3)]
    service.replies = [JSONResponse(rows, headers={"x-rerank-truncated-at": positions})]
    with pytest.raises(ScoreError, match=f"says that it cut the passages {positions} of 3"):
        reranker.score(QUERY, PASSAGES)


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
    assert "retry_scheduled" in ran.stderr
    assert KEY not in ran.stderr + ran.stdout


# --- the parts ----------------------------------------------------------------------------------------------


@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    data=st.data(),
)
def test_scores_come_through_json_bit_for_bit_and_in_order(values: list[float], data: st.DataObject) -> None:
    rows = json.loads(json.dumps(data.draw(st.permutations(list(enumerate(values))))))
    assert (
        values_by_index(rows, len(values), "logit", "it").tobytes()
        == np.asarray(values, dtype=np.float32).tobytes()
    )


@given(lengths=st.lists(st.integers(0, 50), max_size=30), size=st.integers(1, 5), most=st.integers(1, 100))
def test_batches_hold_everything_in_order_within_both_limits(
    lengths: list[int], size: int, most: int
) -> None:
    texts = ["x" * length for length in lengths]
    found = list(batches(range(len(texts)), texts, size, most))
    assert [position for batch in found for position in batch] == list(range(len(texts)))
    assert all(0 < len(batch) <= size for batch in found)
    assert all(len(batch) == 1 or sum(lengths[position] + 2 for position in batch) <= most for batch in found)


def test_retry_after_is_a_number_or_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3_000 < (retry_after(later) or 0) <= 3_600
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [retry_after(value) for value in ("2", "0.5", "-3")] == [2.0, 0.5, 0.0]
    assert [retry_after(value) for value in (None, "", "soon", "nan", "inf", "Wed, 99 Oct 2015")] == [
        None
    ] * 6


def test_what_the_service_asks_to_wait_is_waited_and_no_wait_passes_the_end() -> None:
    overloaded = OverloadError("later")
    assert RetryPolicy(time.monotonic() + 60)(TransientError(overloaded, 7.0)) == 7.0
    assert RetryPolicy(time.monotonic() + 5)(TransientError(overloaded, 7.0)) is False
    assert RetryPolicy(time.monotonic())(TransientError(overloaded)) is False
    assert RetryPolicy(time.monotonic() + 60)(ScoreError("broken")) is False
    patience = RetryPolicy(time.monotonic() + 60)
    for most in (0.25, 0.5, 1.0):
        assert most / 2 <= patience(TransientError(overloaded)) <= most


def test_what_a_retry_logs_holds_neither_text_nor_key(url: str, service: FakeService) -> None:
    service.replies = [tei_error(503, f"not with {KEY}", "Unhealthy", {"Retry-After": "0.3"})]
    seen: list[RetryDetails] = []

    def record(details: RetryDetails) -> None:
        seen.append(details)

    before = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([record])
    try:
        with RemoteReranker(url, api_key=SecretStr(KEY)) as loaded:
            assert loaded.score(QUERY, PASSAGES).done.all()
    finally:
        stamina.instrumentation.set_on_retry_hooks(before)
    assert [retry.wait_for for retry in seen] == [0.3]
    assert "answered 503: not with ***" in repr(seen)
    assert KEY not in repr(seen)
    assert QUERY not in repr(seen)


def test_the_reason_is_found_in_every_shape() -> None:
    assert reason({"id": "1", "message": "cohere"}) == "cohere"
    assert reason({"error": "tei", "error_type": "Validation"}) == "tei"
    assert (
        reason({"error": {"root_cause": [], "type": "x", "reason": "elasticsearch"}, "status": 400})
        == "elasticsearch"
    )
    assert reason({"detail": "fastapi"}) == "fastapi"
    assert reason({"other": 1}) == "{'other': 1}"
    assert reason("") == reason(" ") == "without a reason"
