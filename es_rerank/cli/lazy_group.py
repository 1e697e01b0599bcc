"""A group of commands that imports each command only when it is called.

So no command waits for the imports of another one, and help waits for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from functools import wraps
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup

from .output import log_to_stderr

if TYPE_CHECKING:
    from typer._click import Command, Context


class Entry(NamedTuple):
    """A command: the name of its file in this package, and its help text.

    The help text is a copy of the command's docstring, so that a list of commands imports none. A test
    compares the two.
    """

    module: str
    help: str


class LazyGroup(TyperGroup):
    """A group that imports a command when it is called.

    A subclass gives ``entries``, by name of command. The file of an entry has a function, or a typer
    application, of that name. Help and completion list the commands from ``entries`` only.
    """

    entries: ClassVar[Mapping[str, Entry]]

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 passed on to typer
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Command]", _Commands(self.entries))

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 typer's signature
        """Return the names, in the order of the entries."""
        return list(self.entries)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:  # noqa: ARG002 typer's signature
        """Return a command for lists: its name and help, without its options."""
        entry = self.entries.get(cmd_name)
        return None if entry is None else TyperCommand(cmd_name, help=entry.help)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Return the command that ``args`` begin with, imported now, and the arguments after its name."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else self.commands[name], rest


def _with_log(body: Any) -> Any:  # noqa: ANN401 whatever typer made of the command's function
    """Return the body of a command, with its log sent to stderr. Help and completion do not run it."""

    @wraps(body)
    def run(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        log_to_stderr()
        return body(*arguments, **options)

    return run


class _Commands(Mapping[str, Any]):
    """The commands by name; reading a command imports it."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Command:
        file = self._entries[name].module
        # ``import`` cannot be the name of a function: then the function has the name of its file.
        command = getattr(import_module(f".{file}", __package__), file if iskeyword(name) else name)
        if isinstance(command, typer.Typer):
            return typer.main.get_command(command)
        alone = typer.Typer(add_completion=False)
        alone.command(name)(command)
        built = typer.main.get_command(alone)
        built.callback = _with_log(built.callback)
        return built

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
