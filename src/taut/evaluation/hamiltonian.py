"""Hamiltonian Monte Carlo, many chains at once (Neal 2011).

A density f(u) on R^D, known up to a constant, is given a momentum v ~ N(0, I). With H(u, v) = −log f(u) + ½|v|², the joint
density e^{−H} is kept by the motion du/dt = v, dv/dt = ∇ log f(u), which L leapfrogs of a step ε follow nearly,

    v ← v + ½ ε ∇ log f(u),   u ← u + ε v,   v ← v + ½ ε ∇ log f(u)

and wholly once the end (u*, v*) is accepted only with probability min(1, e^{H − H*}): the leapfrog is reversible and keeps
volumes. With v drawn anew before each trajectory and forgotten after it the kernel has detailed balance,
f(u) K(u → u*) = f(u*) K(u* → u), for any ε that u has no part in. So each trajectory may have a random one: ε is spread by
±20%, lest a trajectory come back to where it began. Energies that are no number are refused.

Densities come as log f(u) = Σ_p c_p g_p(u), values and gradients of each term kept apart: along a path of densities the
coefficients c change, and nothing that is known of where a chain stands need be found again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ACCEPTANCE", "Position", "Steps", "Terms", "at", "trajectory"]

ACCEPTANCE = 0.65
"""The share of trajectories to accept: the cheapest in many dimensions (Beskos et al. 2013)."""

SPREAD = 0.2

Terms = Callable[[Tensor], Tensor]
"""u (M, D) → g (P, M), the terms of log f, each row's of that row alone."""


class Position(NamedTuple):
    """Where M chains stand.

    Attributes:
        u: (M, D).
        values: g_p(u), (P, M).
        slopes: ∇ g_p(u), (P, M, D).
    """

    u: Tensor
    values: Tensor
    slopes: Tensor

    def log_density(self, c: Tensor) -> Tensor:
        """log f, (M,), for coefficients (P, M)."""
        return (c * self.values).sum(0)

    def slope(self, c: Tensor) -> Tensor:
        """∇ log f, (M, D)."""
        return (c.unsqueeze(2) * self.slopes).sum(0)


def at(terms: Terms, u: Tensor) -> Position:
    """The position u (M, D), with what is to be known of the terms there."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        values = terms(u)
        last = len(values) - 1
        slopes = [torch.autograd.grad(row.sum(), u, retain_graph=i < last)[0] for i, row in enumerate(values)]
    return Position(u.detach(), values.detach(), torch.stack(slopes))


def trajectory(terms: Terms, here: Position, c: Tensor, step: Tensor, leapfrogs: int = 10) -> tuple[Position, Tensor]:
    """One trajectory of every chain, and whether to follow it.

    Args:
        terms: g.
        here: where the chains stand.
        c: coefficients of the terms, (P, M).
        step: ε of each chain, (M,).
        leapfrogs: L.

    Returns:
        Where the chains stand then, and the probabilities with which they were let go there, (M,).
    """
    step = (step * torch.empty_like(step).uniform_(1 - SPREAD, 1 + SPREAD)).unsqueeze(1)
    there = here
    v = torch.randn_like(here.u)
    before = here.log_density(c) - 0.5 * v.square().sum(1)
    v = v + 0.5 * step * here.slope(c)
    for i in range(leapfrogs):
        there = at(terms, there.u + step * v)
        v = v + (step if i < leapfrogs - 1 else 0.5 * step) * there.slope(c)
    after = there.log_density(c) - 0.5 * v.square().sum(1)
    chance = (after - before).exp().clamp(max=1).nan_to_num(0.0)
    go = torch.rand_like(chance) < chance
    u = torch.where(go.unsqueeze(1), there.u, here.u)
    values = torch.where(go, there.values, here.values)
    return Position(u, values, torch.where(go.unsqueeze(1), there.slopes, here.slopes)), chance


class Steps:
    """The size of a step for each of B examples, led towards the wanted acceptance by what its chains were just given.

    It looks back at where the chains went, so kernels that it steers do not keep their density exactly: it is for finding
    sizes that are then held fixed.

    Args:
        examples: B.
        size: D, dimensions.
        like: a tensor of the wanted device and precision.
        rate: how fast log ε follows.
    """

    log_step: Tensor

    def __init__(self, examples: int, size: int, like: Tensor, rate: float = 0.3) -> None:
        self.log_step = like.new_full((examples,), -0.25).mul_(torch.tensor(float(size)).log())
        self.rate = rate

    def lead(self, chances: Tensor) -> None:
        """Learn from acceptance probabilities (K·B,), chains of an example B apart."""
        self.log_step = self.log_step + self.rate * (chances.view(-1, len(self.log_step)).mean(0) - ACCEPTANCE)
