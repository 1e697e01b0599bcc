"""The sidecar's own API keys: from the setting ``api_key_hashes``, and from a file that SIGHUP reads again.

The file is TOML, with one table for each key. The name of the table is the name of the key::

    [search-team]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    expires = 2027-01-31          # from that day on (UTC) the key is refused
    most_waiting_seconds = 5.0    # of its requests that wait for the models at one time
    most_documents = 200          # in one request
    max_timeout_ms = 2000         # longest deadline of one request; a longer one is shortened

All but ``sha256`` may be left out. No message and no log line contains a key or its whole hash. A key of the
setting is named after the first 8 digits of its hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import signal
import stat
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from ...errors import SettingsError, TooLargeError
from ...settings import HASH, PREFIX, fault_of_hash

_LOG = structlog.get_logger("es_rerank.sidecar")

SETTING = f"{PREFIX}API_KEYS_FILE"

_MOST_BYTES = 1 << 20
"""Largest file of keys, in bytes."""

_MOST_KEYS = 1_000
"""Most keys in a file. Each request compares its key with all of them, at about 0.3 microseconds each."""

_LARGEST = 1_000_000_000
"""The largest value of a limit of a key."""

KEY_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""Names of keys. They are in the log. A key of ``es-rerank key`` and a hash are longer, so that neither is
taken for a name."""

_PLACE = re.compile(r"at (line \d+, column \d+|end of document)\)$")
"""The end of each message of tomllib. What is before it may repeat a part of the file."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the sidecar: its name, its hash and what its requests may use; None is no limit of its own.

    ``sha256`` is the SHA-256 of the key in hexadecimal. ``expires`` is the moment from which it is refused.
    ``most_waiting_seconds`` bounds the work of its requests that wait for the models, in seconds.
    """

    name: str
    sha256: str = field(repr=False)
    expires: datetime | None = None
    most_waiting_seconds: float | None = None
    most_documents: int | None = None
    max_timeout_ms: int | None = None

    @property
    def expired(self) -> bool:
        """Whether the key is refused now because of its age."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


KEY: ContextVar[Key | None] = ContextVar("key", default=None)
"""The key of the request that is served in this context; None on paths that need none."""

_FIELDS = tuple(each.name for each in fields(Key) if each.name != "name")


def key_hash(key: str | bytes) -> str:
    """Return the hash of a key as the settings hold it: its SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def too_many_documents(count: int, limit: int) -> TooLargeError:
    """Return the error for a request with more documents than ``limit``, of the sidecar or of the key."""
    key = KEY.get()
    whose = f"of key [{key.name}]" if key and key.most_documents == limit else "setting max_documents"
    return TooLargeError(
        f"{count} documents are more than one request may hold ({limit}, {whose}); send them in parts"
    )


class Changes(NamedTuple):
    """Names of the keys that are new in a file, that have another hash or other limits, and that are gone."""

    new: Sequence[str] = ()
    changed: Sequence[str] = ()
    removed: Sequence[str] = ()


class Keys:
    """The keys that are in force. Each request is compared with all of them.

    ``hashes``: keys of the setting ``api_key_hashes``, which are named after the first digits of their hash.
    ``file``: a file of keys; with one, a key is asked for even if the file has none. Raises SettingsError
    for a file that cannot be read or is not right.
    """

    def __init__(self, hashes: tuple[str, ...] = (), file: Path | None = None) -> None:
        self.file = file
        self._named = tuple(Key(f"sha256-{digits[:8]}", digits) for digits in hashes)
        self._reading = threading.Lock()
        self.failures = 0
        """How often the file could not be read again."""
        self._of_file: tuple[Key, ...] = () if file is None else read_keys(file)

    @property
    def asked(self) -> bool:
        """Whether requests that use the models need a key."""
        return self.file is not None or bool(self._named)

    @property
    def all(self) -> tuple[Key, ...]:
        """The keys in force, also those that have expired."""
        return (*self._of_file, *self._named)

    def find(self, given: bytes) -> Key | None:
        """Return the key that a request sent, also if it has expired, or None.

        All hashes are compared, each in constant time, so that the time tells nothing about the keys.
        """
        digits = key_hash(given)
        known = [key for key in self.all if hmac.compare_digest(digits, key.sha256)]
        return known[0] if known else None

    def read_again(self) -> Changes:
        """Read the file again, and return what changed.

        From then on, requests with a key that went are refused. Raises SettingsError for a file that cannot
        be read or is not right; the keys stay as they were then.
        """
        if self.file is None:
            return Changes()
        with self._reading:  # of two callers, the later one reads what was written later
            try:
                old, self._of_file = self._of_file, read_keys(self.file)
            except SettingsError:
                self.failures += 1
                raise
            before, after = ({key.name: key for key in keys} for keys in (old, self._of_file))
        return Changes(
            sorted(after.keys() - before.keys()),
            sorted(name for name in after.keys() & before.keys() if after[name] != before[name]),
            sorted(before.keys() - after.keys()),
        )

    def warnings(self) -> list[str]:
        """Return what an operator should change about the file: who may read or write it, and its keys."""
        if self.file is None:
            return []
        said: list[str] = []
        mode = 0
        with suppress(OSError):  # it may be gone by now
            mode = self.file.stat().st_mode
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            may = "write" if mode & stat.S_IWOTH else "read"
            said.append(
                f"{SETTING}: everybody on this machine may {may} {self.file} (mode {mode & 0o777:o}); "
                "use: chmod 600, or 640 with a group of the sidecar"
            )
        twice = [key.name for key in self._of_file if key.sha256 in {other.sha256 for other in self._named}]
        if twice:
            said.append(
                f"{SETTING}: keys are in {PREFIX}API_KEY_HASHES too, so that removing them from the file "
                f"does not stop them: {', '.join(twice)}; remove them from that setting"
            )
        old = [key.name for key in self._of_file if key.expired]
        if old:
            said.append(f"{SETTING}: these keys have expired: {', '.join(old)}; remove them or make new ones")
        if len(old) == len(self._of_file):
            said.append(
                f"{SETTING}: {self.file} has no key that is in force, so each request that needs a key is "
                "refused; make one with: es-rerank key NAME"
            )
        return said


@contextmanager
def read_again_on_sighup(keys: Keys) -> Iterator[None]:
    """Read the file of keys again at each SIGHUP while the block runs, and log what came of it.

    A thread of its own reads it, so that neither the event loop waits nor the reading waits for threads that
    are busy. Without a file, a process that ignores SIGHUP, as ``es-rerank serve`` does, logs that there is
    none. In another process without a file, and in a thread that gets no signals, SIGHUP keeps its meaning.
    """
    meaning = signal.getsignal(signal.SIGHUP)
    told = keys.file is not None or meaning is signal.SIG_IGN
    if not told or threading.current_thread() is not threading.main_thread():
        yield
        return
    _warn(keys)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(
        signal.SIGHUP, lambda: threading.Thread(target=_read_again, args=(keys,), daemon=True).start()
    )
    _read_again(keys, asked=False)  # a SIGHUP that came before was ignored
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(
            signal.SIGHUP, meaning
        )  # the loop sets the default, which would end a process that stops


def ignore_sighup() -> None:
    """Let no SIGHUP end a process that starts or stops. In between, ``read_again_on_sighup`` handles it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _read_again(keys: Keys, *, asked: bool = True) -> None:
    if keys.file is None:
        if asked:
            _LOG.info(f"there is no file of keys to read again; {SETTING} names one at the start")
        return
    try:
        changes = keys.read_again()
    except SettingsError as error:
        _LOG.error("the keys stay as they were", reason=error.message)
        return
    if not asked and not any(changes):
        return
    _LOG.info("the file of keys was read again", keys=len(keys.all), **changes._asdict())
    _warn(keys)


def _warn(keys: Keys) -> None:
    for said in keys.warnings():
        _LOG.warning(said)


def read_keys(file: Path) -> tuple[Key, ...]:
    """Return the keys of a file.

    Raises SettingsError, which names the place and the remedy, for a file that cannot be read or is not
    right.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would be waited for, and is empty the next time
            raise _fault(file, "is no regular file")
        with file.open("rb") as source:
            data = source.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _fault(file, f"cannot be read: {error.strerror or type(error).__name__}") from None
    if len(data) > _MOST_BYTES:
        raise _fault(file, f"is over {_MOST_BYTES} bytes")
    try:
        tables = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise _fault(file, f"is not UTF-8: byte {error.start}") from None
    except ValueError as error:  # a TOMLDecodeError, or that of a number with thousands of digits
        place = _PLACE.search(str(error))
        raise _fault(file, f"is not TOML{f': {place[1]}' if place else ''}") from None
    except RecursionError:
        raise _fault(file, "is not TOML of tables: it is nested too deep") from None
    if len(tables) > _MOST_KEYS:
        raise _fault(file, f"has {len(tables)} keys, at most {_MOST_KEYS} are compared with each request")
    keys = tuple(_key(file, place, name, table) for place, (name, table) in enumerate(tables.items(), 1))
    seen: dict[str, str] = {}
    for key in keys:
        if seen.setdefault(key.sha256, key.name) != key.name:
            raise _fault(file, f"tables [{seen[key.sha256]}] and [{key.name}] have the same sha256")
    return keys


def _fault(file: Path, what: str) -> SettingsError:
    return SettingsError(
        f'{SETTING}: {file} {what}; each key is a table [NAME] with sha256 = "..." '
        "(es-rerank key NAME prints one)"
    )


def _key(file: Path, place: int, name: str, table: object) -> Key:
    if not KEY_NAME.fullmatch(name):  # it may be a key, so it is not shown
        raise _fault(
            file, f"is wrong: the {_nth(place)} name is not 1 to 40 letters, digits, hyphens and underscores"
        )
    if not isinstance(table, Mapping):
        raise _fault(file, f"has a value [{name}] that is no table")
    for number, known in enumerate(table, 1):
        if known not in _FIELDS:
            raise _fault(
                file,
                f"is wrong: the {_nth(number)} field of [{name}] is unknown; the fields are "
                f"{', '.join(_FIELDS)}",
            )
    digits = table.get("sha256")
    if not isinstance(digits, str):
        raise _fault(file, f"has no sha256 as text in [{name}]")
    if not HASH.fullmatch(digits):
        raise _fault(file, f"has a wrong sha256 in [{name}]: it {fault_of_hash(digits)}")
    return Key(
        name,
        digits,
        _moment(file, name, table.get("expires")),
        _number(file, name, table, "most_waiting_seconds", (int, float)),
        _number(file, name, table, "most_documents", (int,)),
        _number(file, name, table, "max_timeout_ms", (int,)),
    )


def _nth(number: int) -> str:
    """Return an ordinal number. A field is told by its place: its name may be a key."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _moment(file: Path, name: str, value: object) -> datetime | None:
    """Return the moment that a date or a date-time of TOML begins; without an offset, in UTC."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise _fault(file, f"has an expires in [{name}] that is no date such as 2027-01-31 without quotes")


def _number(file: Path, name: str, table: Mapping[str, object], which: str, kinds: tuple[type, ...]) -> Any:  # noqa: ANN401 int or float, as ``kinds`` says
    value = table.get(which)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value <= _LARGEST:  # type: ignore[operator] # it is an int or a float
        whole = "" if float in kinds else "whole "
        raise _fault(file, f"has a {which} in [{name}] that is no {whole}number above 0, at most {_LARGEST}")
    return value
