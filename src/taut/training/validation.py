"""The bound on data that were not trained on, always at β = 1 and without free bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from taut.data import Feed
from taut.model import VAE, draw
from taut.training.company import Company
from taut.training.information import information

__all__ = ["active_units", "examine", "seeded"]

TOLD, TOLD_PAIRS = 2048, 2**17  # examples, and pairs of them, by which it is measured how much the latents tell

ACTIVE = 0.01
"""A unit is active if the variance of its posterior mean over the data is above this (Burda et al. 2016), in units of the
variance that the plainest prior gives it."""


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
            for column, step, told in zip(columns, trace.steps, evidence, strict=True):
                column.append((step.q.mean.flatten(1), step.kl.parts, told))
            proper = proper and trace.proper
        layers = [tuple(torch.cat(rows) for rows in zip(*column, strict=True)) for column in columns]
        told = None
        if layers and proper:
            some = float(sum(parts[:TOLD].double().sum(1).mean() for _, parts, _ in layers))
            told = information(vae, [evidence[:TOLD] for _, _, evidence in layers], some, TOLD_PAIRS,
                               None if feed.condition is None else feed.condition[mine[:TOLD]]).low  # fmt: skip
            told = told if company is None else float(company.mean(torch.tensor(told, device=feed.x.device)))
    distortion, rate = float(total(distortion)) / n, float(total(rate)) / n
    return {
        "elbo": -distortion - rate if proper else None,
        "distortion": distortion,
        "rate": rate,
        "active_units": active_units(vae, [_variance(means.double(), n, total) for means, _, _ in layers]),
        "information": told,
        "kl": [(total(parts.double().sum(0)) / n).tolist() for _, parts, _ in layers],
    }


def _variance(values: Tensor, n: int, total: Callable[[Tensor], Tensor]) -> Tensor:
    """Of n values of each column in all, (M, D) of them here: (D,)."""
    centred = values - total(values.sum(0)) / n
    return total(centred.square().sum(0)) / max(1, n - 1)


def active_units(vae: VAE, variances: Sequence[Tensor]) -> int:
    """How many latents are active: Var_x( E_q[z] ) > 0.01 s² of any of its elements, for those variances (D,) of each layer.

    s is the layer's ``q.scale``, 1 for real numbers. What is no number is not active: a variance of one example.
    """
    active = (variance > ACTIVE * layer.q.scale**2 for variance, layer in zip(variances, vae.layers, strict=True))
    return sum(int(units.view(-1, layer.q.block).any(1).sum()) for units, layer in zip(active, vae.layers, strict=True))
