"""The file of the sidecar's keys: what it may hold, what is said of its faults, and how it changes."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from es_rerank.errors import SettingsError
from es_rerank.sidecar.access.keys import (
    SETTING,
    Key,
    Keys,
    ignore_sighup,
    key_hash,
    read_again_on_sighup,
    read_keys,
)

PLAIN = "a-plain-key-that-nobody-may-see"
HASH = key_hash(PLAIN)
OTHER = key_hash("another")
FULL = f"""
[search-team]
sha256 = "{HASH}"
expires = 2999-01-31
most_waiting_seconds = 5
most_documents = 200
max_timeout_ms = 2000

[other]
sha256 = "{OTHER}"
"""


def written(folder: Path, text: str | bytes) -> Path:
    """Write a file of keys that only its owner may read, and return its path."""
    file = folder / "keys.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(0o600)
    return file


def fault(folder: Path, text: str | bytes) -> str:
    with pytest.raises(SettingsError) as caught:
        read_keys(written(folder, text))
    return caught.value.message


def test_a_table_is_a_key_with_its_limits(tmp_path: Path) -> None:
    first, second = read_keys(written(tmp_path, FULL))
    assert first == Key("search-team", HASH, datetime(2999, 1, 31, tzinfo=UTC), 5, 200, 2000)
    assert second == Key("other", OTHER)
    assert HASH not in repr(first)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLAIN, "is not TOML: end of document"),
        (f"[a]\n[a]\nsha256='{HASH}'", "is not TOML: line 2, column 3"),
        (f"{PLAIN} = 1\n{PLAIN} = 2", "is not TOML"),
        (f"[a]\nmost_documents = {'9' * 5000}", "is not TOML"),
        (f"a = {'[' * 5000}", "nested too deep"),
        (b"\xff\xfe", "is not UTF-8: byte 0"),
        (f'["{PLAIN} {HASH}"]\nsha256="{HASH}"', "the 1st name is not 1 to 40 letters"),
        (f"[{HASH}]\nsha256='{HASH}'", "the 1st name is not 1 to 40 letters"),
        ("[esr_" + "x" * 43 + "]", "the 1st name is not 1 to 40 letters"),
        (f"name = '{PLAIN}'", "has a value [name] that is no table"),
        (f"[a]\nkey = '{PLAIN}'", "the 1st field of [a] is unknown; the fields are sha256, expires"),
        (f"[a]\nsha256 = '{HASH}'\nkey = 1", "the 2nd field of [a] is unknown"),
        ("[a]", "has no sha256 as text in [a]"),
        ("[a]\nsha256 = 12", "has no sha256 as text in [a]"),
        (f"[a]\nsha256 = '{PLAIN}'", "has a wrong sha256 in [a]: it has 31 characters"),
        (f"[a]\nsha256 = '{HASH.upper()}'", "has a wrong sha256 in [a]: it is in upper case"),
        (f"[a]\nsha256='{HASH}'\n[b]\nsha256='{HASH}'", "tables [a] and [b] have the same sha256"),
        (f"[a]\nsha256='{HASH}'\nexpires='2027-01-31'", "has an expires in [a] that is no date"),
        (f"[a]\nsha256='{HASH}'\nexpires=12:00:00", "has an expires in [a] that is no date"),
        (f"[a]\nsha256='{HASH}'\nmost_documents=1.5", "has a most_documents in [a] that is no whole number"),
        (f"[a]\nsha256='{HASH}'\nmost_documents=true", "has a most_documents in [a]"),
        (f"[a]\nsha256='{HASH}'\nmax_timeout_ms=0", "has a max_timeout_ms in [a]"),
        (f"[a]\nsha256='{HASH}'\nmost_waiting_seconds=nan", "has a most_waiting_seconds in [a]"),
        (f"[a]\nsha256='{HASH}'\nmost_waiting_seconds=inf", "has a most_waiting_seconds in [a]"),
        ("".join(f"[k{n}]\nsha256='{key_hash(str(n))}'\n" for n in range(1001)), "has 1001 keys"),
        (b"#" * (1 << 20) + b"\n", "is over 1048576 bytes"),
    ],
)
def test_a_wrong_file_is_told_with_place_and_remedy_and_no_secret(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    message = fault(tmp_path, text)
    assert said in message
    assert "es-rerank key NAME" in message
    assert str(tmp_path / "keys.toml") in message
    for secret in (PLAIN, HASH, HASH.upper(), "esr_"):
        assert secret not in message


@given(st.binary(max_size=60) | st.text(alphabet="[]a='\"{}.\n#1-:", max_size=60).map(str.encode))
def test_no_file_ends_the_sidecar_or_is_repeated(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = written(tmp_path_factory.getbasetemp(), data)
    try:
        read_keys(file)
    except SettingsError as error:
        assert str(file) in error.message  # noqa: PT017 any other error fails the test


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("pipe", "no regular file"), (".", "no regular file"), ("none", "No such file")):
        with pytest.raises(SettingsError, match=said):
            read_keys(tmp_path / name)


def test_a_file_without_a_key_admits_nobody(tmp_path: Path) -> None:
    keys = Keys(file=written(tmp_path, ""))
    assert keys.asked
    assert keys.find(b"") is None
    assert "has no key that is in force" in keys.warnings()[0]
    assert not Keys().asked


def test_all_keys_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys((key_hash("third"),), written(tmp_path, FULL))
    compared: list[str] = []

    def compare(given: str, known: str) -> bool:
        compared.append(known)
        return given == known

    monkeypatch.setattr("hmac.compare_digest", compare)
    for given_key in (PLAIN, "another", "third", "none"):
        compared.clear()
        found = keys.find(given_key.encode())
        assert compared == [HASH, OTHER, key_hash("third")]
        expected = {PLAIN: "search-team", "another": "other", "third": f"sha256-{key_hash('third')[:8]}"}
        assert (found.name if found else None) == expected.get(given_key)


def test_keys_come_and_go_when_the_file_is_read_again_and_a_broken_one_changes_nothing(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, FULL)
    keys = Keys(file=file)
    written(tmp_path, FULL.replace("[other]", "[third]"))
    assert keys.read_again() == (["third"], [], ["other"])
    written(tmp_path, FULL.replace("[other]", "[third]").replace("2999", "2998"))
    assert keys.read_again() == ([], ["search-team"], [])
    for broken in ("[", "[third]\nsha256 = 1"):
        written(tmp_path, broken)
        with pytest.raises(SettingsError):
            keys.read_again()
        assert keys.find(PLAIN.encode()) is not None
    file.unlink()
    with pytest.raises(SettingsError):
        keys.read_again()
    assert [key.name for key in keys.all] == ["search-team", "third"]
    written(tmp_path, "# all are gone")
    assert keys.read_again() == ([], [], ["search-team", "third"])
    assert keys.find(PLAIN.encode()) is None


def test_a_key_expires_at_the_beginning_of_its_day_in_utc() -> None:
    now = datetime.now(UTC)
    assert Key("a", HASH, now - timedelta(seconds=1)).expired
    assert not Key("a", HASH, now + timedelta(days=1)).expired
    assert not Key("a", HASH).expired


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o602])
def test_who_else_may_read_or_write_the_file_is_told(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path, FULL)
    file.chmod(mode)
    said = Keys(file=file).warnings()
    assert bool(said) == bool(mode & 0o6)
    assert not said or ("write" if mode & 2 else "read") in said[0]


def test_what_does_not_stop_by_the_file_alone_is_told(tmp_path: Path) -> None:
    keys = Keys((OTHER,), written(tmp_path, FULL.replace("2999", "1999")))
    both, old = keys.warnings()
    assert both.count("other") == 1
    assert "search-team" in old
    assert OTHER not in both


async def test_sighup_reads_the_file_again_and_logs_no_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = Keys(file=written(tmp_path, FULL))
    handler = signal.getsignal(signal.SIGHUP)
    with read_again_on_sighup(keys):
        for text, names in ((FULL.replace("[other]", "[new]"), {"search-team", "new"}), ("# none", set())):
            written(tmp_path, text)
            os.kill(os.getpid(), signal.SIGHUP)
            while {key.name for key in keys.all} != names:  # noqa: ASYNC110 a thread sets them
                await asyncio.sleep(0)
        written(tmp_path, PLAIN)
        os.kill(os.getpid(), signal.SIGHUP)
        said = ""
        while "the keys stay" not in said:
            await asyncio.sleep(0)
            said += "".join(capfd.readouterr())
    assert signal.getsignal(signal.SIGHUP) == handler
    assert "end of document" in said
    assert "search-team" in said
    assert "changed=[]" in said
    for secret in (PLAIN, HASH, OTHER):
        assert secret not in said


def test_without_a_file_sighup_keeps_its_meaning() -> None:
    async def inside() -> object:
        with read_again_on_sighup(Keys((HASH,))):
            return signal.getsignal(signal.SIGHUP)

    handler = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        assert asyncio.run(inside()) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, handler)


async def test_without_a_file_a_sidecar_logs_each_sighup_and_serves_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    handler = signal.getsignal(signal.SIGHUP)
    ignore_sighup()
    try:
        with read_again_on_sighup(Keys((HASH,))):
            os.kill(os.getpid(), signal.SIGHUP)
            said = ""
            while "no file of keys" not in said:
                await asyncio.sleep(0)
                said += "".join(capfd.readouterr())
        os.kill(os.getpid(), signal.SIGHUP)  # a sidecar that stops is not ended either
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert len(said.strip().splitlines()) == 1
    assert SETTING in said
