"""The program as a user runs it, programs that play Docker or Maven, and what lies and runs beside a node."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does, in the working folder."""
    return subprocess.run(
        [sys.executable, "-m", "es_rerank", *arguments],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def fault(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence of a failed command."""
    assert done.returncode != 0, done.stdout
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


def make_program(folder: Path, name: str, body: str) -> None:
    """Write a Python program that can be run as ``folder/name``."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys, zipfile\n{body}")
    (folder / name).chmod(0o755)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that the node's account can enter; pytest's own are closed to other accounts."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextmanager
def another_process() -> Iterator[psutil.Process]:
    """Run a process of somebody else, which must never be touched."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running_process:
        yield psutil.Process(running_process.pid)
        running_process.kill()
