"""All that changes in a training: captured whole, so that saving it is saving the run, and put back to the bit."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from taut.data import Feed
from taut.errors import InputError
from taut.training.average import Average
from taut.training.checkpoint import flatten, generator_state, set_generator_state, unflatten, write_tensors
from taut.training.company import Company
from taut.training.meter import Meter
from taut.training.sharding import laid, parted, whole

__all__ = ["CHECKPOINT", "State"]

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class State:
    """Everything that changes in a run, so that saving it is saving the run."""

    learner: nn.Module
    optimiser: torch.optim.Optimizer
    average: Average
    meter: Meter
    company: Company
    seed: int
    feed: Feed | None = None
    step: int = 0
    seconds: float = 0.0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_score: float = math.inf
    best_step: int = 0
    stale: int = 0
    rate: float = 0.0  # at the last validation
    lagging: bool = True
    good: tuple[dict[str, Tensor], dict[str, Any]] = field(default_factory=tuple)  # as it was at the last validation
    saved: int = 0  # the step of the checkpoint

    @property
    def device(self) -> torch.device:
        return self.company.fabric.device

    @property
    def precision(self) -> Any:
        """Of fabric: in 16 bits losses are scaled by a factor that has a course of its own."""
        return self.company.fabric.strategy.precision

    NUMBERS = ("step", "seconds", "best_score", "best_step", "stale", "rate", "lagging")

    def capture(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """A copy of the state, in the host's memory: tensors, and JSON-able facts."""
        tree = {
            "weights": self.learner.state_dict(),
            "average": self.average.module.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "meter": self._of_each(self.meter.state_dict()),
            "generators": self._of_each(generator_state(self.device)),
            "precision": self.precision.state_dict(),
            "feed": self._of_each(self._place()),
        }
        tensors, form = flatten(tree)
        facts = {"form": form, "numbers": {name: getattr(self, name) for name in self.NUMBERS}}
        return {name: whole(tensor).detach().to("cpu", copy=True) for name, tensor in tensors.items()}, facts

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Put a captured state back."""
        try:
            tree = unflatten(tensors, facts["form"])
            own = self.learner.state_dict()
            self.learner.load_state_dict({name: parted(value, own[name]) for name, value in tree["weights"].items()})
            self.average.load(tree["average"])
            weights = list(self.learner.parameters())
            for i, held in tree["optimiser"]["state"].items():
                weight = weights[int(i)]
                held.update({name: laid(each, weight) for name, each in held.items() if isinstance(each, Tensor)})
            self.optimiser.load_state_dict(tree["optimiser"])
            self.meter.load_state_dict(
                self._own(tree["meter"]) or {name: each[0] for name, each in tree["meter"].items()}
            )
            # without it, as where there were other processes, the place is found more slowly
            if (place := self._own(tree.get("feed", {}))) and self.feed is not None:
                self.feed.recall(json.loads(place["json"].numpy().tobytes()))
            if tree.get("precision"):
                self.precision.load_state_dict(tree["precision"])
            self.best = tree["best"]
            for name in self.NUMBERS:
                setattr(self, name, facts["numbers"][name])
            if states := self._own(tree["generators"]):
                set_generator_state(states, self.device)
            else:  # more processes than before, or fewer: on they go, but not bit for bit
                torch.manual_seed(self.seed + self.step)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
            raise InputError("resume", "finds the checkpoint of another model", "give the run's own folder") from None
        self.saved = self.step

    def _place(self) -> dict[str, Tensor]:
        """Where examples are being read, as the bytes of JSON, of as many for every process."""
        content = json.dumps(self.feed.mark() if self.feed is not None else {}).encode()
        length = self.company.most(len(content))
        if length <= len("{}"):
            return {}
        padded = torch.frombuffer(bytearray(content.ljust(length)), dtype=torch.uint8)
        return {"json": padded.to(self.device)}

    def _of_each(self, states: dict[str, Tensor]) -> dict[str, list[Tensor]]:
        """What every process has of its own."""
        return {name: self.company.gathered(state) for name, state in states.items()}

    def _own(self, states: dict[str, list[Tensor]]) -> dict[str, Tensor] | None:
        """What was this process's own; none where there were more of them, or fewer."""
        if any(len(each) != self.company.size for each in states.values()):
            return None
        return {name: each[self.company.rank] for name, each in states.items()}

    def save(self, folder: Path) -> None:
        """Write it as the folder's checkpoint."""
        state = self.capture()
        if self.company.lead:
            write_tensors(folder / CHECKPOINT, *state)
        self.saved = self.step

    def save_good(self, folder: Path) -> int:
        """See that the checkpoint is at least as far as the last validation; the step that it is at, 0 for none."""
        reached = self.good[1]["numbers"]["step"]
        if reached > self.saved:
            if self.company.lead:
                write_tensors(folder / CHECKPOINT, *self.good)
            self.saved = reached
        return self.saved
