"""The client that commands make for an address."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from http_servers import Quiet, serving_in_thread

from es_rerank.cli.connection import connect, with_port
from es_rerank.errors import (
    SettingsError,
    UnreachableError,
)
from es_rerank.settings import Settings


def test_an_address_where_nothing_answers_is_named_without_its_password() -> None:
    with pytest.raises(
        UnreachableError, match=r"no Elasticsearch answers at http://me:\*\*\*@127\.0\.0\.1:1 .*es-rerank up"
    ) as caught:
        connect("http://me:secret@127.0.0.1:1", Settings())
    assert "secret" not in caught.value.url


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"127\.0\.0\.1:70000"):
        connect("http://127.0.0.1:70000", Settings())


def test_an_address_without_a_port_means_the_port_of_its_scheme() -> None:
    urls = [
        "https://me:secret@search.example/es",
        "http://search.example",
        "http://[::1]",
        "http://search.example:9200",
    ]
    expected = [
        "https://me:secret@search.example:443/es",
        "http://search.example:80",
        "http://[::1]:80",
        "http://search.example:9200",
    ]
    assert [with_port(url) for url in urls] == expected


class Stranger(Quiet, BaseHTTPRequestHandler):
    """A web server that is no Elasticsearch."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def test_what_answers_but_is_no_elasticsearch_is_named() -> None:
    with (
        serving_in_thread(HTTPServer(("127.0.0.1", 0), Stranger)) as url,
        pytest.raises(UnreachableError, match="is not Elasticsearch"),
    ):
        connect(url, Settings())
