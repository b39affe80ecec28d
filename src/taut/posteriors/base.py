"""What every posterior promises."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from taut.config import Part
from taut.priors import Space

__all__ = ["Annealed", "Posterior", "PosteriorModule"]


class Posterior(Part, family=True):
    """A family of densities of one layer's latents, indexed by the numbers that the encoder gives."""

    space: ClassVar[Space] = "real"
    """Where its values lie; a prior must lie there too."""

    heavy: ClassVar[bool] = False
    """Whether its tails are so heavy that the divergence from a prior with a variance is infinite."""

    proper: ClassVar[bool] = True
    """Whether its members have densities, so that an evidence lower bound exists."""

    weighable: ClassVar[bool] = True
    """Whether log q(z) is to be had of what training draws, so that importance weights and mixtures of members exist."""

    varied: ClassVar[bool] = True
    """Whether its members know the variance of z, where it is finite."""

    closed: ClassVar[bool] = False
    """Whether it can be trained only where the divergence from the prior is in closed form."""

    factorised: ClassVar[bool] = False
    """Whether dimensions are independent given x and the layers above; ``log_prob_parts`` of its members is then of each
    dimension's own density, and takes values of any shape that broadcasts against (N, *event)."""

    codable: ClassVar[bool] = False
    """Whether its members are each a :class:`taut.distributions.Course`, so that latents can be coded by them."""

    reads_prior: ClassVar[bool] = False
    """Whether its members are placed by the prior, one normal that nothing moves: its module is then also given p."""

    follows: ClassVar[bool] = False
    """Whether, where it ``reads_prior``, that may be any normal of independent elements, wherever the layers above put it."""

    estimators: ClassVar[tuple[str, ...]] = ("Pathwise", "STL", "DReG", "Score", "RLOO", "VIMCO")
    """Names of the gradient estimators that serve it."""

    def event(self, latents: int) -> tuple[int, ...]:
        """The shape of what the prior is a density of, for so many latents."""
        return (latents,)

    def check(self, latents: int) -> None:
        """Refuse a number of latents that this family cannot have.

        Raises:
            InputError: with what would do.
        """

    @abstractmethod
    def build(self, event: tuple[int, ...]) -> PosteriorModule:
        """A module (N, width) → a distribution of batch shape (N,), over values of the module's ``event``."""


class PosteriorModule(nn.Module):
    """(N, width) → q(z|x), batch shape (N,); of two arguments, the second p, where the posterior ``reads_prior``.

    The distribution that it returns has ``log_prob`` and ``mean``, ``rsample`` where ``has_rsample`` and ``sample``
    elsewhere; it may have ``log_prob_parts`` (see :mod:`taut.distributions.divergence`), ``rsample_and_log_prob`` where
    a draw knows its density best, ``centre`` where the mean is no value that z can take, and ``extras``, named terms
    (N,) that are added to the loss and are part of no bound.

    Args:
        event: the shape of z.
        width: how many numbers the encoder gives.
    """

    scale: float = 1.0
    """The standard deviation of an element of z under the plainest prior of its space: what far and near are measured by."""

    event: tuple[int, ...]
    width: int

    def __init__(self, event: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.event, self.width = event, width

    def place(self, z: Tensor) -> Tensor:
        """The nearest value that z can take to each of those made by hand, (N, *event)."""
        return z

    @property
    def values(self) -> Tensor | None:
        """All values that one latent can take, (K, W), W elements of z each; none where it is a number of a continuum."""
        return None

    @property
    def block(self) -> int:
        """How many elements of z, side by side, are one latent."""
        return 1 if self.values is None else self.values.shape[1]

    def told(self, z: Tensor) -> Tensor:
        """What the layers below are told of z, (N, *event): numbers about 1 wide, from which networks learn fastest."""
        return z / self.scale

    def over(self, p: Distribution) -> Distribution:
        """The prior as a density of this posterior's values; p itself unless z is an embedding of what p is over."""
        return p


class Annealed(PosteriorModule):
    """A posterior that changes in the course of a run: ``progress``, the share of the run that is done, is set each step.

    Args:
        event: the shape of z.
        width: how many numbers the encoder gives.
    """

    def __init__(self, event: tuple[int, ...], width: int) -> None:
        super().__init__(event, width)
        self.progress: Tensor
        self.register_buffer("progress", torch.zeros(()), persistent=False)
