"""The evidence lower bound and the importance-weighted bound of each example.

With z_1 … z_K ~ q(z|x) and log w_k = log p(x, z_k) − log q(z_k|x),

    ELBO   = (1/K) Σ_k ( log p(x|z_k) − KL(q ‖ p) )       the KL in closed form where one exists
    IW-K   = log (1/K) Σ_k w_k                            E[IW-K] rises to log p(x) with K  (Burda et al. 2016)
    ESS    = (Σ w_k)² / Σ w_k²                            effective number of the K samples

Samples are taken a few at a time and folded into running sums, so memory does not grow with K.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from taut.data import Batch, Feed
from taut.model import VAE, draw, fold
from taut.training import seeded

__all__ = ["Bounds", "bounds"]

EXAMPLES = 64  # that share one pass of the encoder
ELEMENTS = 2**20  # of decoder output at once: about what a processor's cache holds
ROWS = 4096  # samples at once, at most


class Bounds(NamedTuple):
    """Per example, in the order asked for, on the host; nats.

    Attributes:
        distortion: (N,) mean over the samples.
        rate: (N,) likewise.
        importance: (N,) the IW-K bound.
        ess: (N,) effective sample size, 1 to K.
        kl: a (D_l,) mean divergence per latent dimension for each layer, over examples.
        means: (N, D_l) posterior means of each layer.
        proper: whether the ELBO exists.
    """

    distortion: Tensor
    rate: Tensor
    importance: Tensor
    ess: Tensor
    kl: list[Tensor]
    means: list[Tensor]
    proper: bool


@torch.no_grad()
def bounds(
    vae: VAE,
    feed: Feed,
    samples: int,
    index: Tensor | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bounds:
    """The bounds of the examples of a feed.

    Args:
        vae: the model.
        feed: the examples.
        samples: K ≥ 1.
        index: which examples; all if left open.
        seed: of the draws, of dynamic binarisation and of dequantisation too.
        progress: called with the number of examples done and in all.
    """
    device = feed.x.device
    index = torch.arange(len(feed), device=device) if index is None else index
    size = feed.x[0].numel() * getattr(vae.decoder.head, "outputs", 1)
    at_once = max(1, min(ROWS, ELEMENTS // size) // EXAMPLES)
    parts: list[tuple[Tensor, ...]] = []
    means: list[list[Tensor]] = []
    kl: list[Tensor] = []
    proper, done = True, 0
    was_training = vae.training
    vae.eval()
    with seeded(seed, device):
        # the data are drawn first, so that the same seed gives the same binarisation whatever K
        chunks = index.split(EXAMPLES)
        seeds = torch.randint(2**62, (len(chunks), 2)).tolist()
        for chunk, (data_seed, sample_seed) in zip(chunks, seeds, strict=True):
            torch.manual_seed(data_seed)
            batch = feed.batch(chunk)
            torch.manual_seed(sample_seed)
            sums, layers, is_proper = _weigh(vae, batch, samples, at_once)
            parts.append(sums)
            means.append([mean.cpu() for mean, _ in layers])
            kl = (
                [a + b for a, b in zip(kl, (part for _, part in layers), strict=True)] if kl else [p for _, p in layers]
            )
            proper = proper and is_proper
            done += len(chunk)
            progress(done, len(index))
    vae.train(was_training)
    joined = [torch.cat(part).double().cpu() for part in zip(*parts, strict=True)]
    return Bounds(
        *joined, [part.cpu() / len(index) for part in kl], [torch.cat(m) for m in zip(*means, strict=True)], proper
    )


def _weigh(
    vae: VAE, batch: Batch, samples: int, at_once: int
) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, Tensor]], bool]:
    """One batch: its per-example sums over K samples, and for each layer posterior means and summed KL parts."""
    evidence = vae.evidence(batch)
    n = len(batch.x)
    distortion = rate = torch.zeros(n, device=batch.x.device, dtype=torch.float64)
    first = second = torch.full((n,), -math.inf, device=batch.x.device, dtype=torch.float64)
    layers: list[tuple[Tensor, Tensor]] = []
    done, proper = 0, True
    while done < samples:
        k = min(at_once, samples - done)
        trace = vae.descend(vae.root(k * n), [fold(e, k) for e in evidence], draw, k)
        log_likelihood = trace.log_likelihood(batch).double()
        proper = proper and trace.proper
        log_weight = log_likelihood
        if trace.steps:
            log_weight = log_likelihood + (trace.log_prior() - trace.log_posterior()).double()
        distortion = distortion - log_likelihood.sum(0)
        rate = rate + trace.rate().double().sum(0)
        first = torch.logaddexp(first, log_weight.logsumexp(0))
        second = torch.logaddexp(second, (2 * log_weight).logsumexp(0))
        done += k
        share = k / samples
        found = [
            (
                trace.unfold(step.q.mean.flatten(1)).mean(0) * share,
                trace.unfold(step.kl.parts).mean(0).sum(0).double() * share,
            )
            for step in trace.steps
        ]
        layers = [(a + c, b + d) for (a, b), (c, d) in zip(layers, found, strict=True)] if layers else found
    importance = first - math.log(samples)
    ess = (2 * first - second).exp()
    return (distortion / samples, rate / samples, importance, ess), layers, proper
