"""What every stochastic layer promises.

The module that a layer builds answers four questions, and the one loop in :mod:`taut.model` asks nothing else:

    evidence(features)   what the encoder tells this layer; asked once per example, before samples are drawn
    prior(h)             p(z_l | z_<l)
    posterior(h, e, p)   q(z_l | z_<l, x)
    merge(h, z)          the state that the layers below, and at the end the decoder, receive

with h of shape (N, state), z of shape (N, *event). A posterior that does not read p takes ``None`` for it: so a prior that
is made of posteriors (:class:`taut.priors.EncoderPrior`) can ask for them.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from taut.config import Part
from taut.posteriors import Posterior
from taut.priors import Prior

__all__ = ["Layer"]


class Layer(Part, family=True):
    """One stochastic layer of a model, top first."""

    @abstractmethod
    def filled(self, latents: int, prior: Prior | None, posterior: Posterior, top: bool) -> Layer:
        """This layer with what it leaves open taken from the model."""

    @abstractmethod
    def build(self, features: int, state: int) -> nn.Module:
        """The layer's module, with attributes ``event`` (shape of one z), ``space`` (where z lies), ``state`` (width of
        what merge gives), ``p`` and ``q`` (the modules of prior and posterior).

        Args:
            features: width of what the encoder gives.
            state: width of h as it arrives; 0 at the top of a model without conditions.
        """
