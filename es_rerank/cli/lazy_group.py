"""A group of commands, each of which is imported when it is asked for.

So no command waits for what another one needs, and help waits for none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer._click import Command, Context


class Entry(NamedTuple):
    """A command: the name of its file in this package, and its help.

    The help stands here a second time, so that a list of commands imports none. A test compares the two.
    """

    module: str
    help: str


class LazyGroup(TyperGroup):
    """A group that imports a command when it is the one that is asked for.

    A subclass gives ``entries`` by name of command. The file of an entry has a function, or a typer
    application, of that name. Help and completion list the commands from the entries alone.
    """

    entries: ClassVar[Mapping[str, Entry]]

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 whatever typer knows of a group
        super().__init__(**attributes)
        self.commands = cast("MutableMapping[str, Command]", _Commands(self.entries))

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 typer's signature
        """Return the names, in the order of the entries."""
        return list(self.entries)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:  # noqa: ARG002 typer's signature
        """Return what a list shows of a command: its name and help, without its options."""
        entry = self.entries.get(cmd_name)
        return None if entry is None else TyperCommand(cmd_name, help=entry.help)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Return the command that ``args`` begin with, imported now, and the arguments behind its name."""
        name, _, behind = super().resolve_command(ctx, args)
        return name, None if name is None else self.commands[name], behind


class _Commands(Mapping[str, Any]):
    """The commands themselves by name, each imported when it is read."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Command:
        found = getattr(import_module(f".{self._entries[name].module}", __package__), name)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        alone = typer.Typer(add_completion=False)
        alone.command(name)(found)
        return typer.main.get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
