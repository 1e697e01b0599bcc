"""``es-rerank key``: make an API key of the sidecar."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from ..errors import SettingsError
from .output import Json, print_json, print_text, stderr

_RANDOM_BYTES = 32
"""As many as a SHA-256 has: to guess the key is as hard as to find a text for a hash."""


def key(
    name: Annotated[
        str, typer.Argument(help="Name of the key: letters, digits, hyphens and underscores.", metavar="NAME")
    ],
    as_json: Json = False,
) -> None:
    """Make an API key of the sidecar. Its table for the file of keys goes to stdout, the key itself to
    stderr.
    """
    from ..sidecar.access.keys import KEY_NAME, SETTING, key_hash

    if not KEY_NAME.fullmatch(name):
        raise SettingsError(
            f"[{name}] is no name of a key; use 1 to 40 letters, digits, hyphens and underscores"
        )
    made = f"esr_{secrets.token_urlsafe(_RANDOM_BYTES)}"
    table = f'[{name}]\nsha256 = "{key_hash(made)}"\n'
    if as_json:
        print_json({"name": name, "key": made, "table": table})
        return
    print_text(table)
    stderr.print(
        f"The key is {made} and is stored nowhere. Callers send it as Authorization: Bearer KEY. "
        f"Add the table on stdout to the file that {SETTING} names, and send SIGHUP to the sidecar.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
