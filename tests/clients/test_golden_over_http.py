"""The golden requests as bytes on a connection to ``es-rerank serve``: an empty header, a bare scheme, and no
media type are sent as the tools send them.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from golden_requests import ALL, BEST, QUERY, TEXTS


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("key", ["", "any-key"])
def test_a_tools_request_is_answered_over_http(name: str, key: str, open_sidecar: str) -> None:
    golden = ALL[name]
    # No other request has the last text, so that tokens are read for it.
    texts = [*TEXTS, f"Only {name} with the key [{key}] asks about this."]
    sent = golden.sent(QUERY, texts, key)
    connection = HTTPConnection(urlsplit(open_sidecar).netloc, timeout=60)
    connection.putrequest("POST", sent["url"])
    for header, value in sent["headers"]:
        connection.putheader(header, value)
    connection.putheader("Content-Length", str(len(sent["content"])))
    connection.endheaders(sent["content"])
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    found = golden.read(json.loads(body), texts)
    assert max(found, key=found.__getitem__) == BEST
