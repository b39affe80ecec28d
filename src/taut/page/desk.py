"""A desk: one run laid out for questions, with what is worth keeping between them."""

from __future__ import annotations

import contextlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taut.errors import InputError
from taut.page.catalogue import Catalogue, Entry

if TYPE_CHECKING:
    import numpy as np

    from taut.data import Split
    from taut.explore.atlas import Atlas
    from taut.runs import Run

__all__ = ["Desk"]


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

    entry: Entry

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

    @property
    def saved(self) -> Atlas | None:
        """The atlas of these weights and examples that was kept in RUN/explore, if one was; no model is needed for it."""
        from taut.explore.atlas import read_atlas

        if "atlas" not in self.kept:
            self.kept["atlas"] = read_atlas(self._place)
        return self.kept["atlas"]

    @property
    def atlas(self) -> Atlas:
        """The codes of the test examples, and what a map says of them. Kept in RUN/explore where that can be written."""
        from taut.explore.atlas import charted

        if self.saved is None:
            self.kept["atlas"] = charted(self.run, self._root)
            _keep(self._place, self.kept["atlas"].content())
        return self.kept["atlas"]

    @cached_property
    def _place(self) -> Path:
        from taut.explore.atlas import fingerprint

        entry = self.entry
        try:
            examples = {"hash": entry.data.get("hash"), "data": entry.config.get("data")}
            name = fingerprint(entry.folder / "model.safetensors", examples)
        except OSError:
            raise InputError(str(entry.folder), "holds no weights", "finish the training") from None
        return entry.folder / "explore" / f"atlas-{name}.safetensors"

    def pictures(self, x: np.ndarray) -> np.ndarray:
        """Examples as the user stores them, as a page draws them: bytes of images (N, H, W) or (N, H, W, 3), else numbers
        (N, D)."""
        from taut.explore import pictures

        return pictures(self.run.reading, x, self.limits)


def _keep(path: Path, content: bytes) -> None:
    """Write an atlas for the next time, in place of those of other weights; a folder that cannot be written is left alone."""
    from taut.training.checkpoint import write_atomically

    with contextlib.suppress(OSError, InputError):
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)
        for old in path.parent.glob("*"):
            if old != path and old.name.startswith(("atlas-", "codes-")):
                old.unlink()
