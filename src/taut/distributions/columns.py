"""Elements of several kinds side by side: groups of columns, each group with a density of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.distributions.factorised import Factorised

__all__ = ["Columnwise", "LogScaled", "Rounded"]


class Columnwise(Distribution):
    """Independent columns, event shape (D,), batch shape (N,).

    Args:
        groups: a density of some columns, and which these are.
        width: D.
    """

    exactness = "exact"
    arg_constraints: ClassVar[dict[str, Any]] = {}  # nothing is checked here: the heads see to it

    def __init__(self, groups: Sequence[tuple[Factorised, Sequence[int]]], width: int) -> None:
        self.groups = groups
        super().__init__(groups[0][0].batch_shape, torch.Size([width]), validate_args=False)

    def _gather(self, parts: Sequence[Tensor]) -> Tensor:
        """The columns of all groups, (…, D), in order."""
        order = [i for _, index in self.groups for i in index]
        back = sorted(range(len(order)), key=order.__getitem__)  # no tensor's business: a graph has it as a constant
        return torch.cat(list(parts), -1)[..., torch.tensor(back, device=parts[0].device)]

    @property
    def mean(self) -> Tensor:
        """E[x|z] of numbers, (N, D), and the likeliest of categories, which have no mean."""
        return self._gather([getattr(density.base, "likeliest", density.mean) for density, _ in self.groups])

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self._gather([density.sample(sample_shape) for density, _ in self.groups])

    def elements(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x_d|z) of each column, (N, D) nats, zero where it is not observed; arguments as for :meth:`log_prob`."""
        return self._gather(
            [
                density.elements(value[:, index], None if mask is None else mask[:, index])
                for density, index in self.groups
            ]
        )

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """log p(x|z) of the observed elements, (N,) nats: arguments as for :meth:`Factorised.log_prob`."""
        parts = [
            density.log_prob(value[:, index], None if mask is None else mask[:, index])
            for density, index in self.groups
        ]
        return torch.stack(parts).sum(0)


class LogScaled(Distribution):
    """x = e^y for y of an elementwise density: log p(x) = log p(y) − log x, the last the Jacobian.

    Args:
        base: of y, a normal about ``mean`` with ``stddev`` where the mean of x is to be known.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, base: Distribution) -> None:
        self.base = base
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """E[x] = exp(μ + σ²/2) of a normal y."""
        return (self.base.mean + self.base.stddev.square() / 2).clamp(max=80.0).exp()

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.base.sample(sample_shape).clamp(-80.0, 80.0).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        y = value.clamp_min(torch.finfo(value.dtype).tiny).log()  # a masked cell may hold zero
        return self.base.log_prob(y) - y


class Rounded(Distribution):
    """A logistic variable rounded to whole numbers, elementwise: all of them from −∞ to ∞.

        P(x = k) = σ(b) − σ(a) = σ(b) σ(−a) (1 − e^{−1/s})        a, b = (k ∓ ½ − μ)/s

    Args:
        location: μ, any shape.
        log_scale: log s, the same shape.

    >>> d = Rounded(torch.zeros(1), torch.zeros(1))
    >>> round(d.log_prob(torch.arange(-40.0, 41).unsqueeze(1)).exp().sum().item(), 4)
    1.0
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    location: Tensor
    log_scale: Tensor

    def __init__(self, location: Tensor, log_scale: Tensor) -> None:
        self.location, self.log_scale = location, log_scale
        super().__init__(location.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.location

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        shape = (*sample_shape, *self.location.shape)
        u = torch.rand(shape, dtype=self.location.dtype, device=self.location.device).clamp(1e-7, 1 - 1e-7)
        return (self.location + self.log_scale.exp() * u.logit()).round()

    def log_prob(self, value: Tensor) -> Tensor:
        width = (-self.log_scale).exp()
        middle = (value - self.location) * width
        upper, lower = middle + width / 2, width / 2 - middle
        both = torch.nn.functional.logsigmoid(upper) + torch.nn.functional.logsigmoid(lower)
        return both + torch.log(-torch.expm1(-width))
