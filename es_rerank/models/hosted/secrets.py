"""Finds in the words of a service the secrets that it was sent: an error may repeat a whole request."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote

_MASK = "**********"

_SHORTEST = 4
"""Fewest characters of a password that is masked: a shorter one is a part of ordinary words."""


def secrets_of(key: str | None, credentials: tuple[str, str] | None, more: Iterable[str] = ()) -> list[str]:
    """Return all forms in which an answer may repeat these secrets, the longest first.

    ``credentials`` are user and password of basic authentication, which sends both in base64. ``more`` are
    others, as in the query of an address.
    """
    found = [each for each in more if len(each) >= _SHORTEST]
    if key:
        found.append(key)
    if credentials is not None:
        found.append(b64encode(":".join(credentials).encode()).decode())
        if len(credentials[1]) >= _SHORTEST:
            found.append(credentials[1])
    forms = {
        form
        for each in found
        for form in (each, quote(each, safe=""), json.dumps(each)[1:-1], repr(each)[1:-1], html.escape(each))
    }
    return sorted(forms, key=len, reverse=True)


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return a text with these secrets masked. Do it before the text is cut: a part of one is not found."""
    for secret in secrets:
        text = text.replace(secret, _MASK)
    return text
