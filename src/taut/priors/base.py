"""What every prior promises."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable
from typing import ClassVar, Literal, TypeAlias

from torch import Tensor, nn
from torch.distributions import Distribution

from taut.config import Part
from taut.data import Statistics
from taut.distributions import Exactness

__all__ = ["EncoderPrior", "Prior", "Space", "State"]

Space: TypeAlias = Literal["real", "sphere", "categories", "bits"]
"""Where latents lie: vectors of real numbers, (D,); unit vectors, (D,); one-hot rows, (L, K); zeros and ones, (D,)."""

State: TypeAlias = int | tuple[int, int, int]
"""The width of a vector, or the shape (C, H, W) of a map."""


class Prior(Part, family=True):
    """The density of one layer's latents given everything above it."""

    space: ClassVar[Space | None] = "real"
    """Where its values lie; ``None`` where it takes after the posterior."""

    heavy: ClassVar[bool] = False
    """Whether its tails are heavy enough for posteriors without a variance."""

    factorised: ClassVar[bool] = False
    """Whether dimensions are independent given h, so that discrete posteriors have a closed divergence from it."""

    normal: ClassVar[bool] = False
    """Whether it is one normal that nothing moves, so that its density knows the nearest normal of independent elements."""

    independent: ClassVar[bool] = False
    """Whether it is a normal of independent elements given h, a ``DiagonalNormal``."""

    maps: ClassVar[bool] = False
    """Whether it reads a map, h (N, C, H, W), as it lies; the others are given all of it as one vector."""

    alone: ClassVar[bool] = True
    """Whether it can stand at the top, where there is nothing above it."""

    exactness: ClassVar[Exactness] = "exact"
    """What its log p(z) is: see :mod:`taut.distributions.exactness`."""

    codable: ClassVar[bool] = False
    """Whether its density is a :class:`taut.distributions.Course`, or a mixture of them, so that latents can be coded by it."""

    reads_encoder: ClassVar[bool] = False
    """Whether its density depends on the encoder's weights: its module is then an :class:`EncoderPrior`."""

    @abstractmethod
    def build(self, event: tuple[int, ...], state: State) -> nn.Module:
        """A module h (N, state) → a distribution of batch shape (N,) and event shape ``event``.

        Args:
            event: shape of one example's latents in this layer.
            state: width of h, what the layers above hand down; 0 at the top. Its shape (C, H, W) where the prior reads
                ``maps`` and h is one.
        """

    def placed(self, event: tuple[int, ...], state: State, shape: tuple[int, ...]) -> nn.Module:
        """The same of latents that lie on a map ``shape`` (C, H, W) and are one flat event; most priors ask for no places."""
        return self.build(event, state)

    def check(self, examples: int) -> None:
        """Refuse a number of training examples that is too small for this prior.

        Raises:
            InputError: with what would do.
        """


class EncoderPrior(nn.Module):
    """The module of a prior of the top layer that reads the encoder.

    The encoder is not its part: the model hands it functions, once, when it is built, so that no weight is registered
    twice. They are methods of the model, so that a copy of the model has a prior that reads the copy's encoder.
    """

    @abstractmethod
    def bind(
        self,
        infer: Callable[[Tensor], Distribution],
        stamp: Callable[[], Hashable | None],
        statistics: Statistics,
        bounds: tuple[float, float] | None,
    ) -> None:
        """Take what the model gives.

        Args:
            infer: x (K, *shape) in the data's units → q(z|x) of the top layer, batch shape (K,).
            stamp: a value that changes whenever a weight of the model does; None while they are learning.
            statistics: of the training data, mean and standard deviation, (*shape) each.
            bounds: the smallest and the largest value that x can take; none for real numbers.

        Raises:
            InputError: where the posterior does not serve.
        """
