"""The options of ``es-rerank ingest`` for several machines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import SettingsError
from ..models import LoadedEmbedder
from ..settings import Settings, read_settings
from .source_options import tell

if TYPE_CHECKING:
    from ingest_pipelines import Ingest

_PANEL = "Several machines (extra ray)"

RunnerOption = Annotated[
    str,
    typer.Option(
        metavar="local|ray",
        help="What runs the ingest: this process, or a Ray cluster that converts, cuts, embeds and writes.",
        rich_help_panel=_PANEL,
    ),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="The Ray cluster, such as ray-head:6379; local starts one here that ends with the command.",
        show_default="RAY_ADDRESS, else a Ray on this machine, else local",
        rich_help_panel=_PANEL,
    ),
]
RayActorsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes that embed.",
        show_default="as many as the cluster has room for",
        rich_help_panel=_PANEL,
    ),
]
RayThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads of each process that embeds.",
        show_default="up to 4",
        rich_help_panel=_PANEL,
    ),
]


def check_ray_options(
    runner: str, address: str | None, actors: int | None, threads: int | None, *, dry_run: bool
) -> bool:
    """Return whether Ray runs the ingest.

    Raises SettingsError for options that do not go together, and MissingExtraError without Ray.
    """
    if runner not in ("local", "ray"):
        raise SettingsError(f"--runner is local or ray, not {runner}")
    if runner == "local":
        if address is not None or actors is not None or threads is not None:
            raise SettingsError("--ray-address, --ray-actors and --ray-threads need --runner ray")
        return False
    if dry_run:
        raise SettingsError("--dry-run measures this machine and needs no cluster; leave --runner ray out")
    from ingest_pipelines.ray_runner import check_ray

    check_ray()
    return True


def ray_ingest(
    client: Any,  # noqa: ANN401 the client of Elasticsearch
    embedder: LoadedEmbedder,
    *,
    url: str,
    settings: Settings,
    model: str,
    tokenizer: Path | None,
    address: str | None,
    actors: int | None,
    threads: int | None,
    **options: Any,  # noqa: ANN401 those of Ingest
) -> Ingest:
    """Return the ingest on a Ray cluster. ``url``: the address of the Elasticsearch of ``client``."""
    from ingest_pipelines.ray_runner.connection import Connection, Hidden
    from ingest_pipelines.ray_runner.run import RayIngest

    from .connection import BULK_TIMEOUT_S, with_port

    certificates = settings.elasticsearch_ca_certs
    connection = Connection(
        Hidden(with_port(url)),
        ca_certs=None if certificates is None else str(certificates.absolute()),
        timeout_s=BULK_TIMEOUT_S,
    )
    load: Callable[[int], LoadedEmbedder] = partial(load_there, model, tokenizer)
    return RayIngest(
        client,
        embedder,
        connection=connection,
        load=load,
        address=address,
        actors=actors,
        threads=threads or settings.threads or None,
        on_note=tell,
        **options,
    )


def load_there(model: str, tokenizer: Path | None, threads: int) -> LoadedEmbedder:
    """Load the embedder on a machine of the cluster, with the keys in its environment."""
    from ..models.load import embedder_of

    return embedder_of(read_settings().model_copy(update={"threads": threads}), model, tokenizer=tokenizer)
