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
from typing import ClassVar, TypeAlias

from torch import nn

from taut.config import Part
from taut.posteriors import Posterior
from taut.priors import Prior, State

__all__ = ["Features", "Layer", "State"]

Features: TypeAlias = int | tuple[tuple[int, int, int], ...]
"""The width of an encoder's features, or the shapes (C, H, W) of its maps, the finest first."""


class Layer(Part, family=True):
    """One stochastic layer of a model, top first; or several, that :meth:`spread` counts out."""

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

    @abstractmethod
    def build(self, features: Features, state: State) -> nn.Module:
        """The layer's module, with attributes ``event`` (shape of one z), ``space`` (where z lies), ``state`` (width
        or shape of what merge gives), ``p`` and ``q`` (the modules of prior and posterior).

        Args:
            features: width of what the encoder gives; of a network of ``maps``, their shapes.
            state: width or shape of h as it arrives; 0 at the top of a model without conditions.
        """
