"""The bound on data that were not trained on, always at β = 1 and without free bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from taut.data import Feed
from taut.distributions import moments
from taut.layers.base import LayerModule
from taut.model import VAE, Step, draw
from taut.training.company import Company
from taut.training.information import information

__all__ = ["active_units", "examine", "seeded", "shift", "spread_of"]

TOLD, TOLD_PAIRS, TOLD_LEAST = (
    2048,
    2**17,
    2**10,
)  # examples, and pairs, by which it is measured how much the latents tell
TOLD_OPERATIONS = 2e11  # some seconds of a processor

ACTIVE = 0.01
"""A unit is active if the variance of its shift over the data is above this: see :func:`active_units`."""

NARROW = 1e-4  # of the plainest deviation: no prior is taken to be narrower


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Draw from a fixed seed inside, and leave the generators outside as they were."""
    device = torch.device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def examine(
    vae: VAE, feed: Feed, batch: int = 1024, seed: int = 0, limit: int | None = None, company: Company | None = None
) -> dict[str, Any]:
    """One sample per example: mean distortion, rate and ELBO in nats, and where the rate goes.

    Args:
        vae: the model.
        feed: the examples.
        batch: how many at once.
        seed: of all draws.
        limit: the first so many only.
        company: the processes that do it together, each with its part; each is told the same.

    Returns:
        ``elbo`` (None for a point posterior), ``distortion``, ``rate``; ``active_units``; ``kl``, for each layer the mean
        divergence of each latent dimension, or of all together where it does not come apart; ``information``, the lower
        bound of what z tells of x (:mod:`taut.training.information`), None where posteriors have no density.
    """
    n = min(len(feed), limit or len(feed))
    mine = torch.arange(n, device=feed.x.device)
    total = (lambda values: values) if company is None else company.total
    if company is not None:
        mine, seed = company.part(mine), seed + company.rank
    distortion = rate = torch.zeros((), device=feed.x.device, dtype=torch.float64)
    columns: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in vae.layers]
    proper = True
    with seeded(seed, feed.x.device):
        for index in mine.split(batch):
            data = feed.batch(index)
            evidence = vae.evidence(data)
            trace = vae.descend(vae.root(len(index), data.condition), evidence, draw)
            distortion = distortion + trace.distortion(data).double().sum()
            rate = rate + trace.rate().double().sum()
            for column, layer, step, told in zip(columns, vae.layers, trace.steps, evidence, strict=True):
                column.append((shift(layer, step), step.kl.parts, told))
            proper = proper and trace.proper
        layers = [tuple(torch.cat(rows) for rows in zip(*column, strict=True)) for column in columns]
        told = None
        if layers and proper:
            some = float(sum(parts[:TOLD].double().sum(1).mean() for _, parts, _ in layers))
            told = information(vae, [evidence[:TOLD] for _, _, evidence in layers], some, TOLD_PAIRS,
                               None if feed.condition is None else feed.condition[mine[:TOLD]],
                               TOLD_LEAST, TOLD_OPERATIONS).low  # fmt: skip
            told = told if company is None else float(company.mean(torch.tensor(told, device=feed.x.device)))
    distortion, rate = float(total(distortion)) / n, float(total(rate)) / n
    return {
        "elbo": -distortion - rate if proper else None,
        "distortion": distortion,
        "rate": rate,
        "active_units": sum(active_units(vae, [_variance(shifts.double(), n, total) for shifts, _, _ in layers])),
        "information": told,
        "kl": [(total(parts.double().sum(0)) / n).tolist() for _, parts, _ in layers],
    }


def _variance(values: Tensor, n: int, total: Callable[[Tensor], Tensor]) -> Tensor:
    """Of n values of each column in all, (M, D) of them here: (D,)."""
    centred = values - total(values.sum(0)) / n
    return total(centred.square().sum(0)) / max(1, n - 1)


def shift(layer: LayerModule, step: Step) -> Tensor:
    """(E_q[z] − E_p[z]) / σ_p: where q's mean lies as seen from the prior at what was picked above, (N, D)."""
    mean = step.q.mean
    centre, width = spread_of(layer, step.p, mean)
    return ((mean - centre) / width).flatten(1)


def spread_of(layer: LayerModule, p: Distribution, like: Tensor) -> tuple[Tensor, Tensor]:
    """E_p[z] and σ_p, (N, *event) each as ``like`` is.

    Where p knows no mean or no deviation, they are 0 and the layer's ``q.scale``: nothing above moves the plainest prior.
    """
    plain = layer.q.scale
    centre, width = moments(p) or (torch.zeros_like(like), torch.full_like(like, plain))
    return centre, width.clamp_min(NARROW * plain)


def active_units(vae: VAE, variances: Sequence[Tensor]) -> list[bool]:
    """Which latents are active: those whose :func:`shift` varies, Var > 0.01 of any of its elements, over the examples and
    what was picked above, for those variances (D,) of each layer.

    Under a prior N(0, I) the shift is q's mean, and this the measure of Burda et al. (2016). Below the top p moves with what
    is above, and q with it; a unit whose q only follows has learned nothing from x of its own. Since KL(q ‖ p) ≥ ½ shift²
    between normals, an active unit has a rate above 0.005 nats. What is no number is not active: a variance of one example.
    """
    found = []
    for variance, layer in zip(variances, vae.layers, strict=True):
        found += (variance > ACTIVE).view(-1, layer.q.block).any(1).tolist()
    return found
