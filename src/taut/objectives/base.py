"""What every objective promises, and the module that training calls."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from taut.config import Part
from taut.data import Batch
from taut.errors import InputError
from taut.model import VAE, Trace
from taut.objectives.penalties import Penalty
from taut.objectives.schedules import Linear, Schedule

__all__ = ["Learner", "Objective", "Outcome"]


@dataclass(frozen=True)
class Objective(Part, family=True):
    """A loss that reads a trace.

    Args:
        beta: the weight of the rate; 1 is the evidence lower bound.
        samples: posterior samples per example and step.
        schedule: how β is reached.
        penalties: terms added to the loss, each with its own weight.
    """

    needs_density: ClassVar[bool] = False
    """Whether the loss asks every posterior for its density."""

    beta: float = 1.0
    samples: int = 1
    schedule: Schedule = Linear()
    penalties: tuple[Penalty, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.beta < float("inf"):
            raise InputError("beta", f"is {self.beta:g}", "give 0 or more")
        if self.samples < 1:
            raise InputError("samples", f"is {self.samples}", "give 1 or more")

    @abstractmethod
    def loss(self, distortion: Tensor, trace: Trace, batch: Batch, beta: float) -> Tensor:
        """The loss, a scalar in nats per example.

        Args:
            distortion: the trace's distortion, (K, B) nats, found once for loss and metrics alike.
            trace: the pass.
            batch: what it was made from.
            beta: the weight of the rate at this step.
        """


class Outcome(NamedTuple):
    """What a step tells: scalars on the device, never brought to the host inside the loop."""

    loss: Tensor
    distortion: Tensor
    rate: Tensor


class Learner(nn.Module):
    """Model and objective as one module, the loss inside ``forward``, so that DDP and FSDP see one call.

    Args:
        vae: the model.
        objective: the loss.
    """

    def __init__(self, vae: VAE, objective: Objective) -> None:
        super().__init__()
        self.vae, self.objective = vae, objective

    def forward(self, batch: Batch, beta: float) -> Outcome:
        trace = self.vae(batch, self.objective.samples)
        distortion = trace.distortion(batch)
        loss = self.objective.loss(distortion, trace, batch, beta)
        for penalty in self.objective.penalties:
            loss = loss + penalty.weight * penalty.term(trace)
        return Outcome(loss, distortion.detach().mean(), trace.rate().detach().mean())
