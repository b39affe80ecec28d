"""How much do the latents tell of x?

    I_q(x; z) = E_x KL( q(z|x) ‖ q(z) ),      q(z) = E_x q(z|x)          nats

is held from two sides for N examples and z ~ q(z|x_i) (Poole et al. 2019):

    E log q(z|x_i) − log (1/N) Σ_n q(z|x_n)       ≤ I     and never above log N, however much there is to know
    E log q(z|x_i) − log 1/(N−1) Σ_{n≠i} q(z|x_n) ≥ I     large where posteriors do not overlap; the rate is another

An interval that is wide says that N examples are too few to tell, not that the latents are poor. Since the mean of
log q(z|x) − log p(z) is the rate, which is known much better than from a few draws, both sides are taken as the rate less a
mean of log q(z) − log p(z), whose terms vary little.

Each pair of a draw and an example is a walk down the layers, which in a deep hierarchy is most of the model: there are so many
pairs as a number of floating-point operations pays for, and where these are few, of fewer examples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from taut.distributions import fold, same_noise
from taut.model import VAE, draw, follow

__all__ = ["Information", "information", "log_posteriors", "standard_error"]

PAIRS, LEAST = 2**21, 2**13  # of a draw and an example
OPERATIONS = 1e13  # some minutes of a processor
DRAWS = 32  # each weighed against as many examples as there are pairs for
ELEMENTS = 2**22  # numbers at once


@dataclass(frozen=True)
class Information:
    """I_q(x; z), held from two sides, in nats.

    Attributes:
        low: the lower bound, at most log N.
        high: the upper bound, at most the rate.
        low_stderr, high_stderr: their standard errors over draws of z.
        rate: the mean rate.
        n: N.
    """

    low: float
    high: float
    low_stderr: float
    high_stderr: float
    rate: float
    n: int

    @property
    def most(self) -> float:
        """log N: the most that the lower bound can say."""
        return math.log(self.n)


@torch.no_grad()
def information(
    vae: VAE,
    evidence: Sequence[Tensor],
    rate: float,
    pairs: int = PAIRS,
    condition: Tensor | None = None,
    least: int = LEAST,
    operations: float = OPERATIONS,
) -> Information:
    """I_q(x; z) of all latents together, from what the encoder says of N examples.

    Draws come from the default generator.

    Args:
        vae: the model; every posterior has a density.
        evidence: one (N, …) a layer.
        rate: the mean rate of these examples, nats.
        pairs: how many pairs of a draw and an example to weigh, about: fewer draws are taken where there are many examples.
        condition: what each example is conditioned on, (N, C).
        least: pairs to weigh whatever they cost.
        operations: floating-point operations that more of them may take.
    """
    pairs = min(pairs, max(least, int(operations / max(1, _cost(vae, evidence, condition)))))
    some = torch.linspace(0, len(evidence[0]) - 1, min(len(evidence[0]), max(2, pairs // DRAWS))).round().long()
    if len(some) < len(evidence[0]):
        evidence = [part[some] for part in evidence]
        condition = None if condition is None else condition[some]
    n = len(some)
    draws = max(1, min(n, pairs // n))
    own = torch.linspace(0, n - 1, draws, device=evidence[0].device).round().long()
    steps, _ = vae.walk(
        vae.root(draws, None if condition is None else condition[own]), [e[own] for e in evidence], draw
    )
    log_q = log_posteriors(vae, evidence, [step.z for step in steps], condition).double()
    log_own = sum(step.log_q for step in steps).double()
    log_q[torch.arange(draws), own] = log_own  # as it was drawn: where a flow is inverted, it is so only nearly
    log_p = sum(step.log_p for step in steps).double()
    low = rate - (log_q.logsumexp(1) - math.log(n) - log_p)
    others = log_q.scatter(1, own[:, None], -math.inf).logsumexp(1) - math.log(max(1, n - 1))
    high = rate - (others - log_p)
    most = max(0.0, min(math.log(n), rate))
    return Information(
        low=min(max(0.0, float(low.mean())), most),
        high=min(max(0.0, float(high.mean())), rate),
        low_stderr=standard_error(low),
        high_stderr=standard_error(high),
        rate=rate,
        n=n,
    )


def _cost(vae: VAE, evidence: Sequence[Tensor], condition: Tensor | None) -> int:
    """The operations of one walk down the layers."""
    first = None if condition is None else condition[:1]
    with same_noise(evidence[0].device), _Operations() as counted:
        vae.walk(vae.root(1, first), [part[:1] for part in evidence], draw)
    return counted.total


class _Operations(TorchDispatchMode):
    """Inside, the operations of products of matrices and of convolutions are counted."""

    aten = torch.ops.aten
    inner: ClassVar[dict[Any, Callable[..., int]]] = {
        aten.mm.default: lambda a, b: a.shape[-1],
        aten.bmm.default: lambda a, b: a.shape[-1],
        aten.addmm.default: lambda c, a, b: a.shape[-1],
        aten.baddbmm.default: lambda c, a, b: a.shape[-1],
        aten.convolution.default: lambda x, weight, *others: weight[0].numel(),
    }
    """How many products make one number of the result."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in self.inner:
            self.total += 2 * result.numel() * self.inner[function](*args)
        return result


@torch.no_grad()
def log_posteriors(
    vae: VAE, evidence: Sequence[Tensor], z: Sequence[Tensor], condition: Tensor | None = None
) -> Tensor:
    """log q(z_m|x_n) of M draws under the posteriors of N examples, (M, N) nats.

    Args:
        vae: the model.
        evidence: one (N, …) a layer.
        z: one (M, *event) a layer.
    """
    n, width = len(evidence[0]), sum(part[0].numel() for part in (*evidence, *z))
    at_once = max(1, ELEMENTS // (n * width))
    rows = []
    for some in zip(*(part.split(at_once) for part in z), strict=True):
        m = len(some[0])
        values = [part.repeat_interleave(n, 0) for part in some]
        steps, _ = vae.walk(vae.root(m * n, condition), [fold(e, m) for e in evidence], follow(values))
        rows.append(sum(step.log_q for step in steps).view(m, n))
    return torch.cat(rows)


def standard_error(values: Tensor) -> float:
    """Of the mean of values (N,); nan for a single one.

    >>> standard_error(torch.tensor([1.0, 3.0]))
    1.0
    """
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
