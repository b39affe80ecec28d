"""The bound on data that were not trained on, always at β = 1 and without free bits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from taut.data import Feed
from taut.model import VAE

__all__ = ["active_units", "examine", "seeded"]

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
def examine(vae: VAE, feed: Feed, batch: int = 1024, seed: int = 0, limit: int | None = None) -> dict[str, float]:
    """One sample per example: mean distortion, rate and ELBO in nats, and the number of active units.

    The ELBO is ``None`` for a point posterior.
    """
    n = min(len(feed), limit or len(feed))
    distortion = rate = 0.0
    means: list[list[Tensor]] = []
    proper = True
    with seeded(seed, feed.x.device):
        for index in torch.arange(n, device=feed.x.device).split(batch):
            data = feed.batch(index)
            trace = vae(data)
            distortion += trace.distortion(data).double().sum()
            rate += trace.rate().double().sum()
            means.append([step.q.mean.flatten(1) for step in trace.steps])
            proper = proper and trace.proper
    distortion, rate = float(distortion) / n, float(rate) / n
    variances = [torch.cat(layer).var(0, correction=min(1, n - 1)) for layer in zip(*means, strict=True)]
    return {
        "elbo": -distortion - rate if proper else None,
        "distortion": distortion,
        "rate": rate,
        "active_units": active_units(vae, variances),
    }


def active_units(vae: VAE, variances: Sequence[Tensor]) -> int:
    """How many latents are active: Var_x( E_q[z] ) > 0.01 s² of any of its elements, for those variances (D,) of each layer.

    s is the layer's ``q.scale``, 1 for real numbers. What is no number is not active: a variance of one example.
    """
    active = (variance > ACTIVE * layer.q.scale**2 for variance, layer in zip(variances, vae.layers, strict=True))
    return sum(int(units.view(-1, layer.q.block).any(1).sum()) for units, layer in zip(active, vae.layers, strict=True))
