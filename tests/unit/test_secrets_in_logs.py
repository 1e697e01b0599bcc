"""No secret of an operator and no text of a caller comes into a log or a message by a way round."""

from __future__ import annotations

import logging

import pytest
from pydantic import SecretStr
from rerank_services import KEY, FakeService, Host, serve_tei, tei_error

from es_rerank.addresses import masked, masked_in
from es_rerank.errors import EsRerankError
from es_rerank.models.hosted.remote import RemoteReranker

SECRET = "s3cret-value"
TEXT = "attorney-client privileged"


@pytest.mark.parametrize(
    "address",
    [
        f"https://host:9200/rerank?api_key={SECRET}",
        f"https://host/?model=a&token={SECRET}&b=c",
        f"https://host/?subscription-key={SECRET}#part",
        f"https://host/?X-Amz-Signature={SECRET}",
        f"https://host/?sig={SECRET}",
        f"https://host/?access_token={SECRET}",
        f"https://host/?PASSWORD={SECRET}",
        f"https://host/?code={SECRET}",
        f"https://user:{SECRET}@host/?key={SECRET}",
    ],
)
def test_a_secret_in_the_query_of_an_address_is_masked_as_a_password_is(address: str) -> None:
    for said in (masked(address), masked_in(f"cannot reach {address}: refused"), masked_in(f"'{address}'")):
        assert SECRET not in said
        assert "***" in said
    assert masked_in("GET /a/_search?size=10&q=key was refused") == "GET /a/_search?size=10&q=key was refused"
    assert masked_in("https://host/?model=a&b=c") == "https://host/?model=a&b=c"


@pytest.fixture
def service(host: Host) -> FakeService:
    return serve_tei(host)


@pytest.mark.parametrize("status", [503, 429, 502])
def test_a_retry_logs_no_text_of_the_service(
    status: int,
    service: FakeService,
    url: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A service may repeat in its error what it was sent. stamina logs each retry, with the error's repr."""
    service.replies = [tei_error(status, f"cannot read {TEXT}", "overloaded")]
    with caplog.at_level(logging.DEBUG), RemoteReranker(url, api_key=SecretStr(KEY)) as reranker:
        assert reranker.score("query", [TEXT]).done.all()
    assert len(service.bodies) == 2
    printed = capfd.readouterr()
    said = printed.out + printed.err + caplog.text
    assert "retry" in said or "sent again" in said  # by whether another test has set the log up
    assert TEXT not in said


def test_an_error_that_ends_the_tries_still_says_why(service: FakeService, url: str) -> None:
    service.replies = [tei_error(503, "why it failed", "overloaded")] * 9
    with (
        RemoteReranker(url, api_key=SecretStr(KEY)) as reranker,
        pytest.raises(EsRerankError, match="why it failed"),
    ):
        reranker.score("query", ["text"])
