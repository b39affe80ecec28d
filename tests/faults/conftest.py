"""What tests of kills share: a process that forks, and a small set of data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@dataclass
class Forks:
    """Runs commands in forks of a process that has everything imported."""

    process: subprocess.Popen
    folder: Path

    def __call__(self, *argv: Any, **told: Any) -> int:
        """The exit status of `taut ARGV`, −9 where it was killed as ``told``; see :mod:`tests.faults.forks`."""
        files = {"out": str(self.folder / "out"), "err": str(self.folder / "err"), "cwd": str(self.folder)}
        self.process.stdin.write(json.dumps({"argv": [str(each) for each in argv], **files, **told}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the process that forks is gone"
        status, self.seconds = json.loads(answer)
        return status

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text() + (self.folder / "err").read_text()

    @property
    def calls(self) -> int:
        """How many calls that write files the last command made, befores and afters counted."""
        return int((self.folder / "out.calls").read_text())


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    source = Path(__file__).parents[2] / "src"
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forks.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)},
    )  # fmt: skip
    yield Forks(process, tmp_path_factory.mktemp("forks"))
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


@pytest.fixture(scope="session")
def bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 120 binary vectors."""
    path = tmp_path_factory.mktemp("data") / "bits.npy"
    generator = np.random.default_rng(0)
    np.save(path, (generator.random((120, 6)) < generator.random(6)).astype(np.uint8))
    return path
