"""Makes the plugin's archive for one version of Elasticsearch, from the compiled classes in this package."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import NodeError

NAME = "es-rerank"
"""The plugin's name, as ``elasticsearch-plugin list`` prints it."""

SOURCE_HASH = "Source-SHA256"
"""The entry of a jar's manifest that holds the SHA-256 of the sources."""

TESTED = ("9.5.0", "9.1.0")
"""The versions of Elasticsearch that the tests run the plugin on."""

SUPPORTED = "9.1 and later versions of 9"

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(-[\w.-]+)?")
_TIME = (1980, 1, 1, 0, 0, 0)
"""The modification time of all entries, so that the same contents give the same bytes."""

_DESCRIPTOR = """\
name={name}
description=Retrievers that fuse and rerank, on any licence
version={version}
classname=esrerank.EsRerankPlugin
java.version=21
elasticsearch.version={elasticsearch}
"""
# Every key is described at https://www.elastic.co/docs/extend/elasticsearch/plugin-descriptor-file-classic

_POLICY = """\
ALL-UNNAMED:
  - outbound_network
"""
# Elasticsearch opens connections to other machines only for plugins that ask for this.


@dataclass(frozen=True)
class Generation:
    """Versions of Elasticsearch that the same classes run on.

    ``name`` is the name of the folder of its sources and of its jar. ``compiled_against`` is the version
    whose classes the compiler saw.
    """

    name: str
    compiled_against: str

    @property
    def jar(self) -> Path:
        """The compiled classes, a file of this package."""
        return Path(__file__).parent / f"{self.name}.jar"


GENERATIONS = (Generation("v9_5", "9.5.0"), Generation("v9_1", "9.1.0"))


@dataclass(frozen=True)
class Archive:
    """The plugin's archive for one version of Elasticsearch.

    ``sha512`` is its checksum in hexadecimals. It also stands in the file ``checksum``, in the form that
    ``sha512sum --check`` reads.
    """

    path: Path
    checksum: Path
    sha512: str


def generation_of(elasticsearch: str) -> Generation:
    """Return the generation of a version of Elasticsearch, such as "9.5.0".

    Raises NodeError when the plugin does not support that version.
    """
    found = _VERSION.fullmatch(elasticsearch)
    if found is None:
        raise NodeError(f"{elasticsearch!r} is not a version of Elasticsearch such as {TESTED[0]}")
    major, minor = int(found[1]), int(found[2])
    if major != 9 or minor == 0:
        raise NodeError(
            f"the plugin does not support Elasticsearch {elasticsearch}; supported are {SUPPORTED}"
        )
    newer, older = GENERATIONS
    return older if minor == 1 else newer


def untested(elasticsearch: str) -> str | None:
    """Return a sentence when the plugin is not tested on this version of Elasticsearch, None if it is."""
    if elasticsearch in TESTED:
        return None
    return f"the plugin is not tested on Elasticsearch {elasticsearch}; tested are {' and '.join(TESTED)}"


def contents_of(elasticsearch: str, version: str) -> bytes:
    """Return the bytes of the plugin's archive for ``elasticsearch``.

    ``version`` is the version of this package. The same versions give the same bytes. Raises NodeError when
    the plugin does not support that version of Elasticsearch.
    """
    jar = generation_of(elasticsearch).jar
    descriptor = _DESCRIPTOR.format(name=NAME, version=version, elasticsearch=elasticsearch)
    return packed(
        {
            f"{NAME}.jar": jar.read_bytes(),
            "plugin-descriptor.properties": descriptor.encode(),
            "entitlement-policy.yaml": _POLICY.encode(),
        }
    )


def build(elasticsearch: str, version: str, folder: Path) -> Archive:
    """Write the plugin's archive for ``elasticsearch`` into ``folder``, and its checksum beside it.

    ``version`` is the version of this package. Raises NodeError when the plugin does not support that version
    of Elasticsearch, or ``folder`` cannot be written.
    """
    contents = contents_of(elasticsearch, version)
    path = folder / f"{NAME}-{version}-elasticsearch-{elasticsearch}.zip"
    checksum = path.with_name(f"{path.name}.sha512")
    sha512 = hashlib.sha512(contents).hexdigest()
    draft = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(contents)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        checksum.write_text(f"{sha512}  {path.name}\n", encoding="ascii")
    except OSError as error:
        raise NodeError(
            f"the plugin's archive cannot be written into {folder} ({error.strerror}); name another folder"
        ) from error
    return Archive(path, checksum, sha512)


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of ``files``, by name, in the given order. The same files give the same bytes."""
    target = io.BytesIO()
    # Nothing is compressed: releases of zlib compress differently.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return target.getvalue()


def source_hash(jar: Path) -> str:
    """Return the hash of the sources that a jar was made from, as its manifest holds it."""
    with zipfile.ZipFile(jar) as archive:
        manifest = archive.read("META-INF/MANIFEST.MF").decode()
    entries = dict(line.split(": ", 1) for line in manifest.replace("\r\n ", "").splitlines() if line)
    return entries[SOURCE_HASH]
