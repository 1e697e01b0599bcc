"""In which script a text is, and what is said of a model that does not read it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_cross_encoder

from es_rerank.models import scripts
from es_rerank.models.load import load_reranker
from es_rerank.models.manifest import read_manifest, write_manifest
from es_rerank.models.scripts import ascript_warning, script_warning
from es_rerank.retrievers.response.inside_answer import warnings_in
from es_rerank.sidecar.messages.wire import warning
from es_rerank.testing import WordOverlapReranker
from es_rerank.text.scripts import main_script, other_scripts


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("who signed the treaty", "Latin"),
        ("naïve café, Größe", "Latin"),
        ("\uff28\uff45\uff4c\uff4c\uff4f", "Latin"),  # full width
        ("他现在喜欢吃蔬菜吗", "Han"),
        ("iPhone 多少钱一个啊", "Han"),
        ("the word 吃 means to eat", "Latin"),
        ("これはテキストです", "Kana"),
        ("ｶﾀｶﾅ", "Kana"),
        ("Привет мир", "Cyrillic"),
        ("한국어", "Hangul"),
        ("مرحبا بالعالم", "Arabic"),
        ("สวัสดี", "Thai"),
        ("हिन्दी भाषा", "Devanagari"),
        ("the αβ decay of a nucleus", "Latin"),
        ("2026-11-27, 42 %", None),
        ("★ 🙂", None),
        ("", None),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, script: str | None) -> None:
    assert main_script(text) == script


@given(st.text())
def test_any_text_has_a_script_or_no_letters(text: str) -> None:
    script = main_script(text)
    assert script is None or script[0].isupper()


def test_texts_are_counted_by_script() -> None:
    assert other_scripts(["one", "二三", "четыре", "五", "6"], ["Latin"]) == {"Han": 2, "Cyrillic": 1}
    assert other_scripts(["one", "二三"], ["Latin", "Han"]) == {}


class _LatinOnly(WordOverlapReranker):
    scripts = ("Latin",)


def test_a_model_that_does_not_read_a_text_is_named_with_it() -> None:
    model = _LatinOnly("english")
    assert script_warning(model, "who", ["one", "2"]) is None
    asked = script_warning(model, "他现在", ["one"])
    assert asked is not None
    assert asked.startswith(
        "the model [english] was not trained on texts in Han script, and the query is in it"
    )
    read = script_warning(model, "他现在", ["一", "one", "два"])
    assert read is not None
    assert "in Cyrillic and Han script, and the query is and 2 of 3 passages are in it" in read
    assert script_warning(WordOverlapReranker(), "他现在", ["一"]) is None


async def test_long_texts_are_looked_at_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def looked(*_: object) -> None:
        threads.append(threading.current_thread().name)

    monkeypatch.setattr(scripts, "script_warning", looked)
    for texts in (["short"] * 100, ["short"] * 10_000, ["long" * 100_000]):
        await ascript_warning(_LatinOnly("english"), "who", texts)
    assert threads[0] == threading.current_thread().name
    assert all(name.startswith("es-rerank-off-loop") for name in threads[1:])


def test_a_loaded_model_reads_what_its_manifest_says_also_when_it_is_wrapped(tmp_path: Path) -> None:
    folder = tiny_cross_encoder(tmp_path / "model")
    write_manifest(folder, read_manifest(folder).model_copy(update={"scripts": ("Latin", "Han")}))
    for model in (str(folder), f"cascade:0.5+{tiny_cross_encoder(tmp_path / 'first')}+{folder}"):
        with load_reranker(model) as loaded:
            assert script_warning(loaded, "他现在 who", ["一", "one"]) is None
            assert "Cyrillic" in (script_warning(loaded, "кто", []) or "")


def test_the_bundled_models_read_latin_letters() -> None:
    with load_reranker() as bundled:
        assert "reads Latin" in (script_warning(bundled, "他现在喜欢吃蔬菜吗", []) or "")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_warning_in_a_header_is_read_as_it_was_written(text: str) -> None:
    header = warning(text)["Warning"]
    assert header.isascii()
    assert header.isprintable()
    assert warnings_in(header) == [text]
