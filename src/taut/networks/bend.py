"""Invertible maps of vectors, with weights of their own for each of B examples: u → z.

Many densities are fitted side by side, one for each example, and none has a say in another's. A map first moves and
stretches its vectors by fixed numbers of each example, so that y = (u − c)/s is about one wide; then

    y ← (I + A) y,   A strictly lower triangular                       all correlations
    y_b ← y_b exp(a) + t,   (a, t) = θ(y_a, h),   y = (y_a, y_b)       couplings (Dinh, Sohl-Dickstein and Bengio 2017)

and z = c + s y. Two couplings in turn exchange the halves, and the next two divide the elements otherwise. It starts as the
identity, and

    log |det ∂z/∂u| = Σ a
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from taut.distributions import soft
from taut.networks.base import Modules

__all__ = ["Bend"]

REACH = 3.0  # of |a|, softly


class Bend(nn.Module):
    """Maps of vectors (K·B, D), sample-major, each by the weights of its example; every weight's leading axis is B.

    Args:
        centre: c, (B, D).
        spread: s > 0, (B, D).
        state: mean and deviation of the h that couplings read besides, (B, S) each.
        couplings: how many.
        hidden: width of each θ.

    >>> seed = torch.manual_seed(0)
    >>> f = Bend(torch.zeros(2, 3), torch.ones(2, 3), (torch.zeros(2, 0), torch.ones(2, 0)))
    >>> u, h = torch.randn(10, 3), torch.zeros(10, 0)
    >>> z, log_det = f(u, h)
    >>> torch.allclose(z, u, atol=1e-6), log_det.abs().max().item()
    (True, 0.0)
    """

    told: int
    mixing: nn.Parameter
    nets: Modules[_Net]
    centre: Tensor
    spread: Tensor
    above: Tensor
    breadth: Tensor
    order: Tensor

    def __init__(
        self, centre: Tensor, spread: Tensor, state: tuple[Tensor, Tensor], couplings: int = 4, hidden: int = 32
    ) -> None:
        super().__init__()
        rows, size = centre.shape
        for name, value in {"centre": centre, "spread": spread, "above": state[0], "breadth": state[1]}.items():
            self.register_buffer(name, value.unsqueeze(1))
        self.register_buffer("order", _orders(size, couplings).to(centre.device))
        self.told = size // 2  # how many elements a coupling leaves as they are
        self.mixing = nn.Parameter(centre.new_zeros(rows, size, size))
        widths = self.told + state[0].shape[1], hidden, 2 * (size - self.told)
        self.nets = Modules(_Net(rows, widths, centre) for _ in range(couplings))

    def forward(self, u: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """z (K·B, D) and log |det ∂z/∂u| (K·B,) nats, for u (K·B, D) and h (K·B, S)."""
        y = (self._apart(u) - self.centre) / self.spread
        y = torch.baddbmm(y, y, self.mixing.tril(-1).mT)
        h, log_det = (self._apart(h) - self.above) / self.breadth, torch.zeros_like(y[..., 0])
        for order, net in zip(self.order, self.nets, strict=True):
            fixed, moved = order[: self.told], order[self.told :]
            a, t = net(y[..., fixed], h)
            y = y.index_copy(2, moved, torch.addcmul(t, y[..., moved], a.exp()))
            log_det = log_det + a.sum(2)
        return self._together(torch.addcmul(self.centre, self.spread, y)), self._together(log_det)

    def inverse(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """u (K·B, D) and log |det ∂z/∂u| (K·B,) nats."""
        y = (self._apart(z) - self.centre) / self.spread
        h, log_det = (self._apart(h) - self.above) / self.breadth, torch.zeros_like(y[..., 0])
        for order, net in zip(self.order.flip(0), reversed(self.nets), strict=True):
            fixed, moved = order[: self.told], order[self.told :]
            a, t = net(y[..., fixed], h)
            y = y.index_copy(2, moved, (y[..., moved] - t) * (-a).exp())
            log_det = log_det + a.sum(2)
        y = torch.linalg.solve_triangular(self.mixing.tril(-1), y.mT, upper=False, unitriangular=True).mT
        return self._together(torch.addcmul(self.centre, self.spread, y)), self._together(log_det)

    def _apart(self, values: Tensor) -> Tensor:
        """(K·B, …) → (B, K, …)."""
        rows = len(self.mixing)
        return values.unflatten(0, (len(values) // rows, rows)).transpose(0, 1)

    def _together(self, values: Tensor) -> Tensor:
        """(B, K, …) → (K·B, …)."""
        return values.transpose(0, 1).flatten(0, 1)


def _orders(size: int, couplings: int) -> Tensor:
    """For each coupling the elements 0 … D − 1, those that it leaves as they are first, (T, D)."""
    generator, orders = torch.Generator().manual_seed(0), []
    for i in range(couplings):
        orders.append(orders[-1].flip(0) if i % 2 else torch.randperm(size, generator=generator))
    return torch.stack(orders)


class _Net(nn.Module):
    """θ: (y_a, h), (B, K, ·) each → a and t, with one hidden layer; zero at first."""

    def __init__(self, rows: int, widths: tuple[int, int, int], like: Tensor) -> None:
        super().__init__()
        read, hidden, given = widths
        first = torch.randn(read, hidden, dtype=like.dtype, device=like.device) / math.sqrt(max(1, read))
        self.first, self.last = (
            nn.Parameter(first.repeat(rows, 1, 1)),
            nn.Parameter(like.new_zeros(rows, hidden, given)),
        )
        self.inner, self.outer = (
            nn.Parameter(like.new_zeros(rows, 1, hidden)),
            nn.Parameter(like.new_zeros(rows, 1, given)),
        )

    def forward(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        units = silu(torch.baddbmm(self.inner, torch.cat([y, h], 2), self.first))
        a, t = torch.baddbmm(self.outer, units, self.last).chunk(2, 2)
        return soft(a, REACH), t
