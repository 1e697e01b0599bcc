"""The steps that fetch the page of hits and what Elasticsearch computes over the ranking. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...types import Candidate
from ..planning.page import PageQuery
from ..response.computed import group_values, with_aggregations, with_groups
from .commands import EsRequest, Steps

MakeRequest = Callable[[str, dict[str, Any]], EsRequest]
"""A function from the stage (see ``EsRequest``) and the body of a search to its request."""


def fetched_page(page: PageQuery, window: Sequence[Candidate], ask: MakeRequest) -> Steps[dict[str, Any]]:
    """Send the requests of a page and return their answers as one. ``window`` holds the ranked documents."""
    fetched: dict[str, Any] = yield ask("page", page.body)
    if page.groups is not None and fetched["hits"]["hits"]:
        field = page.groups["collapse"]["field"]
        body = page.groups_body(group_values(fetched, field))
        fetched = with_groups(fetched, (yield ask("groups", body)), field, window)
    if page.aggregations is not None:
        fetched = with_aggregations(fetched, (yield ask("aggregations", page.aggregations)), window)
    return fetched
