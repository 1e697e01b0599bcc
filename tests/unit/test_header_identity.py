"""Which headers tell who the caller is: one answer, wherever it is asked."""

from __future__ import annotations

import pytest

from es_rerank.header_names import WITHOUT_IDENTITY
from es_rerank.sidecar.upstream.headers import OF_THE_CONNECTION, carried, forwarded, known_by, of_the_caller

OTHERS = ("accept", "content-type", "host", "if-match", "sec-fetch-site", "user-agent", "x-rerank-timeout-ms")
TELLING = ("authorization", "cookie", "es-client-authentication", "origin", "x-forwarded-user", "x-unknown")


@pytest.mark.parametrize("name", [*OF_THE_CONNECTION, *WITHOUT_IDENTITY, *OTHERS, *TELLING])
def test_a_cache_and_a_client_know_a_caller_by_the_same_headers(name: str) -> None:
    known = known_by({"headers": [(name.title().encode(), b"a")]})
    assert bool(known) == (name in TELLING)
    assert of_the_caller(carried([(name.title(), "a")])) == ({name: "a"} if name in TELLING else {})


def test_what_is_carried_is_forwarded_too() -> None:
    for name in (*OF_THE_CONNECTION, *WITHOUT_IDENTITY, *OTHERS, *TELLING):
        assert len(carried([(name, "a")])) <= len(forwarded([(name, "a")]))
