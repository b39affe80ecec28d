"""Do the latents carry anything? How much, which of them, and what is left between their aggregate and the prior.

The rate is what an average example's posterior costs beyond the prior. It comes apart in two (Hoffman and Johnson 2016):

    E_x KL( q(z|x) ‖ p(z) ) = I_q(x; z) + KL( q(z) ‖ p(z) ),        q(z) = E_x q(z|x)          nats

the first is information about x, the second the mismatch of the aggregate posterior with the prior: what generation pays
for. For N examples and z ~ q(z|x_i), I is held from two sides (Poole et al. 2019):

    E log q(z|x_i) − log (1/N) Σ_n q(z|x_n)       ≤ I     and never above log N, however much there is to know
    E log q(z|x_i) − log 1/(N−1) Σ_{n≠i} q(z|x_n) ≥ I     large where posteriors do not overlap; the rate is another

An interval that is wide says that N examples are too few to tell, not that the latents are poor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from taut.evaluation.subject import Subject, seed_of
from taut.model import VAE, draw, fold, follow
from taut.training import seeded

__all__ = ["Information", "aggregate", "information", "log_posteriors"]

PAIRS = 2**22  # of a draw and an example
ELEMENTS = 2**22  # numbers at once


@dataclass(frozen=True)
class Information:
    """I_q(x; z), held from two sides, in nats.

    Attributes:
        low: the lower bound, at most log N.
        high: the upper bound; infinite where nothing is known.
        low_stderr, high_stderr: their standard errors over draws of z.
        n: N.
    """

    low: float
    high: float
    low_stderr: float
    high_stderr: float
    n: int

    @property
    def most(self) -> float:
        """log N: the most that the lower bound can say."""
        return math.log(self.n)


@torch.no_grad()
def information(vae: VAE, evidence: Sequence[Tensor], pairs: int = PAIRS) -> Information:
    """I_q(x; z) of all latents together, from what the encoder says of N examples.

    Draws come from the default generator.

    Args:
        vae: the model; every posterior has a density.
        evidence: one (N, …) a layer.
        pairs: how many pairs of a draw and an example to weigh, about: fewer draws are taken where there are many examples.
    """
    n = len(evidence[0])
    draws = max(1, min(n, pairs // n))
    own = torch.linspace(0, n - 1, draws, device=evidence[0].device).round().long()
    steps, _ = vae.walk(vae.root(draws), [e[own] for e in evidence], draw)
    log_q = log_posteriors(vae, evidence, [step.z for step in steps]).double()
    log_own = sum(step.log_q for step in steps).double()
    log_q[torch.arange(draws), own] = log_own  # as it was drawn: where a flow is inverted, it is so only nearly
    low = log_own - (log_q.logsumexp(1) - math.log(n))
    others = log_q.scatter(1, own[:, None], -math.inf).logsumexp(1) - math.log(max(1, n - 1))
    high = log_own - others
    return Information(float(low.mean()), float(high.mean()), _stderr(low), _stderr(high), n)


@torch.no_grad()
def log_posteriors(vae: VAE, evidence: Sequence[Tensor], z: Sequence[Tensor]) -> Tensor:
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
        steps, _ = vae.walk(vae.root(m * n), [fold(e, m) for e in evidence], follow(values))
        rows.append(sum(step.log_q for step in steps).view(m, n))
    return torch.cat(rows)


def aggregate(subject: Subject, rate: float, limit: int = 10_000) -> dict[str, Any]:
    """What is known of the aggregate posterior over a subject's examples.

    Args:
        subject: model and examples.
        rate: its mean rate over them, nats.
        limit: use so many examples, at most.

    Returns:
        ``information`` (``low``, ``high``, ``low_stderr``, ``n``, ``most``) and ``mismatch`` (``low``, ``high``), the two
        halves of the rate in nats; ``mean`` and ``std`` of each element of z under the aggregate. JSON can hold it. Empty
        for a model without latents; of a posterior without a density, mean and standard deviation alone.
    """
    vae = subject.vae
    if not vae.layers:
        return {}
    with seeded(seed_of(subject.seed, "aggregate"), subject.feed.x.device), torch.no_grad():
        parts = [vae.evidence(subject.batch(part)) for part in subject.some(limit).split(1024)]
        evidence = [torch.cat(layer) for layer in zip(*parts, strict=True)]
        steps, _ = vae.walk(vae.root(len(evidence[0])), evidence, draw)
        z = torch.cat([step.z.flatten(1).double() for step in steps], 1)
        found: dict[str, Any] = {"mean": z.mean(0).tolist(), "std": z.std(0, correction=0).tolist()}
        if not all(getattr(step.q, "proper", True) for step in steps):
            return found
        held = information(vae, evidence)
    high = max(held.low, min(held.high, rate))
    told = {"low": held.low, "high": high, "low_stderr": held.low_stderr, "n": held.n, "most": held.most}
    return found | {"information": told, "mismatch": {"low": max(0.0, rate - high), "high": max(0.0, rate - held.low)}}


def _stderr(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
