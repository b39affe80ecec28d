"""Per-example results that are kept as they come: a stopped evaluation goes on, and two runs can be compared in pairs.

An evaluation is a list of parts, each a few examples, whose results depend on the part alone: its seed is its own. So it is
the same whether it was done in one sitting or in several, and what is kept can be taken for what would be found.
A file of results is named by what was asked and by a digest of everything that the answer depends on, the weights included:
a model that was trained anew finds none of the old one's results.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from taut.errors import InputError
from taut.training.checkpoint import read_tensors, write_tensors

__all__ = ["Ledger", "digest_of"]

EVERY = 10.0  # seconds between two writings

Part = TypeVar("Part")


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """A short digest of named tensors: equal for equal numbers, on any device.

    >>> digest_of({"a": torch.zeros(2)})
    'a27de784de7dab36'
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Ledger:
    """Where results are kept.

    Args:
        folder: of the files; ``None`` keeps nothing.
    """

    folder: Path | None = None

    def gather(
        self,
        name: str,
        settings: dict[str, Any],
        parts: Sequence[Part],
        compute: Callable[[int, Part], dict[str, Tensor]],
        progress: Callable[[int], None] = lambda done: None,
    ) -> dict[str, Tensor]:
        """The results of all parts, those that are kept taken from the file.

        Args:
            name: what is measured, the first half of the file's name.
            settings: JSON-able; everything that the results depend on: weights, data, bound, samples, seed.
            parts: what to go through.
            compute: results of one part by its number and itself, tensors of one row an example; nothing else may decide them.
            progress: told the number of parts done, after each.

        Returns:
            The results of the parts one after another, on the host.
        """
        path = self._path(name, settings)
        done, found = self._read(path, settings)
        progress(done)
        if done == len(parts):
            return found
        pieces = [found] if done else []
        written = time.monotonic()
        try:
            for i in range(done, len(parts)):
                pieces.append({key: value.detach().cpu() for key, value in compute(i, parts[i]).items()})
                done = i + 1
                progress(done)
                if time.monotonic() - written > EVERY:
                    pieces = [_joined(pieces)]
                    self._write(path, settings, done, len(parts), pieces[0])
                    written = time.monotonic()
        finally:  # Ctrl-C too: what is done is done
            if pieces:
                self._write(path, settings, done, len(parts), _joined(pieces))
        return _joined(pieces)

    def kept(self, name: str) -> list[tuple[dict[str, Any], dict[str, Tensor]]]:
        """What was measured to the end under a name: for each time its settings and its results."""
        found = []
        for path in sorted(self.folder.glob(f"{name}-*.safetensors")) if self.folder else []:
            with contextlib.suppress(InputError, KeyError, TypeError):  # a damaged file is no result
                tensors, facts = read_tensors(path)
                if facts["done"] == facts["parts"]:
                    found.append((facts["settings"], tensors))
        return found

    def _path(self, name: str, settings: dict[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / f"{name}-{digest}.safetensors"

    def _read(self, path: Path | None, settings: dict[str, Any]) -> tuple[int, dict[str, Tensor]]:
        if path is None or not path.exists():
            return 0, {}
        try:
            found, facts = read_tensors(path)
            return (facts["done"], found) if facts["settings"] == json.loads(json.dumps(settings)) else (0, {})
        except (InputError, KeyError, TypeError):  # a damaged file is no result, and can be made again
            return 0, {}

    def _write(
        self, path: Path | None, settings: dict[str, Any], done: int, parts: int, found: dict[str, Tensor]
    ) -> None:
        if path is None:
            return
        with contextlib.suppress(
            OSError, InputError
        ):  # a folder that takes no file keeps nothing: the result is as good
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(path, found, {"settings": settings, "done": done, "parts": parts})


def _joined(pieces: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
