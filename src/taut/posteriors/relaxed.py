"""Relaxed posteriors: trained on draws that a gradient passes through, evaluated as the discrete model they stand for.

While training, z is a draw from a relaxation of q(z|x) (see :mod:`taut.distributions.relaxed`) and the rate is the closed
divergence of the discrete q from the discrete prior. At temperatures above zero this is no bound of anything: a decoder may
read more from a point inside the simplex than a corner could tell. So the temperature falls, and whatever is said of the
model (validation, bounds, codes) is said of the discrete one: out of training mode q(z|x) is the discrete density itself.

    T = T_start (T_end / T_start)^t,   t the share of the run that is done
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.distributions import Distribution

from taut.distributions import Bits, OneHot, RelaxedBits, RelaxedOneHot, StraightThrough
from taut.errors import InputError
from taut.posteriors.base import Annealed, Posterior, PosteriorModule
from taut.posteriors.discrete import Choices, require_categories
from taut.priors import Space

__all__ = ["RelaxedBernoulli", "RelaxedCategorical"]

COLDEST, HOTTEST = 0.01, 100.0  # outside these it is all but a step, or all but a constant


@dataclass(frozen=True)
class _Relaxed(Posterior):
    codable: ClassVar[bool] = True
    weighable: ClassVar[bool] = False
    factorised: ClassVar[bool] = True
    closed: ClassVar[bool] = True
    estimators: ClassVar[tuple[str, ...]] = ("Pathwise",)

    temperature: float = 1.0
    final: float = 0.5
    straight_through: bool = False

    def __post_init__(self) -> None:
        for field in ("temperature", "final"):
            value = getattr(self, field)
            if not COLDEST <= value <= HOTTEST:
                raise InputError(field, f"is {value:g}", f"give a number from {COLDEST:g} to {HOTTEST:g}, such as 0.5")


@dataclass(frozen=True)
class RelaxedCategorical(_Relaxed):
    """Gumbel-Softmax: categories that training sees as points of the simplex (Jang, Gu and Poole 2017; Maddison, Mnih and
    Teh 2017).

    Out of training mode it is the Categorical posterior with the same logits, and all bounds are of that model. The prior
    must be of independent categories.

    Args:
        temperature: T at the start of a run.
        final: T at its end.
        straight_through: draw one-hot rows, and keep the gradient of the relaxed ones.
        categories: K, how many values each latent can take.
    """

    space: ClassVar[Space] = "categories"

    categories: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require_categories(self.categories)

    def event(self, latents: int) -> tuple[int, ...]:
        return (latents, self.categories)

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Module(Choices(OneHot, event), RelaxedOneHot, self)


@dataclass(frozen=True)
class RelaxedBernoulli(_Relaxed):
    """Binary concrete: bits that training sees as numbers between zero and one (Maddison, Mnih and Teh 2017; Jang, Gu and
    Poole 2017).

    Out of training mode it is the Bernoulli posterior with the same log-odds, and all bounds are of that model. The prior
    must be of independent bits.

    Args:
        temperature: T at the start of a run.
        final: T at its end.
        straight_through: draw zeros and ones, and keep the gradient of the relaxed ones.
    """

    space: ClassVar[Space] = "bits"

    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        return _Module(Choices(Bits, event), RelaxedBits, self)


class _Module(Annealed):
    def __init__(self, plain: Choices, relax: type[RelaxedOneHot | RelaxedBits], spec: _Relaxed) -> None:
        super().__init__(plain.event, plain.width)
        self.plain, self.relax, self.spec, self.scale = plain, relax, spec, plain.scale

    @property
    def temperature(self) -> Tensor:
        """T at this point of the run, a scalar on the device."""
        return self.spec.temperature * (self.spec.final / self.spec.temperature) ** self.progress

    @property
    def values(self) -> Tensor:
        return self.plain.values

    def place(self, z: Tensor) -> Tensor:
        return self.plain.place(z)

    def forward(self, params: Tensor) -> Distribution:
        q = self.plain(params)
        if not self.training:
            return q
        relaxed = self.relax(q, self.temperature)
        return StraightThrough(relaxed) if self.spec.straight_through else relaxed
