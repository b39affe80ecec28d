"""Normalising flows: a simple density seen through an invertible map.

With u = f(z) and u ~ N(0, I),

    log p(z) = log N(f(z); 0, I) + log |det ∂f(z)/∂z|        (N,) nats

The maps are zuko's; the density is ours, so that events of every shape, temperatures and mixed precision are as elsewhere.
"""

from __future__ import annotations

import contextlib
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, transforms

from taut.distributions.normal import DiagonalNormal
from taut.distributions.tempered import tempered

__all__ = ["Coupling", "Flow", "full_precision", "import_zuko"]


def import_zuko() -> ModuleType:
    """zuko without the global state that importing it sets: it turns off torch's argument checks for everyone."""
    checks, name = Distribution._validate_args, transforms._InverseTransform.__name__
    try:
        import zuko
    finally:
        Distribution.set_default_validate_args(checks)
        transforms._InverseTransform.__name__ = name
    return zuko


def full_precision(value: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Inside, nothing is cast down on the device of ``value``: a density stays as precise as its argument."""
    return torch.autocast(value.device.type, enabled=False)


class Flow(Distribution):
    """The density of z = f⁻¹(u) for a simple u.

    Args:
        transform: f, from vectors (N, D) of z to those of u.
        base: the density of u, batch shape (N,), event shape (D,).
        event: shape of one z, of D elements.
    """

    has_rsample = True

    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the priors see to it

    transform: Transform
    base: Distribution

    def __init__(self, transform: Transform, base: Distribution, event: tuple[int, ...]) -> None:
        self.transform, self.base = transform, base
        super().__init__(base.batch_shape, torch.Size(event), validate_args=False)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        u = self.base.rsample(sample_shape)
        with full_precision(u):
            return self.transform.inv(u).unflatten(-1, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        with full_precision(value):
            u, log_det = self.transform.call_and_ladj(value.flatten(-len(self.event_shape)))
        return self.base.log_prob(u) + log_det


class Coupling(Flow):
    """A flow whose maps take one pass in either direction, so that z is quickly found from its noise.

    Args:
        transform: f, from vectors (N, D) of z to those of u.
        base: the density of u, batch shape (N,), event shape (D,).
        event: shape of one z, of D elements.
    """

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        u, log_base = self.base.from_noise(noise.flatten(1))
        with full_precision(u):
            z, log_det = self.transform.inv.call_and_ladj(u)
        return z.unflatten(1, self.event_shape), log_base - log_det

    def to_noise(self, value: Tensor) -> Tensor:
        with full_precision(value):
            u = self.transform(value.flatten(1))
        return self.base.to_noise(u).unflatten(1, self.event_shape)


@tempered.register
def _(p: Flow, temperature: float) -> Distribution:
    """The spread of u is scaled (Kingma and Dhariwal 2018)."""
    return p if temperature == 1 else type(p)(p.transform, tempered(p.base, temperature), p.event_shape)


def standard(rows: int, like: Tensor, size: int) -> DiagonalNormal:
    """N(0, I) over vectors of a size, batch shape (rows,), on the device and in the precision of ``like``."""
    zero = like.new_zeros(()).expand(rows, size)
    return DiagonalNormal(zero, zero)
