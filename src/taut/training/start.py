"""Weights that training starts from, where they are not drawn from a seed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from taut.errors import InputError
from taut.training.checkpoint import WEIGHTS, digest, read_tensors

__all__ = ["Start"]


@dataclass(frozen=True)
class Start:
    """The weights of a trained model, to go on from with another objective, other data or another length.

    Args:
        run: the folder of a run whose weights have the same names and shapes; how it standardised its data comes along.
        digest: of these weights; found when training is resolved, and weights with another one are refused from then on.
    """

    run: str
    digest: str | None = None

    def resolved(self) -> Start:
        """The same with the folder's whole path, and with the digest of what is there."""
        return replace(self, run=str(Path(os.path.expanduser(self.run)).resolve()), digest=_short(self._read()))

    def give(self, module: nn.Module, centre: tuple[float, ...] | None = None) -> None:
        """Put the weights into a module whose data have a ``centre`` (:class:`taut.data.Reading`).

        Raises:
            InputError: where they are missing, damaged, other ones than they were, or do not fit.
        """
        if self._centre() != centre:
            problem = (
                f"{self.run} was trained on data about {_shown(self._centre())}, and these lie about {_shown(centre)}"
            )
            raise InputError("training.start.run", problem, "train from seeded weights, or shift the data alike")
        try:
            module.load_state_dict(self._read())
        except RuntimeError:
            raise InputError("training.start.run", f"{self.run} holds weights that do not fit this model",
                             "start from a run with the same model section and data of the same shape") from None  # fmt: skip

    def _centre(self) -> tuple[float, ...] | None:
        try:
            said = json.loads((Path(os.path.expanduser(self.run)) / "data.json").read_text(encoding="utf-8"))
            centre = said["reading"].get("centre")
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return None  # what is amiss there is said where the run is read
        return None if centre is None else tuple(map(float, centre))

    def _read(self) -> dict[str, Tensor]:
        path = Path(os.path.expanduser(self.run)) / WEIGHTS
        if not os.path.exists(path):
            raise InputError("training.start.run", f"{self.run} holds no trained model", "give a finished run")
        weights, _ = read_tensors(path)
        if self.digest not in (None, _short(weights)):
            raise InputError("training.start.digest", f"is {self.digest}, and the weights in {self.run} are {_short(weights)}",
                             "put the old ones back, or leave the digest out to start from these")  # fmt: skip
        return weights


def _shown(centre: tuple[float, ...] | None) -> str:
    return "0" if centre is None else ", ".join(f"{value:g}" for value in centre[:5]) + " …" * (len(centre) > 5)


def _short(weights: dict[str, Tensor]) -> str:
    return digest(weights)[:16]
