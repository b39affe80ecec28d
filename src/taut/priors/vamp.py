"""The variational mixture of posteriors.

    p(z) = 1/K Σ_k q(z | u_k)

The bound is greatest for the prior that equals the aggregated posterior, 1/N Σ_n q(z | x_n); this is its like with K
learned pseudo-inputs u_k in place of the N examples (Tomczak and Welling 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from taut import distributions
from taut.data import Statistics
from taut.errors import InputError
from taut.networks.base import positive
from taut.priors.base import EncoderPrior, Prior
from taut.priors.mixture import few_enough

__all__ = ["Vamp"]


@dataclass(frozen=True)
class Vamp(Prior):
    """p(z) = 1/K Σ_k q(z|u_k), the posteriors of K learned pseudo-inputs mixed (Tomczak and Welling 2018).

    Pseudo-inputs are examples that the encoder reads. They start as independent draws for each element of x with the
    mean and the deviation of the training data, and stay inside the values that x can take. The prior is a density
    wherever the posterior is one; its divergence is sampled. At a temperature the spread of every component is scaled,
    if the posterior knows one. Only the top layer can have it: its posterior reads x alone.

    Args:
        components: K, at most the number of training examples.
    """

    codable: ClassVar[bool] = True
    space: ClassVar[None] = None
    heavy: ClassVar[bool] = True
    reads_encoder: ClassVar[bool] = True

    components: int = 500

    def __post_init__(self) -> None:
        positive("components", self.components)

    def build(self, event: tuple[int, ...], state: int) -> nn.Module:
        if state:
            raise InputError("model.prior", "is Vamp where posteriors depend on what stands above it, layers or a condition",
                             "choose ConditionalNormal there, and keep Vamp for the top layer")  # fmt: skip
        return _Vamp(self.components)

    def check(self, examples: int) -> None:
        few_enough(self.components, examples)


class _Vamp(EncoderPrior):
    slope = 4.0  # of the squashing, so that its steepest part is as steep as a straight line
    margin = 0.01  # how near to a bound pseudo-inputs may start, as a share of the range

    unit: Tensor

    def __init__(self, components: int) -> None:
        super().__init__()
        self.components = components
        self.bounds: tuple[float, float] | None = None
        self.kept: tuple[Hashable, Distribution] | None = None

    def bind(
        self,
        infer: Callable[[Tensor], Distribution],
        stamp: Callable[[], Hashable | None],
        statistics: Statistics,
        bounds: tuple[float, float] | None,
    ) -> None:
        self.infer, self.stamp, self.bounds = infer, stamp, bounds
        mean, std = statistics.mean, statistics.std
        x = mean + std * torch.randn(self.components, *mean.shape)
        if bounds is None or math.isinf(bounds[1]):
            self.register_buffer("unit", std.clone())
            free = x / std
            if bounds is not None:  # softplus backwards
                free = (free - bounds[0] / std).clamp_min(self.margin)
                free = free + (-torch.expm1(-free)).log()
            self.free = nn.Parameter(free)
        else:
            low, high = bounds
            share = ((x - low) / (high - low)).clamp(self.margin, 1 - self.margin)
            self.free = nn.Parameter(share.logit() / self.slope)
        with torch.no_grad():
            q = infer(self.pseudo_inputs[:1])
        if not getattr(q, "proper", True):
            name = type(q).__name__
            raise InputError("model.prior", f"is Vamp, a mixture of posteriors, and the {name} posterior has no density",
                             "choose another prior, such as Mixture, or another posterior")  # fmt: skip

    @property
    def pseudo_inputs(self) -> Tensor:
        """u, shape (K, *shape), in the data's units."""
        if self.bounds is None:
            return self.free * self.unit
        low, high = self.bounds
        if math.isinf(high):
            return low + nn.functional.softplus(self.free) * self.unit
        return low + (high - low) * (self.slope * self.free).sigmoid()

    def train(self, mode: bool = True) -> _Vamp:
        self.kept = None
        return super().train(mode)

    def forward(self, h: Tensor) -> distributions.Mixture:
        q = self.posteriors()
        return distributions.Mixture(q, h.new_zeros(self.components), h.shape[0])

    def posteriors(self) -> Distribution:
        """q(z|u_k), batch shape (K,); found once for a pass, and kept from pass to pass while nothing learns."""
        stamp = None if self.training else self.stamp()
        if stamp is None:
            self.kept = None
            return self.infer(self.pseudo_inputs)
        if self.kept is None or self.kept[0] != stamp:
            self.kept = stamp, self.infer(self.pseudo_inputs)
        return self.kept[1]
