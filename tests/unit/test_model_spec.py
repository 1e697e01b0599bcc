"""What the name of a reranker means."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import SettingsError
from es_rerank.models.load import check_reranker
from es_rerank.models.spec import SpecKind, name_and_model, parse_model
from es_rerank.node.checks import check_model


@pytest.mark.parametrize(
    ("name", "kind", "models", "share"),
    [
        ("es-rerank-minilm-l6", "local", ("es-rerank-minilm-l6",), 1),
        ("org/model", "local", ("org/model",), 1),
        ("./cohere:x", "local", ("./cohere:x",), 1),
        ("cohere", "local", ("cohere",), 1),
        ("cohere:rerank-v3.5", "cohere", ("rerank-v3.5",), 1),
        ("cohere:", "cohere", ("",), 1),
        ("remote:http://host:1/a?b=c:d+e", "remote", ("http://host:1/a?b=c:d+e",), 1),
        ("remote:http://a?b=c:d+http://e", "remote", ("http://a?b=c:d+http://e",), 1),
        ("cascade:0.5+./a+cohere:b+c", "cascade", ("./a", "cohere:b+c"), 0.5),
    ],
)
def test_a_name_is_read(name: str, kind: SpecKind, models: tuple[str, ...], share: float) -> None:
    spec = parse_model(name)
    assert (spec.text, spec.kind, spec.models, spec.share) == (name, kind, models, share)
    assert spec.hosted == (kind in {"cohere", "remote"})


def test_a_path_is_a_model_on_this_machine() -> None:
    assert parse_model(Path("/models/one")).model == "/models/one"


@given(st.floats(0.01, 0.99), st.text(min_size=1).filter(lambda name: ":" not in name and "+" not in name))
def test_any_share_and_any_names_of_a_cascade_are_read(share: float, model: str) -> None:
    spec = parse_model(f"cascade:{share}+{model}+{model}")
    assert (spec.kind, spec.models, spec.share) == ("cascade", (model, model), share)


@given(st.text(alphabet="0.3+:cascadetop/A", max_size=20))
def test_any_name_is_read_or_refused(rest: str) -> None:
    for name in (rest, f"cascade:{rest}"):
        try:
            spec = parse_model(name)
        except SettingsError:
            continue
        assert all(spec.models) or spec.kind == "local"


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("model", (None, "model")),
        ("name=model", ("name", "model")),
        ("remote:http://host/?a=b", (None, "remote:http://host/?a=b")),
        ("name=remote:http://host/?a=b", ("name", "remote:http://host/?a=b")),
        ("./folder=x", (None, "./folder=x")),
    ],
)
def test_a_reranker_may_be_served_under_another_name(given_: str, expected: tuple[str | None, str]) -> None:
    assert name_and_model(given_) == expected


@pytest.mark.parametrize(
    ("name", "dialect", "scale", "address"),
    [
        ("remote:http://host", None, None, "http://host"),
        ("remote:vllm:https://host/v1?model=a:b", "vllm", None, "https://host/v1?model=a:b"),
        ("remote:results:logit:http://host", "results", "logit", "http://host"),
        ("remote:jina:probability:http://u:p@host", "jina", "probability", "http://u:p@host"),
        ("remote:http://host/a:http://other", None, None, "http://host/a:http://other"),
        ("remote:vllm:host:8080", None, None, "vllm:host:8080"),
    ],
)
def test_the_dialect_of_a_service_stands_before_its_address(
    name: str, dialect: str | None, scale: str | None, address: str
) -> None:
    spec = parse_model(name)
    assert (spec.kind, spec.dialect, spec.scale, spec.model) == ("remote", dialect, scale, address)
    cascaded = parse_model(f"cascade:0.5+{name}+./large")
    assert cascaded.models == (name, "./large")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "remote:vlm:http://host",
            "names the dialect vlm, which there is not; write remote:DIALECT:URL with",
        ),
        (
            "remote:VLLM:http://host",
            "names the dialect VLLM, .* one of tei, results, cohere, .* or remote:URL",
        ),
        (
            "remote:vllm:logits:http://host",
            "the scale logits, .* remote:vllm:SCALE:URL with one of logit, pro",
        ),
        ("cascade:0.5+remote:vlm:http://u:s3cret@host+./large", "names the dialect vlm"),
    ],
)
def test_words_before_an_address_that_mean_nothing(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        check_reranker(name)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["cohere:", "remote:"])
def test_doctor_sees_that_a_service_has_no_name(name: str) -> None:
    check = check_model("cross-encoder", name)
    assert (check.status, "names nothing behind the colon" in check.found) == ("fail", True)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("cross-encoder", "remote:http://user:secret@host:9"),
        ("cross-encoder", "remote:user:secret@host"),
        ("cross-encoder", "remote:vllm:logit:http://user:secret@host:9"),
        ("cross-encoder", "cascade:0.5+remote:http://user:secret@host:9+remote:http://user:secret@host:8"),
        ("cross-encoder", "cascade:2+remote:http://user:secret@host:9+small"),
        ("bi-encoder", "remote:http://user:secret@host:9"),
    ],
)
def test_doctor_shows_no_password_of_a_service(
    kind: Literal["cross-encoder", "bi-encoder"], name: str
) -> None:
    check = check_model(kind, name)
    assert "secret" not in f"{check.found} {check.remedy}"
    assert "***@host" in check.found


def test_doctor_says_in_which_dialect_a_service_is_asked() -> None:
    named = check_model("cross-encoder", "remote:vllm:logit:http://host:9")
    assert (named.status, named.found.endswith("sent to it, in the dialect vllm")) == ("ok", True)
    found = check_model("cross-encoder", "remote:http://host:9")
    assert (found.status, "in the dialect that a trial finds" in found.found) == ("ok", True)
    assert "dialect" not in check_model("cross-encoder", "cohere:rerank-v3.5").found


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
@pytest.mark.parametrize("name", ["/no/such/folder", "./no-such-folder", "../no-such-folder"])
def test_doctor_says_that_a_folder_is_missing(
    kind: Literal["cross-encoder", "bi-encoder"], name: str
) -> None:
    check = check_model(kind, name)
    assert (check.status, f"there is no folder {Path(name)};" in check.found) == ("fail", True)
    assert "Hub" not in check.remedy


def test_doctor_says_that_a_name_of_the_hub_will_be_downloaded() -> None:
    check = check_model("cross-encoder", "owner/no-such-model")
    assert (check.status, "downloaded from the Hugging Face Hub" in check.remedy) == ("warn", True)
