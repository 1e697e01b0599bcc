"""Load the model that a user names: bundled, installed, an exported folder, a Hub repository or a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.batch_runner import threads_for
from ..engine.pool import Pool
from ..engine.session import CPU
from ..errors import SettingsError
from ..settings import BUNDLED_EMBEDDER, BUNDLED_RERANKER, Settings
from . import LoadedEmbedder, LoadedReranker
from .access import Access
from .contracts import CalibrationRecord
from .embedder_spec import parse_embedder
from .finding import MODEL_PACKAGES, folder_here, manifest_of, may_be_on_hub, model_folder, reranker_manifest
from .instructions import check_instruction, instruction_for
from .local.bi_encoder import BiEncoder
from .local.cross_encoder import CrossEncoder
from .local.decoder import Decoder
from .local.faster import chosen
from .local.local import LocalReranker
from .local.monot5 import MonoT5
from .manifest import ModelKind, Precision, read_manifest
from .measuring import measure_of
from .spec import ModelSpec, name_and_model, name_fault, parse_model
from .stand_in import StandIn
from .wrappers.cached import ScoreCache, cached
from .wrappers.cascade import Cascade, cascade, cascade_name

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "LOCAL",
    "MODEL_PACKAGES",
    "calibration_of",
    "check_embedder",
    "check_instruction",
    "check_reranker",
    "embedder_of",
    "folder_here",
    "instruction_for",
    "load_embedder",
    "load_reranker",
    "local_reranker",
    "may_be_on_hub",
    "model_folder",
    "reranker_manifest",
    "reranker_of",
    "served_embedders",
    "served_names",
    "tokenizer_for",
]

LOCAL: dict[ModelKind, type[LocalReranker]] = {
    "cross-encoder": CrossEncoder,
    "monot5": MonoT5,
    "decoder": Decoder,
}


def load_reranker(
    model: str | Path = BUNDLED_RERANKER,
    *,
    name: str | None = None,
    threads: int = 0,
    pool: Pool | None = None,
    access: Access | None = None,
    cache: ScoreCache | None = None,
    provider: str = CPU,
    variant: Precision | None = None,
    instruction: str | None = None,
) -> LoadedReranker:
    """Return the reranker that ``model`` names.

    ``model`` is one of these: the name of a bundled model or of a model from an installed package; an
    exported folder; the Hub id of an exported repository; ``cohere:MODEL``; ``remote:URL`` or
    ``remote:DIALECT:URL`` for another sidecar or rerank service; ``cascade:SHARE+FIRST+MODEL`` or
    ``cascade:topN+FIRST+MODEL`` for two rerankers in a row.

    ``name`` replaces the model's own name when it is served. ``threads`` is the number of runs side by side,
    0 for one per core (of the CPU). ``pool`` is a pool of threads that several models share. ``cache``
    remembers scores of local models; scores of services are not remembered, because a service may change its
    model under the same name. ``provider`` is the ONNX Runtime execution provider that runs the model.
    ``variant`` is the precision of local models; None for the faster one of a folder that has two
    (``local.faster``). ``instruction`` says to a decoder what makes a passage relevant; None for the model's
    own.

    Raises ModelFolderError when the model is not found or is not a reranker, SettingsError for an address or
    a key that cannot be used and for an instruction to a reranker that takes none, MissingExtraError when
    Cohere's SDK is not installed.
    """
    access = access or Access()
    spec = parse_model(model)
    if instruction is not None:
        check_instruction([model])
    if spec.kind == "cascade":
        load = partial(load_reranker, access=access, cache=cache, provider=provider, variant=variant)
        told = [instruction_for(stage, instruction) for stage in spec.models]
        loads = [partial(load, stage, instruction=own) for stage, own in zip(spec.models, told, strict=True)]
        return _cascade(spec, name, threads, pool, provider, loads)
    if spec.kind == "cohere":
        from .hosted.cohere import CohereReranker  # noqa: PLC0415 the SDK is an extra

        return CohereReranker(
            spec.model, name=name, api_key=access.cohere_api_key, base_url=access.cohere_url
        )
    if spec.kind == "remote":
        from .hosted.remote import RemoteReranker  # noqa: PLC0415 needed by those who name an address

        return RemoteReranker(
            spec.model, dialect=spec.dialect, scale=spec.scale, name=name, api_key=access.remote_api_key
        )
    local = local_reranker(
        model,
        name=name,
        threads=threads,
        pool=pool,
        provider=provider,
        variant=variant,
        instruction=instruction,
    )
    return local if cache is None else cached(local, cache, local.identity)


def reranker_of(
    settings: Settings, model: str | None = None, *, cache: ScoreCache | None = None
) -> LoadedReranker:
    """Return the reranker ``model``, or the one of the settings, with the settings' threads and keys."""
    return load_reranker(
        model or settings.reranker,
        threads=settings.threads,
        access=Access.of(settings),
        cache=cache,
        provider=settings.execution_provider,
        variant=settings.precision,
        instruction=settings.instruction,
    )


def embedder_of(
    settings: Settings, model: str | None = None, *, tokenizer: Path | None = None
) -> LoadedEmbedder:
    """Return the embedder ``model``, or the one of the settings, with the settings' threads and keys."""
    return load_embedder(
        model or settings.embedder,
        threads=settings.threads,
        provider=settings.execution_provider,
        access=Access.of(settings),
        tokenizer=tokenizer,
    )


def _cascade(
    spec: ModelSpec,
    name: str | None,
    threads: int,
    pool: Pool | None,
    provider: str,
    loads: Iterable[Callable[..., LoadedReranker]],
) -> Cascade:
    """Return a cascade whose rerankers share a pool of threads but not their scores in the cache."""
    shared = pool or Pool(threads_for(provider, threads))
    loaded: list[LoadedReranker] = []
    try:
        for load in loads:
            loaded.append(load(pool=shared))  # noqa: PERF401 if one fails, the others are closed below
    except BaseException:
        for reranker in loaded:
            reranker.close()
        if pool is None:
            shared.close()
        raise
    first, then = loaded
    return cascade(
        first,
        then,
        share=spec.share,
        top=spec.top,
        stand_in=stand_in_of(spec),
        name=name,
        pool=None if pool is shared else shared,
    )


def stand_in_of(spec: ModelSpec) -> StandIn | None:
    """Return what the first model of a cascade was fitted to say of the second one, None if it was not.

    Raises SettingsError when a cascade makes sure of its best documents and its first model was not fitted to
    the second one.
    """
    first, then = (None if parse_model(model).hosted else reranker_manifest(model) for model in spec.models)
    fitted = None if first is None else first.stand_in
    if fitted and then and fitted.sha256 == then.files[then.variants[then.default_variant]].sha256:
        return fitted
    if spec.top is None:
        return None
    of = "" if fitted is None else f" (it was fitted to another file of {fitted.model})"
    cheap, better = spec.models
    raise SettingsError(
        f"{spec.text}: {cheap} was not fitted to {better}{of}, so it is not known how far off its logits may "
        f"be; run es-rerank bench cascade {cheap} {better} --write, or write a share instead, as in "
        "cascade:0.3+FIRST+MODEL"
    )


def local_reranker(
    model: str | Path,
    *,
    name: str | None = None,
    threads: int = 0,
    pool: Pool | None = None,
    provider: str = CPU,
    variant: Precision | None = None,
    instruction: str | None = None,
) -> LocalReranker:
    """Return the reranker of a bundled or installed name, of a folder or of a Hub id: a cross-encoder, a
    monoT5 or a decoder, as its manifest states. Only a decoder takes an ``instruction``.

    Raises ModelFolderError when the model is not found or is not a reranker.
    """
    folder = model_folder(model)
    manifest = manifest_of(folder)
    used = pool.threads if pool else threads
    variant = chosen(folder, manifest, variant, threads=used, provider=provider).precision
    made = partial(Decoder, instruction=instruction) if manifest.kind == "decoder" else LOCAL[manifest.kind]
    return made(folder, name=name, threads=threads, pool=pool, provider=provider, variant=variant)


def check_reranker(model: str | Path, variant: Precision | None = None) -> str:
    """Return the name of the reranker that ``load_reranker`` would load, after all checks that need no
    loading. ``variant``: a precision that it must have.

    Raises ModelFolderError or SettingsError when a check fails.
    """
    spec = parse_model(model)
    if spec.kind == "cascade":
        first, then = (check_reranker(stage, variant) for stage in spec.models)
        stand_in_of(spec)
        return cascade_name(first, then)
    if not spec.hosted:
        manifest = reranker_manifest(model)
        manifest.variant(variant)
        return manifest.name
    if not spec.model:
        raise SettingsError(f"{spec.text} names nothing behind the colon; write cohere:MODEL or remote:URL")
    return spec.text


def served_names(
    rerankers: Iterable[str], variant: Precision | None = None, instruction: str | None = None
) -> list[tuple[str | None, str]]:
    """Return (name, model) for each reranker to serve, after ``check_reranker`` has checked every one.

    Each item of ``rerankers`` is ``MODEL`` or ``NAME=MODEL``; without NAME, the returned name is None. Raises
    what ``check_reranker`` raises, and SettingsError when two rerankers have the same name, or when none of
    them takes the ``instruction``.
    """
    wanted = [name_and_model(item) for item in rerankers]
    checked = [(name, check_reranker(model, variant)) for name, model in wanted]
    names = [name or own for name, own in checked]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise SettingsError(
            f"two rerankers are called {twice}; give one of them another name, as in OTHER=MODEL"
        )
    if instruction is not None:
        check_instruction([model for _, model in wanted])
    return wanted


def served_embedders(embedders: Iterable[str], rerankers: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return (name, model) for each embedder to serve, after all checks that need no loading.

    Each item of ``embedders`` is ``MODEL`` or ``NAME=MODEL``; without NAME, the model's own name is returned,
    or what the address of a service says.
    ``rerankers``: those that are served beside them, which ``served_names`` has checked.
    Raises what ``check_embedder`` raises, and SettingsError when two embedders have the same name, or a
    reranker and an embedder: a request could not name the embedder.
    """
    wanted = [name_and_model(item) for item in embedders]
    owned = [check_embedder(model) for _, model in wanted]
    named = [(name or own, model) for (name, model), own in zip(wanted, owned, strict=True)]
    fault = name_fault([(name, own) for (name, _), own in zip(named, owned, strict=True)])
    if fault is not None:
        raise SettingsError(fault)
    others = {name or check_reranker(model) for name, model in map(name_and_model, rerankers)}
    both = next((name for name, _ in named if name in others), None)
    if both is not None:
        raise SettingsError(
            f"a reranker and an embedder are called {both}; give one of them another name, as in OTHER=MODEL"
        )
    return named


def check_embedder(model: str | Path) -> str:
    """Return the name of the embedder that ``load_embedder`` would load, after all checks that need no
    loading. The name of a service's model is known when it answers: here it is the model or the place in the
    address.

    Raises ModelFolderError for a model that is not found or is not a bi-encoder, SettingsError for a name of
    a service that cannot be used.
    """
    spec = parse_embedder(model)
    if not spec.hosted:
        return read_manifest(model_folder(model), kind="bi-encoder").name
    if spec.kind != "remote":
        return spec.name_with(spec.model)
    from .hosted.http_service import service_address  # noqa: PLC0415 needed by those who name an address

    address = service_address(spec.model, "remote:")
    return address.params.get("model") or address.netloc.decode()


def calibration_of(model: str | Path) -> CalibrationRecord:
    """Return a model's calibration. Raises SettingsError when the model has none, and what
    ``reranker_manifest`` raises.
    """
    calibration = reranker_manifest(model).calibration
    if calibration is None:
        raise SettingsError(
            f"{model} has no calibration; learn one with: es-rerank calibrate, or leave --calibration out"
        )
    return calibration


def load_embedder(
    name_or_folder: str | Path = BUNDLED_EMBEDDER,
    *,
    threads: int = 0,
    pool: Pool | None = None,
    provider: str = CPU,
    access: Access | None = None,
    tokenizer: Path | None = None,
    variant: Precision | None = None,
) -> LoadedEmbedder:
    """Return the embedder that a name means: the bi-encoder of a bundled or installed name, of an exported
    folder, or of the Hub id of an exported repository; or ``openai:MODEL``, ``cohere:MODEL``, ``remote:URL``
    or ``remote:DIALECT:URL`` for a service, which gets the texts (see ``embedder_spec``). ``tokenizer``: the
    folder or file of the tokenizer by which the passages of a service's model are cut; without it, the one of
    an installed model of this name, or else the bundled one. ``variant``: the precision of a local model,
    None for the one that its manifest names on every machine: vectors of an index must be of one precision.

    Raises ModelFolderError when the model is not found or is not a bi-encoder, SettingsError for an address
    or a key that cannot be used. A service is not asked yet.
    """
    spec = parse_embedder(name_or_folder)
    if spec.hosted:
        from .hosted import named_embedders, remote_embedder  # noqa: PLC0415 needed by those who name a service

        access, measure = access or Access(), measure_of(tokenizer, _tokenizer_folder)
        if spec.kind == "openai":
            return named_embedders.openai_embedder(spec, access.openai_url, access.openai_api_key, measure)
        if spec.kind == "cohere":
            return named_embedders.cohere_embedder(spec, access.cohere_url, access.cohere_api_key, measure)
        return remote_embedder.RemoteEmbedder(
            spec, spec.model, dialect=spec.dialect, api_key=access.remote_api_key, measure=measure
        )
    if tokenizer is not None:
        raise SettingsError(f"--tokenizer is for an embedder elsewhere; {spec.text} has its own")
    return BiEncoder(
        model_folder(name_or_folder), threads=threads, pool=pool, provider=provider, variant=variant
    )


def tokenizer_for(model: str, given: Path | None = None) -> tuple[Tokenizer, str | None]:
    """Return the tokenizer that cuts passages for a service's model, and its name; see ``measure_of``."""
    return measure_of(given, _tokenizer_folder)(model)


def _tokenizer_folder(model: str) -> Path | None:
    """Return the folder of a bundled or installed model of this name, None if there is none."""
    known = model == BUNDLED_EMBEDDER or bool(entry_points(group=MODEL_PACKAGES, name=model))
    return model_folder(model) if known else None
