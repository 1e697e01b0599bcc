"""``es-rerank plugin``: make the Elasticsearch plugin's archive, install it, remove it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import typer

from .lazy_group import Entry, LazyGroup
from .output import Json, print_json, stderr, stdout

_IDENTIFIERS = "the ingest processor es_rerank_passages, the retrievers es_rrf, es_linear and es_rerank"

_Home = Annotated[
    Path,
    typer.Argument(
        metavar="ES_HOME",
        help="Folder of Elasticsearch, the one with bin/elasticsearch-plugin.",
        show_default=False,
    ),
]


class _PluginCommands(LazyGroup):
    """The commands about the plugin."""

    entries: ClassVar = {
        "build": Entry(
            "plugin",
            "Write the plugin's archive for one version of Elasticsearch, and its SHA-512, for "
            "`elasticsearch-plugin install`.",
        ),
        "install": Entry(
            "plugin",
            "Install the plugin in an Elasticsearch on this machine. An installed one is replaced; restart "
            "the node afterwards.",
        ),
        "remove": Entry(
            "plugin",
            "Remove the plugin from an Elasticsearch on this machine, and say what still uses it.",
        ),
    }


plugin = typer.Typer(
    name="plugin",
    cls=_PluginCommands,
    add_completion=False,
    no_args_is_help=True,
    help="Put retrievers, query vectors and passages into Elasticsearch itself, as a plugin.",
)


@plugin.callback()
def _options() -> None:
    """Take no options: every step is a command of its own."""


def build(
    elasticsearch_version: Annotated[
        str | None,
        typer.Option(
            help="Elasticsearch to make it for, X.Y.Z; without it, the version that `up` starts.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write the plugin's archive for one version of Elasticsearch, and its SHA-512, for
    `elasticsearch-plugin install`.
    """
    from ..node import VERSION
    from ..node.plugin import archive
    from ..node.plugin.installation import package_version

    elasticsearch = elasticsearch_version or VERSION
    made = archive.build(elasticsearch, package_version(), out)
    _warn(untested := archive.untested(elasticsearch))
    if as_json:
        print_json(
            {
                "ok": True,
                "path": str(made.path),
                "sha512": made.sha512,
                "version": package_version(),
                "elasticsearch_version": elasticsearch,
                "tested": untested is None,
            }
        )
        return
    _say(f"{made.path}\nSHA-512 {made.sha512}, also in {made.checksum.name}")
    _say(f"install it with: bin/elasticsearch-plugin install {made.path.resolve().as_uri()}")


def install(
    es_home: _Home,
    elasticsearch_version: Annotated[
        str | None,
        typer.Option(
            help="Version that ES_HOME must have; without it, any that the plugin supports.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Install the plugin in an Elasticsearch on this machine. An installed one is replaced; restart the node
    afterwards.
    """
    from ..node.plugin import installation

    done = installation.install(es_home, elasticsearch_version)
    _warn(done.untested)
    if as_json:
        print_json(
            {
                "ok": True,
                "home": str(es_home),
                "version": done.version,
                "replaced": done.replaced,
                "elasticsearch_version": done.elasticsearch,
                "tested": done.untested is None,
            }
        )
        return
    instead = f" in place of {done.replaced}" if done.replaced else ""
    _say(f"installed the plugin {done.version}{instead} in Elasticsearch {done.elasticsearch} at {es_home}")
    _say(
        "install it on every node, name the sidecar by es_rerank.url in each elasticsearch.yml, and restart "
        "the nodes"
    )


def remove(es_home: _Home, as_json: Json = False) -> None:
    """Remove the plugin from an Elasticsearch on this machine, and say what still uses it."""
    from ..node.plugin import installation

    done = installation.remove(es_home)
    if as_json:
        print_json(
            {
                "ok": True,
                "home": str(es_home),
                "removed": done.version,
                "settings": [
                    {"file": str(setting.file), "line": setting.line, "name": setting.name}
                    for setting in done.settings
                ],
                "secure_settings": None if done.secure_settings is None else list(done.secure_settings),
            }
        )
        return
    _say(
        f"removed the plugin {done.version} from {es_home}"
        if done.version
        else f"the plugin is not installed in {es_home}: nothing to remove"
    )
    for setting in done.settings:
        _say(
            f"{setting.file}, line {setting.line}: delete {setting.name}; without the plugin, a node with "
            "this setting does not start"
        )
    for name in done.secure_settings or ():
        _say(
            f"delete {name} with bin/elasticsearch-keystore remove {name}; without the plugin, a node with "
            "this setting does not start"
        )
    if done.secure_settings is None:
        _say(
            "the keystore cannot be read; delete the names that begin with es_rerank. from it, as "
            "bin/elasticsearch-keystore list prints them"
        )
    _say(
        f"Elasticsearch refuses what still names {_IDENTIFIERS}: delete such pipelines, index templates that "
        "use them, and queries"
    )


def _warn(sentence: str | None) -> None:
    if sentence is not None:
        stderr.print(f"[yellow]note:[/] {sentence}", highlight=False, soft_wrap=True)


def _say(sentence: str) -> None:
    stdout.print(sentence, highlight=False, markup=False, soft_wrap=True)
