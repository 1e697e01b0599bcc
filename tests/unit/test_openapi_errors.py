"""Each error of the OpenAPI page is provoked, and the answer is as the page shows it."""

from __future__ import annotations

import pytest
from openapi_faults import asked, check_error, failing, format_of, requests
from openapi_page import checked, document, sent

from es_rerank.sidecar.page.document import OPERATIONS

PAGE = document()

FAULTS = sorted({fault for operation in OPERATIONS.values() for fault in operation.errors} - {"mistake"})


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_error_is_as_the_page_shows_it(fault: str) -> None:
    tried = requests(PAGE, fault, searches=False)
    if fault in ("unreachable", "not JSON"):
        tried = requests(PAGE, fault, searches=True)
    assert tried
    async with failing(fault) as client:
        for example, spoken in tried:
            check_error(PAGE, example, spoken, fault, await client.request(**asked(example, fault)))


async def test_a_mistake_is_told_as_the_page_shows_it() -> None:
    async with failing("mistake") as client:
        for (path, method), told in OPERATIONS.items():
            for mistake in told.mistakes:
                example = next(
                    each
                    for each in sent(PAGE)
                    if (each.path, each.method) == (path, method)
                    and format_of(told, each) == mistake.error_format
                )
                request = example._replace(body=mistake.body).request()
                check_error(PAGE, example, mistake.error_format, "mistake", await client.request(**request))


async def test_a_deadline_that_is_no_number_is_refused_as_the_page_says() -> None:
    tried = [
        each
        for each in sent(PAGE)
        if any(parameter["name"] == "X-Rerank-Timeout-Ms" for parameter in each.operation["parameters"])
    ]
    assert len(tried) > 20
    async with failing("mistake") as client:
        for example in tried:
            request = example.request()
            headers = request.pop("headers", {}) | {"x-rerank-timeout-ms": "soon"}
            answer = await client.request(**request, headers=headers)
            assert answer.status_code in (400, 422), str(example)
            checked(PAGE, example.operation, answer)


def test_each_operation_with_a_body_shows_a_mistake() -> None:
    for (path, method), told in OPERATIONS.items():
        if "mistake" in told.errors:
            formats = {each.error_format for each in told.examples}
            assert {each.error_format for each in told.mistakes} == formats, f"{method} {path}"


async def test_a_sidecar_that_is_not_ready_says_so_as_the_page_shows_it() -> None:
    operation = PAGE["paths"]["/readyz"]["get"]
    for fault in ("loading", "unreachable"):
        async with failing(fault) as client:
            answer = await client.get("/readyz")
        assert checked(PAGE, operation, answer) == "503"
        assert answer.json()["reasons"]
