"""Compiles the Elasticsearch plugin into the jars of the package. Run it by ``scripts/build-plugin``.

One jar is made for each API generation of Elasticsearch, compiled against a tested version of it. With
``--check``, nothing is compiled: the exit status is 1 when a jar was made from other sources than those in
``plugin/src``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from es_rerank.node import distribution, java
from es_rerank.node.account import default_cache
from es_rerank.node.plugin.archive import GENERATIONS, SOURCE_HASH, Generation, packed, source_hash

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "plugin" / "src"
RELEASE = "21"
"""The Java version of the classes: the oldest that Elasticsearch 9 runs on."""

_OPTIONS = (
    *("--release", RELEASE, "-proc:none", "-encoding", "UTF-8"),
    "-Xlint:all,-processing,-classfile,-this-escape,-serial,-try",
)


def sources(generation: Generation) -> list[Path]:
    """Return the source files of a generation: those of all generations and its own."""
    return sorted(path for folder in ("main", generation.name) for path in (SOURCES / folder).rglob("*.java"))


def hash_of(files: list[Path]) -> str:
    """Return the SHA-256 of the names below ``plugin/src`` and the contents of the files, as hexadecimals."""
    digest = hashlib.sha256()
    for path in files:
        for part in (path.relative_to(SOURCES).as_posix().encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def compiler() -> Path:
    """Return the ``javac`` of the newest JDK that is 21 or later."""
    found = [
        jdk
        for jdk in java.survey(os.environ)
        if jdk.version >= (int(RELEASE),) and (jdk.home / "bin" / "javac").is_file()
    ]
    if not found:
        sys.exit(f"no JDK {RELEASE} or later with javac; install one, or name its folder in JAVA_HOME")
    return max(found, key=lambda jdk: jdk.version).home / "bin" / "javac"


def build(generation: Generation, javac: Path) -> None:
    """Compile the sources of a generation and replace its jar."""
    home = distribution.fetch(default_cache(), javac.parent.parent, generation.compiled_against)
    files = sources(generation)
    with tempfile.TemporaryDirectory() as folder:
        command = [str(javac), *_OPTIONS, "-cp", f"{home / 'lib'}/*", "-d", folder, *map(str, files)]
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(f"{generation.name}: the sources do not compile")
        manifest = (
            f"Manifest-Version: 1.0\r\nBuild-Jdk-Spec: {RELEASE}\r\n"
            f"Elasticsearch-Version: {generation.compiled_against}\r\n"
            # A line of a manifest holds 72 bytes at most; a longer one goes on after a space.
            f"{SOURCE_HASH}: {hash_of(files)[:32]}\r\n {hash_of(files)[32:]}\r\n\r\n"
        )
        classes = [(path.relative_to(folder).as_posix(), path) for path in Path(folder).rglob("*.class")]
        files_of_jar = {
            "META-INF/MANIFEST.MF": manifest.encode(),
            "META-INF/LICENSE": (ROOT / "LICENSE").read_bytes(),
            **{name: path.read_bytes() for name, path in sorted(classes)},
        }
        generation.jar.write_bytes(packed(files_of_jar))
    print(f"{generation.jar.name}: {len(classes)} classes of {len(files)} files")


def check(generation: Generation) -> str | None:
    """Return what is wrong with the jar of a generation, None if it was made from the present sources."""
    name = f"es_rerank/node/plugin/{generation.jar.name}"
    if not generation.jar.is_file():
        return f"{name} is missing; run: scripts/build-plugin"
    if source_hash(generation.jar) != hash_of(sources(generation)):
        return f"{name} was not made from the present sources in plugin/src; run: scripts/build-plugin"
    return None


def main() -> None:
    """Build or check the jars of all generations."""
    if sys.argv[1:] == ["--check"]:
        faults = [fault for generation in GENERATIONS if (fault := check(generation))]
        sys.exit("\n".join(faults) or None)
    javac = compiler()
    for generation in GENERATIONS:
        build(generation, javac)


if __name__ == "__main__":
    main()
