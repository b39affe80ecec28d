"""Layers whose inference runs from the data up: q(z|x) = q(z_L|x) … q(z_1|z_2), for p(z_1) p(z_2|z_1) … p(x|z_L).

The classical hierarchy (Rezende, Mohamed and Wierstra 2014; Burda, Grosse and Salakhutdinov 2016): a chain in both
directions, each layer seeing its neighbour alone through a small perceptron. :class:`taut.model.UpwardVAE` walks it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from taut.errors import InputError
from taut.layers.base import Features, Layer, LayerModule, State
from taut.layers.pairing import default_prior, require_pair
from taut.networks.base import Activation, activation, positive
from taut.posteriors import Posterior
from taut.priors import Prior

__all__ = ["Upward"]


@dataclass(frozen=True)
class Upward(Layer):
    """A vector z_l that is told of x by the layer below it, and tells the layer below what to expect.

    All layers of a model are such, or none. KL(q ‖ p) is in closed form at the top alone: below it p depends on a draw that
    depends on z_l.

    Args:
        latents: how many; the model's number if left open.
        prior: the model's at the top if left open; N(μ(h), diag σ²(h)) of what comes from above elsewhere.
        posterior: the model's if left open.
        hidden: widths of the perceptrons between this layer and the one below, each way.
        activation: of those.
    """

    upwards: ClassVar[bool] = True
    estimators: ClassVar[tuple[str, ...] | None] = ("Pathwise",)

    latents: int | None = None
    prior: Prior | None = None
    posterior: Posterior | None = None
    hidden: tuple[int, ...] = (100, 100)
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        positive("hidden", *self.hidden)
        if self.latents is not None and self.latents < 1:
            raise InputError("latents", f"is {self.latents}", "give 1 or more")

    def filled(self, latents: int, prior: Prior | None, posterior: Posterior, top: bool) -> Upward:
        latents, posterior = self.latents or latents, self.posterior or posterior
        prior = self.prior or (prior if top else None) or default_prior(posterior, top)
        require_pair(prior, posterior, latents)
        if posterior.reads_prior or prior.reads_encoder:
            part = posterior if posterior.reads_prior else prior
            raise InputError("model.layers", f"are Upward, whose q knows no prior, and {type(part).__name__} needs both",
                             "choose DiagonalNormal, with StandardNormal, or layers that are Plain")  # fmt: skip
        if posterior.closed:
            part = type(posterior).__name__
            why = f"are Upward, below whose top no divergence is in closed form, and {part} is trained on one"
            raise InputError("model.layers", why, "choose DiagonalNormal, or layers that are Plain")
        return replace(self, latents=latents, prior=prior, posterior=posterior)

    def build(self, features: Features, state: State) -> LayerModule:
        return _Upward(self, features, state)


class _Upward(LayerModule):
    reads_prior = False

    def __init__(self, spec: Upward, features: Features, state: State) -> None:
        super().__init__()
        latents, prior, posterior = spec.contents
        event = posterior.event(latents)
        above = state if isinstance(state, int) else math.prod(state)
        self.spec = spec
        self.p, self.q = prior.build(event, above), posterior.build(event)
        self.event, self.space = self.q.event, posterior.space
        size = math.prod(self.event)
        self.down, self.state = _perceptron(size, spec)
        self.told = nn.Linear(features if isinstance(features, int) else math.prod(features[-1]), self.q.width)
        self.up: nn.Module | None = None
        with torch.no_grad():
            self.told.weight.mul_(0.3)
            self.told.bias.zero_()

    def join(self, below: _Upward) -> None:
        """Be told by the layer below instead of by the encoder."""
        body, width = _perceptron(math.prod(below.event), self.spec)
        last = nn.Linear(width, self.q.width)
        with torch.no_grad():
            last.weight.mul_(0.3)
            last.bias.zero_()
        self.told, self.up = None, nn.Sequential(body, last)

    def evidence(self, features: Tensor | tuple[Tensor, ...]) -> Tensor:
        """What the encoder tells: the layers above the lowest are told nothing by it, (N, 0)."""
        last = features[-1].flatten(1) if isinstance(features, tuple) else features
        return last[:, :0] if self.told is None else self.told(last)

    def enter(self, h: Tensor) -> Tensor:
        return h.flatten(1)

    def prior(self, h: Tensor) -> Distribution:
        return self.q.over(self.p(h))

    def posterior(self, h: Tensor, e: Tensor, p: Distribution | None) -> Distribution:
        """q given what the layer below picked, h, or given the encoder's evidence."""
        params = e if self.up is None else self.up(h)
        params = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        return self.q(params)

    def merge(self, h: Tensor, z: Tensor) -> Tensor:
        return self.down(self.q.told(z).flatten(1))


def _perceptron(size: int, spec: Upward) -> tuple[nn.Sequential, int]:
    body: list[nn.Module] = []
    for width in spec.hidden:
        body += [nn.Linear(size, width), activation(spec.activation)]
        size = width
    return nn.Sequential(*body), size
