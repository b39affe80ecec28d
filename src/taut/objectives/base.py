"""What every objective promises, and the module that training calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from taut.config import Part
from taut.data import Batch
from taut.distributions import worst
from taut.distributions.exactness import in_words
from taut.errors import InputError
from taut.layers import Layer
from taut.likelihoods import Likelihood
from taut.model import VAE, Site, Step, Trace
from taut.objectives.estimators import RLOO, VIMCO, Estimator, Pathwise, Score, require_samples
from taut.objectives.penalties import Penalty
from taut.objectives.schedules import Linear, Schedule
from taut.posteriors import Annealed
from taut.spans import span

__all__ = ["Learner", "Objective", "Outcome"]

Self = TypeVar("Self", bound="Objective")


@dataclass(frozen=True)
class Objective(Part, family=True):
    """A loss that reads a trace.

    Args:
        beta: the weight of the rate; 1 is the evidence lower bound.
        samples: posterior samples per example and step.
        estimator: of the gradient through what is drawn: one, or one for each layer, top first; by the posterior if left open.
        schedule: how β is reached.
        penalties: terms added to the loss, each with its own weight.
    """

    weighs: ClassVar[bool] = False
    """Whether the loss is of importance weights, and so asks every posterior for log q(z)."""

    beta: float = 1.0
    samples: int = 1
    estimator: tuple[Estimator, ...] = ()
    schedule: Schedule = Linear()
    penalties: tuple[Penalty, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.beta < float("inf"):
            raise InputError("beta", f"is {self.beta:g}", "give 0 or more")
        if self.samples < 1:
            raise InputError("samples", f"is {self.samples}", "give 1 or more")

    def resolved(self: Self, layers: Sequence[Layer], likelihood: Likelihood | None = None) -> Self:
        """This objective with an estimator for each layer.

        Raises:
            InputError: where an estimator cannot serve its layer's posterior, or the objective cannot serve the model.
        """
        if self.penalties and not layers:
            raise InputError("objective.penalties", "shape the code, and the model has no latents", "leave them off")
        if self.weighs:
            self._require_exact(layers, likelihood)
        given = self.estimator * len(layers) if len(self.estimator) == 1 else self.estimator
        given = given or tuple(self._default(layer) for layer in layers)
        if len(given) != len(layers):
            count = f"{len(layers)} layer{'s'[: len(layers) != 1]}"
            raise InputError("objective.estimator", f"names {len(given)}, and the model has {count}",
                             "name one for all, or one for each")  # fmt: skip
        for layer, estimator in zip(layers, given, strict=True):
            self._require(layer, estimator)
        return replace(self, estimator=given)

    def _require_exact(self, layers: Sequence[Layer], likelihood: Likelihood | None) -> None:
        for name, part in (("likelihood", likelihood), *(("prior", layer.prior) for layer in layers)):
            if (kind := worst(part)) != "exact":
                of = f"the {type(part).__name__} {name}"
                why = f"{type(self).__name__} exponentiates weights, and what {of} says of them is {in_words(kind)}"
                raise InputError("objective", why, "choose ELBO")

    def _default(self, layer: Layer) -> Estimator:
        if "Pathwise" in layer.posterior.estimators:
            return Pathwise()
        return Score() if self.samples == 1 else VIMCO() if self.weighs else RLOO()

    def _require(self, layer: Layer, estimator: Estimator) -> None:
        q, name = type(layer.posterior).__name__, type(estimator).__name__
        able = [each for each in layer.posterior.estimators if layer.estimators is None or each in layer.estimators]
        if self.weighs and not layer.posterior.weighable:
            raise InputError("objective", f"{type(self).__name__} weighs draws by log q(z), which {q} does not have "
                             "while training", "choose ELBO, or another posterior")  # fmt: skip
        if name in Estimator.members and name not in able:
            raise InputError(
                "objective.estimator",
                f"{name} cannot serve the {q} posterior{layer.upwards * ' of an Upward layer'}",
                f"{q} takes {', '.join(able) or 'none there: choose DiagonalNormal'}",
            )
        require_samples(estimator, self.samples)
        for penalty in self.penalties:
            penalty.check(layer.posterior)
            if penalty.by_path and not estimator.pathwise:
                raise InputError("objective.penalties", f"{type(penalty).__name__} acts through the path of z, which {name} "
                                 "does not have", "choose a pathwise estimator, or leave the penalty off")  # fmt: skip

    @abstractmethod
    def loss(self, distortion: Tensor, trace: Trace, beta: float) -> Tensor:
        """The loss, a scalar in nats per example.

        Args:
            distortion: the trace's distortion, (K, B) nats, found once for loss and metrics alike.
            trace: the pass.
            beta: the weight of the rate at this step.
        """

    @abstractmethod
    def values(self, distortion: Tensor, trace: Trace, beta: float, layer: int) -> Tensor:
        """v, (K, B) nats: all of minus the loss that the draw of a layer has a say in."""

    def shared(self, trace: Trace, beta: float, layer: int) -> Tensor | float:
        """What each draw of a layer adds to minus the loss through terms that the whole batch decides, (K, B) nats, on
        top of its values: the difference to a batch without it. The loss is a mean over examples, hence times B."""
        return 0.0

    @abstractmethod
    def combine(self, values: Tensor) -> Tensor:
        """v (K, …) → L (…): how the values of K draws make minus the loss."""

    @abstractmethod
    def credit(self, values: Tensor) -> Tensor:
        """c, (K, B): the part of L that each draw decides."""

    def path_weight(self, values: Tensor, beta: float) -> Tensor | None:
        """What DReG weighs the path of each draw by, over and above autograd, (K, B); ``None`` for one."""
        return None


class Outcome(NamedTuple):
    """What a step tells: scalars on the device, never brought to the host inside the loop."""

    loss: Tensor
    distortion: Tensor
    rate: Tensor


class Learner(nn.Module):
    """Model and objective as one module, the loss inside ``forward``, so that DDP and FSDP see one call.

    Args:
        vae: the model.
        objective: the loss; where its estimators are left open, every layer's is pathwise.
    """

    vae: VAE
    objective: Objective
    estimators: tuple[Estimator, ...]
    baselines: nn.ModuleList
    annealed: list[Annealed]

    def __init__(self, vae: VAE, objective: Objective) -> None:
        super().__init__()
        self.vae, self.objective = vae, objective
        self.estimators = objective.estimator or (Pathwise(),) * len(vae.layers)
        self.baselines = nn.ModuleList(estimator.build() for estimator in self.estimators)
        self.annealed = [module for module in vae.modules() if isinstance(module, Annealed)]

    def forward(self, batch: Batch, beta: float, progress: float = 0.0) -> Outcome:
        """The outcome of a step; ``progress`` is the share of the run that is done.

        Where a compiler looks through this, β and progress are tensors () instead: see :mod:`taut.training.compiling`.
        """
        for module in self.annealed:
            module.progress.fill_(progress)
        trace = self.vae(batch, self.objective.samples, self._pick)
        with span("likelihood"):
            distortion = trace.distortion(batch)
        with span("rate"):
            loss = self.objective.loss(distortion, trace, beta)
            for i, step in enumerate(trace.steps):
                term = self._correction(i, step, distortion, trace, beta)
                loss = loss + term if isinstance(term, Tensor) else loss
            for penalty in self.objective.penalties:
                loss = loss + penalty.weight * penalty.term(trace, self.vae)
            with torch.no_grad():
                return Outcome(loss, distortion.mean(), trace.rate().mean())

    def _pick(self, site: Site) -> Step:
        return self.estimators[site.index].pick(site)

    def _correction(self, i: int, step: Step, distortion: Tensor, trace: Trace, beta: float) -> Tensor | float:
        """What an estimator adds to the loss of its layer: a term of value unknown, whose gradient is the point."""
        estimator, objective = self.estimators[i], self.objective
        extra = sum(term.mean() for term in step.extras.values())
        if step.drawn is not None and step.drawn.requires_grad:
            weight = objective.path_weight(objective.values(distortion, trace, beta, i).detach(), beta)
            if weight is not None:
                shape = (-1, *[1] * (step.drawn.dim() - 1))
                step.drawn.register_hook(lambda gradient: gradient * weight.reshape(shape).to(gradient.dtype))
        if estimator.pathwise:
            return extra
        values = objective.values(distortion, trace, beta, i).detach()
        advantage = estimator.advantage(values, objective.credit(values), objective.combine, self.baselines[i])
        advantage = advantage + objective.shared(trace, beta, i)
        score = (advantage * trace.unfold(step.log_q)).sum(0).mean()
        return extra - (score - score.detach())  # the loss that is shown stays the objective's
