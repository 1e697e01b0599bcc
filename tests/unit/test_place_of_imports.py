"""Where an import is written: what may be replaced, and what somebody else wrote in the meantime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ready_made import repository

from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.models.manifest import MANIFEST, TOKENIZER
from es_rerank.models.placing import free_place
from es_rerank.models.ready_made.importing import import_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WRITTEN = [MANIFEST, "model.onnx", TOKENIZER]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("source") / "repo")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("before", [False, True], ids=["absent", "empty"])
def test_what_comes_into_out_during_an_import_stays(source: Path, tmp_path: Path, before: bool) -> None:
    out = tmp_path / "out"
    if before:
        out.mkdir()

    def interrupted(*_: object) -> Any:
        out.mkdir(exist_ok=True)
        (out / "thesis.txt").write_text("mine")
        return ()

    with pytest.raises(SettingsError, match="was filled by somebody else in the meantime"):
        import_model(str(source), out, rewrite=interrupted)
    assert (out / "thesis.txt").read_text() == "mine"
    assert names(tmp_path) == ["out"]


def test_behind_a_link_the_folder_that_it_names_is_filled(source: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for name in ("disk", "not there yet"):
        link = tmp_path / f"link to {name}"
        link.symlink_to(tmp_path / name)
        assert import_model(str(source), link).name == name
        assert link.is_symlink()
        assert names(tmp_path / name) == WRITTEN


def test_places_that_cannot_be_replaced_are_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place, said in {
        "/": "exists already",
        str(tmp_path / "file"): "is a file",
        str(tmp_path / "loop"): "cannot be read",
    }.items():
        with pytest.raises(SettingsError, match=said):
            free_place(Path(place), force=False)
    with pytest.raises(SettingsError, match=r"is a mount point.*name a folder inside it"):
        free_place(Path("/"), force=True)
    with pytest.raises(SettingsError, match="is a file; choose another place"):
        free_place(tmp_path / "file", force=True)


def test_a_place_where_nothing_may_be_written_is_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((ModelFolderError, SettingsError)):
        import_model(str(source), tmp_path / "file/out")
