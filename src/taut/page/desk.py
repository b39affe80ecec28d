"""A desk: one run laid out for questions, with what is worth keeping between them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taut.errors import InputError
from taut.page.catalogue import Catalogue, Entry

if TYPE_CHECKING:
    from taut.data import Split
    from taut.runs import Run

__all__ = ["Desk"]

ROOM = 40_000_000  # numbers of codes that are kept: 70,000 examples of 570 latents


class Desk:
    """A run, loaded when a question first needs its model.

    Args:
        entry: the run's files.
        catalogue: where the other runs are.
        trust: modules outside the package whose parts may be used.
        root: the folder of the named data sets.

    Attributes:
        kept: what questions keep for later ones, by a name of their own; as long as the weights are the same.
    """

    def __init__(
        self, entry: Entry, catalogue: Catalogue, trust: tuple[str, ...] = (), root: str | None = None
    ) -> None:
        self.entry, self._catalogue, self._trust, self._root = entry, catalogue, trust, root
        self.kept: dict[Any, Any] = {}

    @property
    def runs(self) -> list[Entry]:
        """All runs that the page shows, this one among them."""
        return self._catalogue.entries()

    def other(self, known: str) -> Desk:
        """A desk for another run, by its id."""
        return Desk(self._catalogue.entry(known), self._catalogue, self._trust, self._root)

    @cached_property
    def run(self) -> Run:
        """The loaded run.

        Raises:
            InputError: with the reason why it cannot be loaded.
        """
        from taut.runs import load

        return load(self.entry.folder, self._trust)

    def test(self) -> Split:
        """The test split of the run's data.

        Raises:
            InputError: where the data are gone or have changed.
        """
        return self.run.test_split(self._root)

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The values that are drawn black and white: those that x can take, or else the range of most of the data."""
        from taut.explore import brightness

        with contextlib.suppress(InputError):
            return brightness(self.run, self.test())
        return brightness(self.run)

    @cached_property
    def codes(self) -> np.ndarray:
        """The posterior centres of the test examples, (N, latents) float32; fewer than all where they would need too much
        memory. Kept in RUN/explore where that can be written."""
        path = self.entry.folder / "explore" / f"codes-{self.digest}.npy"
        width = max(sum(self.run.sizes), 1)
        split = self.test().take(slice(max(1, ROOM // width)))
        with contextlib.suppress(OSError, ValueError):
            found = np.load(path, allow_pickle=False)
            if found.shape == (len(split), width) and found.dtype == np.float32:
                return found
        codes = self.run.encode(split).astype(np.float32, copy=False)
        _keep(path, codes)
        return codes

    @cached_property
    def digest(self) -> str:
        """Sixteen letters for the weights and the examples."""
        from taut.training.checkpoint import digest

        spec = json.dumps(self.entry.config.get("data"), sort_keys=True, default=str)
        weights = digest(self.run.vae.state_dict(), f"{self.run.facts['hash']} {spec}")
        return hashlib.sha256(weights.encode()).hexdigest()[:16]

    def pictures(self, x: np.ndarray) -> np.ndarray:
        """Examples as the user stores them, as a page draws them: bytes of images (N, H, W) or (N, H, W, 3), else numbers
        (N, D)."""
        from taut.explore import pictures

        return pictures(self.run.reading, x, self.limits)


def _keep(path: Path, codes: np.ndarray) -> None:
    """Write codes for the next time, in place of those of other weights; a folder that cannot be written is left alone."""
    from taut.training.checkpoint import write_atomically

    buffer = io.BytesIO()
    np.save(buffer, codes, allow_pickle=False)
    with contextlib.suppress(OSError, InputError):
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, buffer.getvalue())
        for old in path.parent.glob("codes-*.npy"):
            if old != path:
                old.unlink()
