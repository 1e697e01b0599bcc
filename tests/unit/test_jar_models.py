"""Embedders come out of jars whole and unchanged, or not at all; Maven is played by a script."""

from __future__ import annotations

import json
import random
import resource
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import make_program
from jar_models import ARTIFACT, local_repository, tiny_jar

from es_rerank.cli.app import app
from es_rerank.errors import ModelFolderError, SettingsError
from es_rerank.models.load import check_embedder, check_reranker, load_embedder, model_folder
from es_rerank.models.manifest import read_manifest, write_manifest
from es_rerank.models.ready_made import ImportOptions, maven

COPIES = """
options = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("-D"))
with open(os.environ["CALLS"], "a") as calls:
    calls.write(options["artifact"] + "\\n")
source = pathlib.Path(os.environ["JAR"])
pathlib.Path(options["outputDirectory"], source.name).write_bytes(source.read_bytes())
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without Maven's cache, and a PATH without Maven."""
    folder = tmp_path / "a home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return folder


@pytest.fixture
def jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return tiny_jar(tmp_path / "a jar" / "tiny.jar", monkeypatch)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "an out"
    folder.mkdir()
    return folder


def test_a_jar_at_a_path_is_known_by_what_is_in_it(jar: Path, out: Path) -> None:
    renamed = jar.rename(jar.with_name("renamed by somebody.JAR"))
    assert maven.in_a_jar(str(renamed))
    manifest = maven.unpacked(str(renamed), out)
    write_manifest(out, manifest)
    assert read_manifest(out, kind="bi-encoder") == manifest
    assert manifest.name == "tiny"
    assert manifest.licence == "MIT"
    assert manifest.source == f"maven:dev.langchain4j:{ARTIFACT}:0.36.2"
    assert not manifest.by_row(None)


def test_a_jar_in_mavens_cache_needs_neither_maven_nor_a_network(jar: Path, home: Path, out: Path) -> None:
    jar.rename(local_repository(home))
    assert maven.unpacked("maven:tiny", out).name == "tiny"


def test_maven_fetches_a_jar_and_its_copy_does_not_stay(
    jar: Path, home: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_program(tmp_path / "bin", "mvn", COPIES)
    monkeypatch.setenv("CALLS", str(home / "calls"))
    monkeypatch.setenv("JAR", str(jar))
    assert maven.unpacked("maven:tiny", out).name == "tiny"
    assert (home / "calls").read_text() == f"dev.langchain4j:{ARTIFACT}:0.36.2:jar\n"
    assert sorted(path.name for path in out.iterdir()) == ["model_int8.onnx", "tokenizer.json"]


@pytest.mark.usefixtures("home", "jar")
def test_without_maven_and_without_the_jar_the_message_says_what_is_missing(out: Path) -> None:
    with pytest.raises(
        ModelFolderError, match=rf"{ARTIFACT}-0\.36\.2\.jar, .* is not in ~/.m2 and Maven \(mvn\)"
    ):
        maven.unpacked("maven:tiny", out)


@pytest.mark.usefixtures("home", "jar")
def test_a_network_that_fails_is_told_in_mavens_words(tmp_path: Path, out: Path) -> None:
    make_program(tmp_path / "bin", "mvn", "print('[ERROR] Unknown host repo'); sys.exit(1)")
    with pytest.raises(ModelFolderError, match=r"0\.36\.2:jar: \[ERROR\] Unknown host repo; check the netw"):
        maven.unpacked("maven:tiny", out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", ["maven:", "maven:bge", "maven:../x", "maven:dev.langchain4j:x:1"])
def test_a_name_that_is_not_known_gets_the_list_of_names(name: str, out: Path) -> None:
    assert maven.in_a_jar(name)
    with pytest.raises(SettingsError, match=r"write one of maven:bge-small-en-v15, maven:bge-small-zh-v15, "):
        maven.unpacked(name, out)


@pytest.mark.parametrize("name", ["org/name", "bge-small-zh-v15", "xmaven:x", "jar"])
def test_what_is_no_jar_is_left_to_others(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.jar").mkdir()
    assert not maven.in_a_jar(name)
    assert not maven.in_a_jar(str(tmp_path / "folder.jar"))


def test_a_jar_that_is_not_there_is_not_looked_for_on_the_hub(out: Path) -> None:
    for load in (lambda path: maven.unpacked(path, out), load_embedder):
        with pytest.raises(ModelFolderError, match=r"no\.jar cannot be read \(No such file or directory\)"):
            load("no.jar")


def test_of_a_jar_with_one_changed_byte_everything_comes_or_nothing(jar: Path, out: Path) -> None:
    whole, draw = jar.read_bytes(), random.Random(25)
    maven.unpacked(str(jar), out)
    right = {path.name: path.read_bytes() for path in out.iterdir()}
    refused = 0
    for _ in range(60):
        place = draw.randrange(len(whole))
        changed = bytearray(whole)
        changed[place] ^= 1 << draw.randrange(8)
        jar.write_bytes(changed[: draw.choice((len(whole), len(whole), place))])
        try:
            maven.unpacked(str(jar), out)
        except ModelFolderError:
            refused += 1
        else:
            assert {path.name: path.read_bytes() for path in out.iterdir()} == right
    assert refused > 40


def test_a_damaged_jar_in_mavens_cache_has_to_be_deleted(jar: Path, home: Path, out: Path) -> None:
    kept = local_repository(home)
    kept.write_bytes(jar.read_bytes()[:-100])
    with pytest.raises(ModelFolderError, match=r"is damaged \(.*delete Maven's copy in .*tiny-q/0.36.2 and"):
        maven.unpacked("maven:tiny", out)


def test_other_files_of_the_same_size_are_refused(jar: Path, out: Path) -> None:
    with zipfile.ZipFile(jar) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["tiny-q.onnx"] = bytes(len(files["tiny-q.onnx"]))
    with zipfile.ZipFile(jar, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(ModelFolderError, match=r"tiny-q\.onnx is not the file that was measured"):
        maven.unpacked(str(jar), out)


def test_a_jar_of_another_model_is_not_taken_for_the_one_that_was_named(
    home: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_jar(tmp_path / "jars" / "other.jar", monkeypatch)
    other.rename(local_repository(home, maven.MODELS["e5-small-v2"].artifact))
    with pytest.raises(ModelFolderError, match=r"does not hold .* of e5-.*e5-small-v2-q-0\.36\.2\.jar$"):
        maven.unpacked("maven:e5-small-v2", out)


def test_prefixes_and_a_shorter_input_replace_what_is_known(jar: Path, out: Path) -> None:
    options = ImportOptions(name="mine", max_length=64, query_prefix="", only="int8", kind="bi-encoder")
    manifest = maven.unpacked(str(jar), out, options)
    assert (manifest.name, manifest.max_length) == ("mine", 64)
    assert manifest.bi_encoder == maven.MODELS["tiny"].contract.model_copy(update={"query_prefix": ""})


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (ImportOptions(kind="cross-encoder"), "--kind cross-encoder does not fit maven:tiny"),
        (ImportOptions(only="fp32"), "--only fp32 does not fit"),
        (ImportOptions(graph="onnx/model.onnx"), "--graph onnx/model.onnx does not fit"),
        (ImportOptions(pooling="mean"), "--pooling mean does not fit"),
        (ImportOptions(licence="GPL"), "--licence GPL does not fit"),
        (ImportOptions(max_length=513), "--max-length 513 is more than the 512 positions"),
    ],
)
def test_an_option_that_says_what_is_known_is_refused_and_not_ignored(
    options: ImportOptions, fault: str, out: Path
) -> None:
    with pytest.raises(SettingsError, match=fault):
        maven.unpacked("maven:tiny", out, options)
    assert list(out.iterdir()) == []


def test_an_embedder_is_loaded_by_its_name_and_maven_is_asked_once(
    jar: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_program(tmp_path / "bin", "mvn", COPIES)
    for name, value in (("CALLS", home / "calls"), ("JAR", jar), ("XDG_CACHE_HOME", tmp_path / "a cache")):
        monkeypatch.setenv(name, str(value))
    with ThreadPoolExecutor(4) as threads:
        folders = list(threads.map(lambda _: model_folder("maven:tiny"), range(8)))
    assert len(set(folders)) == 1
    assert (home / "calls").read_text().count("\n") == 1
    (tmp_path / "bin" / "mvn").unlink()
    with load_embedder("maven:tiny") as by_name, load_embedder(jar) as by_jar:
        assert by_name.name == by_jar.name == check_embedder("maven:tiny") == "tiny"
        assert by_name.embed(["moon"]).tobytes() == by_jar.embed(["moon"]).tobytes()
    (folders[0] / "tokenizer.json").unlink()
    load_embedder(jar).close()
    assert (folders[0] / "tokenizer.json").is_file()


@pytest.mark.usefixtures("home")
def test_a_jar_is_no_reranker(jar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelFolderError, match="holds a bi-encoder, which is not a reranker"):
        check_reranker(str(jar))


def test_a_jar_becomes_a_folder_by_the_command(
    jar: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["import", str(jar), str(out), "--query-prefix", "ask: ", "--json"])
    assert ended.value.code in (None, 0)
    printed = json.loads(capsys.readouterr().out)
    manifest = read_manifest(out, kind="bi-encoder")
    assert (printed["name"], printed["bi_encoder"]["query_prefix"]) == ("tiny", "ask: ")
    assert manifest.name == "tiny" != out.name
    assert [(each.language, each.of) for each in manifest.sense or ()] == [("en", 10)]


def test_a_full_disk_is_told_as_such(jar: Path, out: Path) -> None:
    with _files_of_at_most(1_000), pytest.raises(ModelFolderError, match=r"cannot be unpacked into .*disk"):
        maven.unpacked(str(jar), out)


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
