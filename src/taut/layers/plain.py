"""The plain layer: a vector of latents."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from taut.errors import InputError
from taut.layers.base import Features, Layer, LayerModule, State
from taut.layers.pairing import default_prior, require_pair
from taut.networks.base import Activation, activation, positive
from taut.posteriors import Posterior
from taut.priors import Prior

__all__ = ["Plain"]


@dataclass(frozen=True)
class Plain(Layer):
    """A vector z_l; the state below it is everything picked so far, (h, z_l), as each posterior tells it.

    The posterior's parameters are a sum of two parts: one linear in the encoder's features, found once per example, and
    one that reads the layers above, found for each of their samples. The top layer of a model has only the first.

    Args:
        latents: how many; the model's number if left open.
        prior: the model's at the top if left open; where that is open too, the plainest one of the posterior's space.
        posterior: the model's if left open.
        hidden: width of the hidden layers that read the layers above.
        activation: of those.
    """

    latents: int | None = None
    prior: Prior | None = None
    posterior: Posterior | None = None
    hidden: int = 200
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        positive("hidden", self.hidden)
        if self.latents is not None and self.latents < 1:
            raise InputError("latents", f"is {self.latents}", "give 1 or more")

    def filled(self, latents: int, prior: Prior | None, posterior: Posterior, top: bool) -> Plain:
        latents, posterior = self.latents or latents, self.posterior or posterior
        prior = self.prior or (prior if top else None) or default_prior(posterior, top)
        require_pair(prior, posterior, latents)
        return replace(self, latents=latents, prior=prior, posterior=posterior)

    def build(self, features: Features, state: State) -> LayerModule:
        return _Plain(self, features, state if isinstance(state, int) else math.prod(state))


class _Plain(LayerModule):
    def __init__(self, spec: Plain, features: Features, state: int) -> None:
        super().__init__()
        latents, prior, posterior = spec.contents
        event = posterior.event(latents)
        self.p = prior.build(event, state)
        self.q = posterior.build(event)
        self.reads_prior = posterior.reads_prior
        self.event, self.space = self.q.event, posterior.space
        self.state = state + math.prod(self.event)
        told = nn.Linear(features if isinstance(features, int) else math.prod(features[-1]), self.q.width)
        with torch.no_grad():
            # μ and log σ start small: q starts near the prior and the rate near zero
            told.weight.mul_(0.3)
            told.bias.zero_()
        self.evidence = told if isinstance(features, int) else nn.Sequential(_Coarsest(), told)
        self.above = None
        if state:
            self.above = nn.Sequential(
                nn.Linear(state, spec.hidden), activation(spec.activation), nn.Linear(spec.hidden, self.q.width)
            )

    def enter(self, h: Tensor) -> Tensor:
        return h.flatten(1)

    def prior(self, h: Tensor) -> Distribution:
        return self.q.over(self.p(h))

    def posterior(self, h: Tensor, e: Tensor, p: Distribution | None) -> Distribution:
        params = e if self.above is None else e + self.above(h)
        # the bound stays in float32 whatever the networks compute in
        params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        return self.q(params, p) if self.reads_prior else self.q(params)

    def merge(self, h: Tensor, z: Tensor) -> Tensor:
        z = self.q.told(z).flatten(1)
        return torch.cat([h, z], 1) if h.shape[1] else z


class _Coarsest(nn.Module):
    """The maps of all scales → the coarsest as one vector."""

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        return features[-1].flatten(1)
