"""Autoregressive priors: one learned by a masked network, and the AR(1) process of the δ-VAE.

    p(z) = Π_d p(z_d | z_<d)

Both factorise in order, so that their divergences come per dimension.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from taut import distributions
from taut.errors import InputError
from taut.networks.base import Activation, activation, positive
from taut.networks.masked import Masked
from taut.priors.base import Prior

__all__ = ["AR1", "Autoregressive"]


@dataclass(frozen=True)
class Autoregressive(Prior):
    """p(z) = Π_d Σ_m π_dm N(z_d; μ_dm, σ_dm²), every conditional read from one masked network (Germain et al. 2015).

    It starts at N(0, I) with one component, near it with more. Its divergence is sampled and comes per dimension; a sample
    takes one pass for each latent; it knows no temperature. Below the top the network reads the state h as well.

    Args:
        components: M, normals in each conditional.
        hidden: widths of the masked network.
        activation: inside it.
    """

    codable: ClassVar[bool] = True

    components: int = 5
    hidden: tuple[int, ...] = (128, 128)
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        positive("components", self.components)
        positive("hidden", *self.hidden)

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _Autoregressive(event, state, self)


class _Autoregressive(nn.Module):
    bound = 7.0  # of |log σ|, softly

    def __init__(self, event: tuple[int, ...], state: int, spec: Autoregressive) -> None:
        super().__init__()
        self.event, self.size, self.components = event, math.prod(event), spec.components
        # a unit of degree m sees z_1 … z_m; those of h, and of nothing, have degree 0
        before = torch.cat([torch.arange(1, self.size + 1), torch.zeros(state, dtype=torch.long)])
        layers: list[nn.Module] = []
        for width in spec.hidden:
            degrees = torch.arange(width) % self.size if state else 1 + torch.arange(width) % max(1, self.size - 1)
            layers += [Masked(before, degrees), activation(spec.activation)]
            before = degrees
        wanted = torch.arange(self.size).repeat_interleave(3 * self.components)
        last = Masked(before, wanted)
        self.network = nn.Sequential(*layers, last)
        with torch.no_grad():
            last.weight.mul_(0.01)
            start = torch.linspace(-0.5, 0.5, spec.components) if spec.components > 1 else torch.zeros(1)
            spread = 0.5 * math.log(1 - float(start.var(correction=0)))
            bias = torch.stack([torch.zeros_like(start), start, torch.full_like(start, spread)])
            last.bias.copy_(bias.repeat(self.size, 1, 1).flatten())

    def conditionals(self, h: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log π, μ and log σ of every conditional, (..., N, D, M) each, of vectors z (..., N, D) and the state h."""
        inputs = torch.cat([z, h.expand(*z.shape[:-1], -1)], -1) if h.shape[1] else z
        out = self.network(inputs).unflatten(-1, (self.size, 3, self.components))
        log_pi, mu, raw = out.unbind(-2)
        return log_pi.log_softmax(-1), mu, distributions.soft(raw, self.bound)

    def forward(self, h: Tensor) -> distributions.Autoregressive:
        return distributions.Autoregressive(partial(self.conditionals, h), h.shape[0], self.event, h)


@dataclass(frozen=True)
class AR1(Prior):
    """z_1 ~ N(0, 1), z_t = α z_{t−1} + √(1 − α²) ε_t: a slowly changing series of latents (Razavi et al. 2019).

    Latents are ordered along the first axis of the event; others hold series of their own. A factorised posterior cannot
    match it, and so spends a rate above zero on every example: what the δ-VAE is built on. For independent normals over T
    latents the least of it is δ = ½ ((T − 2) log(1 + α²) − log(1 − α²)) nats, which ``least_rate`` of its density tells; 12.1
    nats for 40 latents at α = 0.9. Its divergence from a normal is in closed form; at a temperature the whole series is
    scaled. Nothing in it learns.

    Args:
        alpha: α, the correlation of neighbours, between −1 and 1.
    """

    codable: ClassVar[bool] = True
    normal: ClassVar[bool] = True

    alpha: float = 0.9

    def __post_init__(self) -> None:
        if not -1 < self.alpha < 1:
            raise InputError("alpha", f"is {self.alpha:g}", "give a number between -1 and 1, both excluded")

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        return _AR1(event, self.alpha)


class _AR1(nn.Module):
    zero: Tensor

    def __init__(self, event: tuple[int, ...], alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.register_buffer("zero", torch.zeros(event), persistent=False)

    def forward(self, h: Tensor) -> distributions.AR1:
        return distributions.AR1(self.alpha, self.zero.expand(h.shape[0], *self.zero.shape))
