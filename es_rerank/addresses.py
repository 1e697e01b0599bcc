"""Reads addresses, and removes passwords from them before they are shown or logged."""

from __future__ import annotations

import re
from base64 import b64decode
from urllib.parse import unquote_plus

_CREDENTIALS = re.compile(r"((?:\w+:/{1,2})?[^\s/:@'\"(\[]*+):\S*@")
"""Matches the user and password of an address inside a sentence.

The address may lack its scheme (``user:password@host``) or have one slash only
(``http:/user:password@host``).
"""


_QUERY_SECRET = re.compile(
    r"([?&][^=&\s]*(?:key|token|secret|passw|signature|credential|auth|\bsig|\bcode)[^=&\s]*=)[^&#\s'\"<>]+",
    re.IGNORECASE,
)
"""Matches a parameter of an address that is a secret by its name, up to its value."""

_CLOUD_ID = re.compile(r"[^:/@\s]*:([A-Za-z0-9+/]{8,}={0,2})")


def resolved(address: str) -> str:
    """Return the URL of Elasticsearch for a Cloud ID (``name:base64``), and other addresses unchanged.

    The second part of a Cloud ID holds, between ``$``, the domain with an optional port, the id of
    Elasticsearch and that of Kibana.
    """
    found = _CLOUD_ID.fullmatch(address)
    if found is None:
        return address
    try:
        domain, _, rest = b64decode(found[1], validate=True).decode("ascii").partition("$")
    except ValueError:
        return address
    host, colon, port = domain.partition(":")
    cluster = rest.partition("$")[0]
    return f"https://{cluster}.{host}:{port if colon else 443}" if cluster and host else address


def said_of(message: str) -> str:
    """Return what aiohttp says about a connection that failed, without the name of its default TLS settings.

    It names them for addresses with ``http`` too.
    """
    return message.replace(" ssl:default", "")


def masked(address: str) -> str:
    """Return an address with ``***`` in place of its password, and of secrets in its query.

    ``address`` may also be a text that ends in an address. Everything between the user and the last ``@`` is
    treated as a password, even where the text is not a URL: a person who forgets ``http://`` still writes a
    password.
    """
    address = _QUERY_SECRET.sub(r"\1***", address)
    before, at, host = address.rpartition("@")
    if not at:
        return address
    scheme, slashes, credentials = before.partition("://")
    # A password may begin with two slashes: user://password@host.
    if not slashes or not scheme.lower().endswith(("http", "https")):
        scheme, slashes, credentials = "", "", before
    user = credentials.partition(":")[0]
    return f"{scheme}{slashes}{user}:***@{host}"


def masked_in(sentence: str) -> str:
    """Return a sentence with every password of an address in it masked, and secrets in its query.

    Use it for messages of other libraries: they may repeat an address with its password.
    """
    sentence = _QUERY_SECRET.sub(r"\1***", sentence) if "=" in sentence else sentence
    return _CREDENTIALS.sub(r"\1:***@", sentence) if "@" in sentence else sentence


def query_secrets(address: str) -> list[str]:
    """Return the values in an address's query that are secrets by their names, as they are and decoded."""
    values = [found[0].removeprefix(found[1]) for found in _QUERY_SECRET.finditer(address)]
    return [form for value in values for form in {value, unquote_plus(value)}]


def has_credentials(address: str) -> bool:
    """Return whether an address holds a user or a password. Either may be empty: an ``@`` is enough."""
    return "@" in address
