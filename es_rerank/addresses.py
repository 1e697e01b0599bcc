"""Addresses as they may be shown: without the password in them."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"((?:\w+:/{1,2})?[^\s/:@'\"(\[]*+):\S*@")
"""User and password of an address inside a sentence; also of one without its scheme, and of one read as a path."""


def masked(address: str) -> str:
    """Return an address, or a text that ends in one, without the password in it.

    What stands before the last ``@`` may hold one, also where it is no URL: a person who forgets ``http://`` writes a
    password all the same.
    """
    before, at, host = address.rpartition("@")
    if not at:
        return address
    scheme, slashes, credentials = before.partition("://")
    if not slashes:
        scheme, credentials = "", before
    user = credentials.partition(":")[0]
    return f"{scheme}{slashes}{user}:***@{host}"


def masked_in(sentence: str) -> str:
    """Return a sentence with every address in it masked: a message may repeat what a person wrote, password and all."""
    return _CREDENTIALS.sub(r"\1:***@", sentence) if "@" in sentence else sentence


def has_credentials(address: str) -> bool:
    """Whether an address holds a user, a password or both, even an empty one."""
    return "@" in address
