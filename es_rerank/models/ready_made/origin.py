"""Where a model to import lies: a folder here, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from ...errors import ModelFolderError
from .card import CARD, LICENCES
from .hub import ask, faults, hub_fault, short_retries

_REPOSITORY = re.compile(r"\w[\w.-]*/[\w.-]+")

_STATEMENTS = frozenset(
    {
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "modules.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        CARD,
        *LICENCES,
    }
)
"""The files that say what a model is."""

_BESIDE_GRAPHS = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""Some repositories have these files beside their graphs too, or there alone."""


class Origin(Protocol):
    """A model to import. ``files`` are its files, as paths with slashes within it."""

    @property
    def name(self) -> str:
        """What the manifest states as the source."""

    @property
    def revision(self) -> str | None:
        """The commit, None where it is not known."""

    @property
    def files(self) -> Sequence[str]:
        """The files, as paths with slashes."""

    def fetch(self, names: Iterable[str]) -> Path:
        """Bring files to this machine and return the folder that holds them under their names."""


def statements(files: Iterable[str], graphs: Iterable[str]) -> list[str]:
    """Return which of the files say what the model is; ``graphs`` are those that are taken."""
    beside = {str(PurePosixPath(graph).parent / name) for graph in graphs for name in _BESIDE_GRAPHS}
    return [
        name
        for name in files
        if name in _STATEMENTS
        or name in beside
        or ("/" not in name and name.startswith("sentence_") and name.endswith("_config.json"))
    ]


def origin_of(model: str, revision: str | None) -> Origin:
    """Return the folder or the repository that a name means.

    Raises ModelFolderError for a name that is neither, and for a repository that is not reached.
    """
    folder = Path(model)
    if folder.is_dir():
        return FolderOrigin(folder)
    if folder.exists() or _REPOSITORY.fullmatch(model) is None:
        raise ModelFolderError(
            f"{model} is neither a folder here nor the id of a repository of the Hugging Face Hub, "
            "owner/name; check the name"
        )
    return HubOrigin(model, revision)


def _listed(folder: Path) -> Iterator[Path]:
    """Yield what lies in a folder and in those of its folders that say what the model is."""
    for place in (folder, folder / "onnx", folder / "1_Pooling"):
        if place == folder or place.is_dir():
            yield from place.iterdir()


class FolderOrigin:
    """A local folder in the layout of the Hub."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # The folder's name and not its path: others read the manifest, and a path says who made it.
        self.name = folder.resolve().name
        self.revision: str | None = None
        try:
            self.files = sorted(
                {
                    path.relative_to(folder).as_posix()
                    for path in (*_listed(folder), *folder.glob("*/*.onnx"))
                    if path.is_file()
                }
            )
        except OSError as error:
            raise ModelFolderError(
                f"{folder} cannot be read ({error.strerror or error}); check who may read it"
            ) from error

    def fetch(self, names: Iterable[str]) -> Path:
        """Return the folder itself. Raises ModelFolderError when a file is not in it."""
        for name in names:
            if not (self._folder / name).is_file():
                raise ModelFolderError(
                    f"{self._folder / name} is missing, though the graph needs it; copy the whole folder"
                )
        return self._folder


class HubOrigin:
    """A repository of the Hugging Face Hub, at one commit. Raises ModelFolderError when it is not reached."""

    def __init__(self, repository: str, revision: str | None = None) -> None:
        self.name = repository
        try:
            self.revision, self.files = ask(repository, revision)
        except faults() as error:
            raise hub_fault(repository, error) from error

    def fetch(self, names: Iterable[str]) -> Path:
        """Fetch files into the Hub's own cache, unless they are there; return the folder of the commit."""
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 only those who name a Hub id need it

        folder: Path | None = None
        for name in names:
            if name not in self.files:
                raise ModelFolderError(
                    f"{self.name} has no file {name}, though its graph needs it; choose another model, or "
                    f"run: es-rerank export {self.name} OUT"
                )
            try:
                with short_retries():
                    path = Path(hf_hub_download(self.name, name, revision=self.revision))
            except faults() as error:
                raise hub_fault(self.name, error) from error
            folder = path.parents[len(PurePosixPath(name).parts) - 1]
        if folder is None:
            raise ModelFolderError(f"{self.name} holds no files; check the name")
        return folder
