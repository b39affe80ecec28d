"""What every stochastic layer promises.

The module that a layer builds answers five questions, and the one loop in :mod:`taut.model` asks nothing else:

    evidence(features)   what the encoder tells this layer; asked once per example, before samples are drawn
    enter(h)             what arrives from above, as the layer reads it
    prior(h)             p(z_l | z_<l)
    posterior(h, e, p)   q(z_l | z_<l, x)
    merge(h, z)          the state that the layers below, and at the end the decoder, receive

with h of shape (N, state), or (N, C, H, W) where it is a map, z of shape (N, *event). A posterior that does not read p
takes ``None`` for it: so a prior that is made of posteriors (:class:`taut.priors.EncoderPrior`) can ask for them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from torch import Tensor, nn
from torch.distributions import Distribution

from taut.config import Part
from taut.errors import InputError
from taut.posteriors import Posterior, PosteriorModule
from taut.priors import Prior, Space, State

__all__ = ["Features", "Layer", "LayerModule", "State"]

Features: TypeAlias = int | tuple[tuple[int, int, int], ...]
"""The width of an encoder's features, or the shapes (C, H, W) of its maps, the finest first."""


class LayerModule(nn.Module):
    """What a layer builds.

    Attributes:
        event: the shape of one z.
        space: where z lies.
        state: width or shape of what :meth:`merge` gives.
        p, q: the modules of prior and posterior.
        reads_prior: whether q is given p.
        evidence: what the encoder gives → what it tells this layer, (B, …).
    """

    event: tuple[int, ...]
    space: Space
    state: State
    p: nn.Module
    q: PosteriorModule
    reads_prior: bool
    evidence: Callable[..., Tensor]

    @abstractmethod
    def enter(self, h: Tensor) -> Tensor:
        """What arrives from above, as the layer reads it."""

    @abstractmethod
    def prior(self, h: Tensor) -> Distribution:
        """p(z_l | z_<l)."""

    @abstractmethod
    def posterior(self, h: Tensor, e: Tensor, p: Distribution | None) -> Distribution:
        """q(z_l | z_<l, x)."""

    @abstractmethod
    def merge(self, h: Tensor, z: Tensor) -> Tensor:
        """The state that the layers below, and at the end the decoder, receive."""


class Layer(Part, family=True):
    """One stochastic layer of a model, top first; or several, that :meth:`spread` counts out."""

    if TYPE_CHECKING:  # what every layer has once it is filled
        prior: Prior
        posterior: Posterior
        latents: int
        scale: int  # of those that read maps

    maps: ClassVar[bool] = False
    """Whether it reads maps, which a network of ``maps`` alone has; one of vectors makes do with the coarsest as a vector."""

    upwards: ClassVar[bool] = False
    """Whether q is told by the layer below instead of by the encoder and the layers above: of a model all layers or none."""

    estimators: ClassVar[tuple[str, ...] | None] = None
    """The gradient estimators that serve it, of those that its posterior takes; all of them if none are named."""

    def spread(self, scales: int) -> tuple[Layer, ...]:
        """The layers that it stands for, top first, over a network of so many scales."""
        return (self,)

    @abstractmethod
    def filled(self, latents: int, prior: Prior | None, posterior: Posterior, top: bool) -> Layer:
        """This layer with what it leaves open taken from the model."""

    @property
    def contents(self) -> tuple[int, Prior, Posterior]:
        """Latents, prior and posterior of a layer that is filled.

        Raises:
            InputError: where it is not.
        """
        if None in (self.latents, self.prior, self.posterior):
            raise InputError("layers", f"have a {type(self).__name__} that leaves latents, prior or posterior open",
                             "ask it for filled(…) first, as Model does")  # fmt: skip
        return self.latents, self.prior, self.posterior

    @abstractmethod
    def build(self, features: Features, state: State) -> LayerModule:
        """The layer's module.

        Args:
            features: width of what the encoder gives; of a network of ``maps``, their shapes.
            state: width or shape of h as it arrives; 0 at the top of a model without conditions.
        """
