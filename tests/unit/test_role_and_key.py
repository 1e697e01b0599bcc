"""What ``es-rerank role`` and ``es-rerank key`` print."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from es_rerank.cli.key import key
from es_rerank.cli.role import INGEST, PLUGIN, SEARCH, role, role_body
from es_rerank.errors import SettingsError
from es_rerank.sidecar.access.keys import key_hash, read_keys


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_role_names_indices_and_the_versions_that_ingest_makes(capsys: pytest.CaptureFixture[str]) -> None:
    role(["articles", "logs-*", "a.b"], as_json=True)
    found = said(capsys)
    assert found["role"] == {
        "cluster": [],
        "indices": [
            {
                "names": sorted(["articles", "/articles-[0-9]{6}/", "logs-*", "a.b", r"/a\.b-[0-9]{6}/"]),
                "privileges": list(SEARCH),
            }
        ],
    }
    assert found["api_key"] == {
        "name": "es_rerank_search",
        "role_descriptors": {"es_rerank_search": found["role"]},
    }
    role(["articles"], plugin=True, as_json=True)
    assert said(capsys)["role"]["cluster"] == list(PLUGIN)
    role(None, ingest=True, name="mine", as_json=True)
    found = said(capsys)
    assert (found["name"], found["role"]["indices"][0]["names"]) == ("mine", ["*"])
    assert found["role"]["indices"][0]["privileges"] == list(INGEST)


def test_a_person_reads_two_requests_of_which_one_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    role(["articles"])
    printed = capsys.readouterr()
    first, second = printed.out.split("\n\n")
    assert first.splitlines()[0] == "PUT _security/role/es_rerank_search"
    assert json.loads(first.partition("\n")[2]) == role_body(["articles"])
    assert second.splitlines()[0] == "POST _security/api_key"
    assert json.loads(second.partition("\n")[2])["name"] == "es_rerank_search"
    assert "the sidecar has none" in printed.err
    assert "cluster:monitor/main" in printed.err


@pytest.mark.parametrize("wrong", ["a,b", "a b", "", "/.*/", "a:b", "a\\b", 'a"b'])
def test_what_is_no_name_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="is no name of an index, alias or pattern"):
        role(["articles", wrong])


def test_a_key_is_printed_once_and_its_table_holds_its_hash(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key("search-team", as_json=True)
    found = said(capsys)
    assert tomllib.loads(found["table"]) == {"search-team": {"sha256": key_hash(found["key"])}}
    assert len(found["key"]) == len("esr_") + 43
    key("search-team")
    printed = capsys.readouterr()
    assert found["key"] not in printed.err
    (made,) = (word for word in printed.err.split() if word.startswith("esr_"))
    assert made not in printed.out
    file = tmp_path / "keys.toml"
    file.write_text(printed.out, encoding="utf-8")
    (read,) = read_keys(file)
    assert (read.name, read.sha256) == ("search-team", key_hash(made))


@pytest.mark.parametrize("name", ["", "a b", "a.b", "x" * 41, "[a]"])
def test_a_name_that_the_file_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="is no name of a key"):
        key(name)
